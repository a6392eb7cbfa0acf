"""Random faults, all at once, from a seed: whatever happens, the checker finds nothing.

CHRONIK_CLUSTER_SCHEDULES runs of CHRONIK_CLUSTER_SECONDS each; CHRONIK_SEED is the first's seed.
"""

import os
import random
import threading
import time

import pytest

from cluster import say
from load import ProducerLoad, SteadyConsumerLoad, create_topic, setting

SCHEDULES = setting("CHRONIK_CLUSTER_SCHEDULES", 2)
SECONDS = setting("CHRONIK_CLUSTER_SECONDS", 15)
SEED = setting("CHRONIK_SEED", random.randrange(2**31))
PARTITIONS = 3
TRANSPORTS = os.environ.get("CHRONIK_TRANSPORTS", "framed,grpc").split(",")


class Faults:
    """Does one harm after another, at most as much as a cluster comes back from."""

    def __init__(self, cluster, network, history, rng):
        self.cluster, self.network, self.history, self.rng = cluster, network, history, rng

    def harms(self):
        return [
            (4, self.kill), (2, self.kill_all), (3, self.restart), (3, self.pause),
            (3, self.isolate), (2, self.one_way), (2, self.bad_links), (1, self.split_all),
            (2, self.heal), (2, self.quiet), (1, self.pause_majority),
        ]

    def run(self, seconds):
        weights, harms = zip(*self.harms())
        end = time.monotonic() + seconds
        pause = threading.Event()
        while time.monotonic() < end:
            (harm,) = self.rng.choices(harms, weights)
            harm()
            pause.wait(self.rng.uniform(0.05, 2))
            self.repair()
        self.mend()

    def note(self, fault, **fields):
        self.history.add("fault", fault=fault, **fields)

    def victim(self):
        return self.rng.choice(self.cluster.nodes)

    def kill(self):
        node = self.victim()
        if node.is_running:
            self.note("kill", node=node.number)
            node.kill()

    def kill_all(self):
        self.note("power cut")
        self.cluster.kill_all()

    def restart(self):
        node = self.victim()
        if node.is_up:
            self.note("restart", node=node.number)
            node.signal(15)

    def pause(self):
        node = self.victim()
        if node.is_up:
            self.note("pause", node=node.number)
            node.pause()

    def pause_majority(self):
        for node in self.rng.sample(self.cluster.nodes, 2):
            if node.is_up:
                self.note("pause", node=node.number)
                node.pause()

    def isolate(self):
        alone = self.victim().number
        self.note("partition", node=alone)
        self.network.partition([alone], [n.number for n in self.cluster.nodes if n.number != alone])

    def one_way(self):
        source, target = self.rng.sample(range(1, 4), 2)
        self.note("one way", source=source, target=target)
        self.network.link(source, target, down=True)

    def bad_links(self):
        self.note("bad links")
        self.network.every_link(loss=self.rng.uniform(0, 0.05), duplicate=0.05, reorder=0.1,
                                delay=self.rng.uniform(0, 0.01), jitter=0.005)

    def split_all(self):
        self.note("partition")
        self.network.partition([1], [2], [3])

    def heal(self):
        self.note("heal")
        self.network.heal()

    def quiet(self):
        self.note("quiet")

    def repair(self):
        """Each node that is down or paused may come back, or stay so a while longer."""
        for node in self.cluster.nodes:
            if self.rng.random() < 0.6:
                if node.is_paused:
                    self.note("resume", node=node.number)
                    node.resume()
                elif not node.is_running:
                    self.note("start", node=node.number)
                    node.start()

    def mend(self):
        """Everything is as it should be again."""
        self.note("mend")
        self.network.heal()
        for node in self.cluster.nodes:
            if node.is_paused:
                node.resume()
            if not node.is_running:
                node.start()
        # One that was told to end may still be about to.
        for node in self.cluster.nodes:
            self.settle(node)

    def settle(self, node):
        try:
            node.wait_ready()
        except AssertionError:
            if node.process.returncode != 0:
                raise
            node.start().wait_ready()


@pytest.mark.parametrize("seed", [SEED + number for number in range(SCHEDULES)])
def test_no_schedule_of_faults_loses_anything(cluster_factory, network_factory, history, topic,
                                              verify, seed):
    say(f"CHRONIK_SEED={seed}")
    rng = random.Random(seed)
    network = network_factory(seed=seed)
    cluster = cluster_factory(
        network=network,
        transport=rng.choice(TRANSPORTS),
        options=rng.choice([
            [],
            ["--set", "wal.total.bytes=2MiB", "--set", "wal.file.bytes=256KiB",
             "--set", "log.segment.bytes=128KiB"],
        ]),
    )
    cluster.start(rng.sample(cluster.nodes, 3))
    cluster.wait_leader()
    cluster.observer.start()
    create_topic(cluster, history, topic, PARTITIONS)
    patient = {"message.timeout.ms": 300_000}
    loads = [
        ProducerLoad(cluster, history, topic, PARTITIONS, idempotent=True, rate=200,
                     config=patient, sizes=(100, 0, 1, 2_000)),
        ProducerLoad(cluster, history, topic, PARTITIONS, idempotent=False, rate=100,
                     config=patient),
        ProducerLoad(cluster, history, topic, PARTITIONS, acks="1", idempotent=False, rate=100,
                     config=patient),
    ]
    reader = SteadyConsumerLoad(cluster, history, topic, PARTITIONS).start()
    for load in loads:
        load.start()
    Faults(cluster, network, history, rng).run(SECONDS)
    for load in loads:
        load.wait_acknowledged(1)
    total = sum(load.finish() for load in loads)
    reader.finish()
    cluster.wait_healthy(120)
    checker = verify(cluster, topic, PARTITIONS)
    faults = history.count("fault")
    say(f"seed {seed}: {faults} faults, {total} records acknowledged, "
        f"{checker.lost_with_acks_one} lost with acks=1")
