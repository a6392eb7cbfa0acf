"""What three nodes tell of their cluster: before, during and after the loss of one."""

import os
import re
import signal
import subprocess
import threading
import time

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from broker import ENVIRONMENT, SERVER, START_SECONDS
from ports import free_address
from test_admin import ask, ask_json, metrics, value

SECONDS = 30
METADATA = "__chronik_metadata"


def eventually(condition, what, seconds=SECONDS):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        try:
            found, problem = condition(), None
        except (OSError, KeyError) as error:
            found, problem = None, error
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what} ({problem})"
        pause.wait(0.01)


class Node:
    def __init__(self, number, directory):
        self.number = number
        self.directory = directory
        self.directory.mkdir()
        self.address, self.raft_address, self.admin_address = (free_address() for _ in range(3))
        self.process = None
        self.peers = []

    def start(self):
        peers = ",".join(f"{peer.number}@{peer.raft_address}" for peer in self.peers)
        command = [
            SERVER, "cluster",
            "--node-id", str(self.number),
            "--listen-addr", self.address,
            "--raft-addr", self.raft_address,
            "--peers", peers,
            "--data-dir", str(self.directory / "data"),
            "--admin-addr", self.admin_address,
        ]
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stderr=log, env=ENVIRONMENT
            )
        return self

    @property
    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def is_ready(self):
        assert self.process.poll() is None, self.log
        return ask(self, "/readyz")[0] == 200

    def wait_ready(self):
        eventually(self.is_ready, f"node {self.number} is ready", START_SECONDS)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def partitions(self):
        status, answer = ask_json(self, "/admin/cluster/partitions")
        assert status == 200, answer
        return {(p["topic"], p["partition"]): p for p in answer["partitions"]}

    def leader(self, topic, partition=0):
        return self.partitions()[topic, partition]["leader"]

    def health(self):
        status, answer = ask_json(self, "/admin/cluster/health")
        assert status == 200, answer
        return answer

    def members(self):
        status, answer = ask_json(self, "/admin/cluster/members")
        assert status == 200, answer
        return answer

    def transfer(self, topic, partition, target):
        path = f"/admin/cluster/transfer-leader/{topic}/{partition}/{target}"
        return ask_json(self, path, method="POST")


class Cluster:
    def __init__(self, directory):
        self.nodes = [Node(number, directory / f"node{number}") for number in (1, 2, 3)]
        for node in self.nodes:
            node.peers = [other for other in self.nodes if other is not node]

    def node(self, number):
        return self.nodes[number - 1]

    @property
    def bootstrap(self):
        return ",".join(node.address for node in self.nodes)

    def start(self):
        for node in self.nodes:
            node.start()
        for node in self.nodes:
            node.wait_ready()
        self.wait_healthy()
        return self

    def wait_healthy(self):
        for node in self.nodes:
            eventually(lambda: node.health()["healthy"], f"node {node.number} says healthy")

    def make_topic(self, name, partitions=1):
        client = AdminClient({"bootstrap.servers": self.bootstrap})
        client.create_topics([NewTopic(name, partitions, 3)])[name].result(SECONDS)
        for node in self.nodes:
            eventually(
                lambda: all(node.leader(name, p) for p in range(partitions)), f"{name} is led"
            )

    def produce(self, topic, count):
        producer = Producer({"bootstrap.servers": self.bootstrap, "linger.ms": 0})
        for _ in range(count):
            producer.produce(topic, os.urandom(100), partition=0)
        assert producer.flush(SECONDS) == 0

    def close(self):
        for node in self.nodes:
            if node.process and node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        for node in self.nodes:
            if node.process:
                try:
                    node.process.wait(timeout=START_SECONDS)
                except subprocess.TimeoutExpired:
                    node.kill()
        for node in self.nodes:
            assert "Fatal error" not in node.log, node.log


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster.start()
    finally:
        cluster.close()


def test_every_node_names_all_members_and_one_metadata_leader(cluster):
    leaders = set()
    for node in cluster.nodes:
        answer = eventually(
            lambda: (a := node.members())["metadata_leader"] and a, "the metadata has a leader"
        )
        leaders.add(answer["metadata_leader"])
        assert answer["node_id"] == node.number
        assert answer["members"] == [
            {
                "id": one.number,
                "kafka_address": one.address,
                "raft_address": one.raft_address,
                "rack": None,
                "registered": True,
                "fenced": False,
                "stopping": False,
                "alive": True,
            }
            for one in cluster.nodes
        ]
    assert len(leaders) == 1


def test_partitions_are_the_same_on_every_node(cluster, topic):
    cluster.make_topic(topic, 3)
    cluster.produce(topic, 20)

    def agreed():
        views = [node.partitions() for node in cluster.nodes]
        mine = [{k: p for k, p in view.items() if k[0] == topic} for view in views]
        return mine[0] if mine[0] == mine[1] == mine[2] else None

    found = eventually(agreed, "all nodes say the same")
    assert sorted(found) == [(topic, 0), (topic, 1), (topic, 2)]
    for partition in found.values():
        assert partition["leader"] in (1, 2, 3) and partition["leader_epoch"] >= 1
        assert sorted(partition["replicas"]) == sorted(partition["in_sync_replicas"]) == [1, 2, 3]
        assert partition["log_start_offset"] == 0
    assert found[topic, 0]["high_watermark"] == 20
    assert all(node.leader(METADATA) in (1, 2, 3) for node in cluster.nodes)


def test_any_node_moves_a_leadership(cluster, topic):
    cluster.make_topic(topic)
    for asked in cluster.nodes:
        leader = eventually(lambda: asked.leader(topic), f"node {asked.number} knows the leader")
        target = leader % 3 + 1
        status, answer = asked.transfer(topic, 0, target)
        assert (status, answer.get("changed"), answer.get("leader")) == (200, True, target), answer
        for node in cluster.nodes:
            eventually(lambda: node.leader(topic) == target, f"node {node.number} follows")
        status, answer = asked.transfer(topic, 0, target)
        assert (status, answer["changed"]) == (200, False), answer
    cluster.produce(topic, 5)
    status, answer = cluster.nodes[0].transfer(topic, 0, 4)
    assert status == 409 and "expected one of" in answer["error"]
    assert cluster.nodes[0].transfer(topic, 1, 1)[0] == 404


def test_the_metadata_can_be_moved(cluster):
    for asked in cluster.nodes:
        leader = eventually(lambda: asked.leader(METADATA), "the metadata is led")
        target = leader % 3 + 1
        status, answer = asked.transfer(METADATA, 0, target)
        assert (status, answer.get("leader")) == (200, target), answer
        for node in cluster.nodes:
            eventually(
                lambda: node.members()["metadata_leader"] == target,
                f"node {node.number} knows the metadata's leader",
            )
    cluster.wait_healthy()


def test_metrics_tell_of_replication(cluster, topic):
    cluster.make_topic(topic)
    leader = cluster.node(eventually(lambda: cluster.node(1).leader(topic), "it is led"))
    labels = {"node_id": str(leader.number), "topic": topic, "partition": "0"}
    before = value(metrics(leader), "raft_proposals_total", **labels)
    cluster.produce(topic, 10)
    after = metrics(leader)
    assert 1 <= value(after, "raft_proposals_total", **labels) - before <= 10
    for node in cluster.nodes:
        samples = metrics(node)
        own = str(node.number)
        assert value(samples, "raft_leader_elections_total", node_id=own) >= 0
        assert value(samples, "raft_snapshot_transfers_total", node_id=own) == 0
        assert value(samples, "raft_metadata_has_leader") == 1
        assert value(samples, "chronik_fenced_brokers") == 0
        assert value(samples, "chronik_under_replicated_partitions") == 0
        assert value(samples, "chronik_leaderless_partitions") == 0
        led = {k for k, p in node.partitions().items() if p["leader"] == node.number}
        lags = {
            (dict(labels)["topic"], int(dict(labels)["partition"]))
            for name, labels in samples
            if name == "raft_log_replication_lag_seconds"
        }
        assert lags == led
    assert sum(value(metrics(n), "raft_metadata_is_leader") for n in cluster.nodes) == 1

    def caught_up():
        lag = value(
            metrics(leader), "raft_log_replication_lag_seconds", topic=topic, partition="0"
        )
        return lag == 0

    eventually(caught_up, "no voter is behind")


@pytest.mark.parametrize("leads_metadata", [False, True])
def test_health_tells_the_truth_of_a_lost_leader(cluster, topic, leads_metadata):
    cluster.make_topic(topic)
    cluster.wait_healthy()
    controller = cluster.node(1).members()["metadata_leader"]
    lost = cluster.node(controller if leads_metadata else controller % 3 + 1)
    status, answer = lost.transfer(topic, 0, lost.number)
    assert status == 200, answer
    others = [node for node in cluster.nodes if node is not lost]
    epoch = lost.partitions()[topic, 0]["leader_epoch"]

    lost.kill()
    for node in others:
        def notices():
            health = node.health()
            return health if health["counts"]["node_down"] else None

        health = eventually(notices, f"node {node.number} misses node {lost.number}")
        assert [r["node"] for r in health["reasons"] if r["kind"] == "node_down"] == [lost.number]

        def leads_anew():
            found = node.partitions()[topic, 0]
            return found if found["leader"] not in (None, lost.number) else None

        found = eventually(leads_anew, "another leads")
        assert found["leader_epoch"] > epoch

        def settled():
            counts = node.health()["counts"]
            return counts["leaderless"] == counts["other"] == 0 and counts["under_replicated"] > 0

        eventually(settled, "all is led, and under-replicated")
        reasons = node.health()["reasons"]
        missing = {r["topic"]: r["missing"] for r in reasons if r["kind"] == "under_replicated"}
        assert missing[topic] == [lost.number]
        members = {m["id"]: m for m in node.members()["members"]}
        assert not members[lost.number]["alive"]
        status, answer = node.transfer(topic, 0, lost.number)
        assert status == 409 and "is down" in answer["error"], answer
        eventually(lambda: value(metrics(node), "chronik_fenced_brokers") == 1, "it is fenced")
        assert value(metrics(node), "chronik_under_replicated_partitions") > 0
        assert node.is_ready()

    cluster.produce(topic, 1)
    leader = cluster.node(others[0].leader(topic))
    name = "raft_log_replication_lag_seconds"
    first = eventually(
        lambda: value(metrics(leader), name, topic=topic, partition="0"), "a voter is behind"
    )
    second = value(metrics(leader), name, topic=topic, partition="0")
    assert 0 < first < second < 2 * SECONDS

    lost.start()
    lost.wait_ready()
    cluster.wait_healthy()
    for node in cluster.nodes:
        assert all(m["alive"] and not m["fenced"] for m in node.members()["members"])
    eventually(
        lambda: value(metrics(leader), name, topic=topic, partition="0") == 0, "it caught up"
    )


def test_a_node_alone_is_not_ready_and_says_why(cluster):
    alone = cluster.node(1)
    for node in cluster.nodes[1:]:
        node.kill()
    eventually(lambda: ask(alone, "/readyz")[0] == 503, "it is not ready")
    assert "no leader" in ask(alone, "/readyz")[1]

    def told():
        health = alone.health()
        down = [r["node"] for r in health["reasons"] if r["kind"] == "node_down"]
        return down == [2, 3] and health["counts"]["leaderless"] and health

    health = eventually(told, "it misses both")
    assert re.search("metadata has no leader", str(health["reasons"]))
    status, answer = alone.transfer(METADATA, 0, 1)
    assert status == 503, answer
    for node in cluster.nodes[1:]:
        node.start()
    for node in cluster.nodes:
        node.wait_ready()
    cluster.wait_healthy()
