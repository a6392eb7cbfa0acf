"""Clusters of real processes: started, killed, paused, cut off, and asked what they hold.

On loopback, or each node in a network namespace of its own (`network`), where the links between
nodes can be made as bad as wanted. Nothing here waits by time: every wait is for a condition, with
a deadline, and says what it waited for.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

import record_batches
from broker import ENVIRONMENT, SERVER
from kafka_wire import Closed, ReplicaReader, WrongAnswer
from ports import free_address

SECONDS = 30
TOKEN = "a-token-of-these-tests"
METADATA = "__chronik_metadata"


def eventually(condition, what, seconds=SECONDS):
    """Waits until `condition` returns something true, and returns that."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        try:
            found, problem = condition(), ""
        except (OSError, Closed, WrongAnswer, NotServed) as error:
            found, problem = None, f" ({error})"
        if found:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}{problem}")
        pause.wait(0.005)


class NotServed(Exception):
    """A node that does not answer, or answers that it cannot."""


class Node:
    """One process of a cluster."""

    def __init__(self, cluster, number, directory):
        self.cluster, self.number = cluster, number
        self.directory = pathlib.Path(directory)
        self.data_dir = self.directory / "data"
        self.log_file = self.directory / "log"
        self.process = None
        self.is_paused = False
        self.incarnation = 0
        self.extra = []
        # What goes before the server on the command line.
        self.wrapper = []
        self.log_from = 0

    def __repr__(self):
        return f"node {self.number}"

    def command(self):
        cluster = self.cluster
        peers = [other for other in cluster.nodes if other is not self]
        return [
            *cluster.prefix(self),
            *self.wrapper,
            SERVER, "cluster",
            "--node-id", str(self.number),
            "--listen-addr", self.address,
            "--raft-addr", self.raft_address,
            "--peers", ",".join(f"{p.number}@{p.raft_address}" for p in peers),
            "--data-dir", str(self.data_dir),
            "--admin-addr", self.admin_address,
            "--set", f"raft.transport={cluster.transport}",
            *cluster.options,
            *self.extra,
        ]

    def start(self, *extra):
        """Starts the process, without waiting for it."""
        assert not self.is_running, self
        self.extra = list(extra)
        self.incarnation += 1
        self.log_from = self.log_file.stat().st_size if self.log_file.exists() else 0
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stderr=log, env=ENVIRONMENT
            )
        return self

    @property
    def is_running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def is_up(self):
        return self.is_running and not self.is_paused

    def log(self, whole=False):
        """What it wrote since its start, or ever."""
        if not self.log_file.exists():
            return ""
        with open(self.log_file, "rb") as file:
            file.seek(0 if whole else self.log_from)
            return file.read().decode(errors="replace")

    def lives(self):
        """Whether it answers; an error when it has ended."""
        if not self.is_running:
            raise AssertionError(f"{self} ended with {self.process.returncode}:\n{self.log()}")
        return self.ask("/livez")[0] == 200

    def wait_ready(self, seconds=SECONDS):
        def ready():
            return self.lives() and self.ask("/readyz")[0] == 200

        eventually(ready, f"{self} is ready", seconds)
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """As a crash would: no warning, no time."""
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.is_paused = False

    def terminate(self, seconds=SECONDS):
        """As an operator would; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def wait_exit(self, seconds=SECONDS):
        return self.process.wait(timeout=seconds)

    def pause(self):
        self.signal(signal.SIGSTOP)
        # Until then it may yet answer.
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self.is_paused = True

    def resume(self):
        self.signal(signal.SIGCONT)
        self.is_paused = False

    def wipe(self):
        """As a disk that was replaced."""
        assert not self.is_running, self
        shutil.rmtree(self.data_dir)

    def stored(self, topic, partition):
        """Every whole batch of its segments, as raw bytes; all there is once it was stopped."""
        folder = self.data_dir / "topics" / f"{topic}-{partition}"
        batches = []
        for segment in sorted(folder.glob("*.log")):
            batches += record_batches.split(segment.read_bytes())
        return [batch.raw for batch in batches]

    # Asking it

    def ask(self, path, method="GET", seconds=SECONDS):
        """Status and body of its admin server's answer, whatever the status."""
        request = urllib.request.Request(f"http://{self.admin_address}{path}", method=method)
        if self.cluster.network:
            request.add_header("Authorization", f"Bearer {TOKEN}")
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def ask_json(self, path, method="GET", seconds=SECONDS):
        status, body = self.ask(path, method, seconds)
        if status != 200:
            raise NotServed(f"{self} answers {path} with {status}: {body}")
        return json.loads(body)

    def members(self):
        return self.ask_json("/admin/cluster/members")

    def partitions(self):
        """By topic and partition, what the node knows."""
        answer = self.ask_json("/admin/cluster/partitions")
        return {(p["topic"], p["partition"]): p for p in answer["partitions"]}

    def health(self):
        return self.ask_json("/admin/cluster/health")

    def transfer(self, topic, partition, target):
        path = f"/admin/cluster/transfer-leader/{topic}/{partition}/{target.number}"
        return self.ask(path, method="POST")

    def metrics(self):
        """Every sample by name and labels."""
        status, text = self.ask("/metrics")
        if status != 200:
            raise NotServed(f"{self} answers /metrics with {status}")
        found = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name, frozenset(sample.labels.items())] = sample.value
        return found

    def metric(self, name, **labels):
        """The sum of the samples of this name that have these labels."""
        wanted = labels.items()
        values = [value for (found, own), value in self.metrics().items()
                  if found == name and wanted <= dict(own).items()]
        if not values:
            raise KeyError(f"{self} has no {name} {labels}")
        return sum(values)

    def reader(self, seconds=SECONDS):
        return ReplicaReader(self.address, seconds)

    def metadata(self, seconds=SECONDS):
        with self.reader(seconds) as reader:
            return reader.metadata()

    def named_leader(self, topic=METADATA, partition=0):
        """Whom it names as the leader, with the epoch; the metadata's own leader has none."""
        known = self.metadata()
        if topic == METADATA:
            return (known.controller, None) if known.controller >= 0 else None
        found = known.partitions.get((topic, partition))
        return (found.leader, found.epoch) if found and found.leader >= 0 else None


class Cluster:
    """Nodes 1 to `count`; start them, and close it at the end whatever happened."""

    def __init__(self, directory, count=3, transport="framed", network=None, options=()):
        self.directory = pathlib.Path(directory)
        self.network = network
        self.transport = transport
        self.options = [
            "--set", "group.initial.rebalance.delay.ms=0",
            "--set", "event.loops=1",
            *options,
        ]
        self.nodes = []
        for number in range(1, count + 1):
            node_directory = self.directory / f"node{number}"
            node_directory.mkdir(parents=True, exist_ok=True)
            self.nodes.append(Node(self, number, node_directory))
        if network:
            self.place_in_namespaces()
        else:
            self.place_on_loopback()

    def place_on_loopback(self):
        for node in self.nodes:
            node.address, node.raft_address = free_address(), free_address()
            node.admin_address = free_address()

    def place_in_namespaces(self):
        token = self.directory / "token"
        token.write_text(TOKEN + "\n")
        self.options += ["--admin-token-file", str(token)]
        for node in self.nodes:
            host = self.network.client_host(node.number)
            node.address, node.admin_address = f"{host}:9092", f"{host}:9644"
            node.raft_address = f"{self.network.raft_host(node.number)}:5001"

    def prefix(self, node):
        return self.network.prefix(node.number) if self.network else []

    @property
    def bootstrap(self):
        return ",".join(node.address for node in self.nodes)

    def node(self, number):
        return self.nodes[number - 1]

    def others(self, *nodes):
        return [node for node in self.nodes if node not in nodes]

    @property
    def up(self):
        return [node for node in self.nodes if node.is_up]

    def start(self, order=None, *extra):
        for node in order or self.nodes:
            node.start(*extra)
        return self.wait_ready()

    def wait_ready(self, nodes=None):
        for node in nodes or self.nodes:
            node.wait_ready()
        return self

    def kill_all(self):
        """As a power cut would: nobody hears of the others' end."""
        for node in self.nodes:
            if node.is_running:
                node.signal(signal.SIGKILL)
        for node in self.nodes:
            if node.process:
                node.process.wait()
                node.is_paused = False

    def close(self):
        """Ends every process, by force where asking does not help; whether asking did."""
        running = [node for node in self.nodes if node.is_running]
        for node in running:
            if node.is_paused:
                node.resume()
            node.signal(signal.SIGTERM)
        clean = True
        deadline = time.monotonic() + SECONDS
        for node in running:
            try:
                node.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                clean = False
                node.kill()
        return clean

    def crashes(self):
        """What nodes wrote that no node may write."""
        bad = re.compile(r".*(Fatal error|Precondition failed|AddressSanitizer|Stack dump).*")
        return [f"{node}: {match.group(0)}" for node in self.nodes
                for match in bad.finditer(node.log(whole=True))]

    # Who leads, as clients are told

    def leader(self, topic=METADATA, partition=0, among=None):
        """The node that all of these name as the leader, itself one of them; or none."""
        among = among or self.up
        named = {node.named_leader(topic, partition) for node in among}
        if len(named) != 1 or None in named:
            return None
        (number, _), = named
        return self.node(number) if self.node(number) in among else None

    def wait_leader(self, topic=METADATA, partition=0, among=None, seconds=SECONDS):
        return eventually(lambda: self.leader(topic, partition, among),
                          f"all agree on a leader of {topic}-{partition}", seconds)

    def wait_healthy(self, seconds=60):
        """Until all that are up know all nodes, a leader of everything, and no replica lags."""

        def healthy():
            for node in self.up:
                known = node.metadata()
                if known.brokers.keys() != {other.number for other in self.nodes}:
                    raise NotServed(f"{node} knows nodes {sorted(known.brokers)}")
                for place, found in known.partitions.items():
                    if found.leader < 0 or sorted(found.replicas) != sorted(found.in_sync):
                        raise NotServed(f"{node} knows of {place}: {found}")
            return True

        eventually(healthy, "the cluster is healthy", seconds)
        return self

    # What replicas hold

    def wait_equal(self, topic, partitions, seconds=60):
        """Until all replicas know the same high watermark of each; returns these."""

        def equal():
            highs = []
            for partition in range(partitions):
                found = set()
                for node in self.nodes:
                    with node.reader() as reader:
                        error, _, high = reader.watermarks(topic, partition)
                    if error:
                        raise WrongAnswer(topic, partition, f"error {error} on {node}")
                    found.add(high)
                if len(found) != 1:
                    raise WrongAnswer(topic, partition, f"high watermarks {sorted(found)}")
                highs.append(found.pop())
            return [highs]

        (highs,) = eventually(equal, f"the replicas of {topic} are level", seconds)
        return highs

    def read_replicas(self, history, topic, partitions):
        """Writes down what every node holds of a topic."""
        self.wait_equal(topic, partitions)
        for node in self.nodes:
            with node.reader() as reader:
                for partition in range(partitions):
                    history.replica(node.number, topic, partition,
                                    *reader.read_all(topic, partition))

    def keep(self, target):
        """Copies the logs of all nodes, for whoever looks into a failure."""
        target = pathlib.Path(target)
        target.mkdir(parents=True, exist_ok=True)
        for node in self.nodes:
            if node.log_file.exists():
                shutil.copy(node.log_file, target / f"node{node.number}.log")
        for history in self.directory.glob("*.jsonl"):
            shutil.copy(history, target)


def say(text):
    """A line for whoever reads the test's output."""
    os.write(1, (text + "\n").encode())
