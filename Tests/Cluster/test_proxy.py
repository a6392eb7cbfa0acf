"""Producers that reach one node of a cluster, which passes on what others lead."""

import pytest

import record_batches
from cluster import eventually
from load import ProducerLoad, create_topic

NOT_LEADER_OR_FOLLOWER = 6
REQUEST_TIMED_OUT = 7
PARTITIONS = 6
SECONDS = 60
PASSED = "chronik_produce_proxied_requests_total"


@pytest.fixture
def door(cluster_factory, transport):
    """A cluster whose nodes all send clients to node 1."""
    cluster = cluster_factory(transport=transport, options=["--set", "produce.proxy=true"])
    door = cluster.node(1)
    for node in cluster.nodes:
        node.start("--set", f"advertised.addr={door.address}")
    cluster.wait_ready()
    cluster.wait_leader()
    return cluster


def create_spread_topic(cluster, history, topic):
    create_topic(cluster, history, topic, PARTITIONS)
    led = lambda: [p.leader for place, p in cluster.node(1).metadata().partitions.items()
                   if place[0] == topic]
    eventually(lambda: set(led()) == {1, 2, 3}, "every node leads some of the topic", SECONDS)


def start_load(cluster, history, topic, **settings):
    config = {"bootstrap.servers": cluster.node(1).address}
    return ProducerLoad(cluster, history, topic, PARTITIONS, config=config, **settings).start()


@pytest.mark.parametrize("acks", ["all", "1"])
def test_a_producer_needs_one_node_of_three(door, history, topic, verify, acks):
    create_spread_topic(door, history, topic)
    load = start_load(door, history, topic, acks=acks, idempotent=acks == "all",
                      sizes=(0, 100, 10_000, 900_000), rate=200)
    load.wait_acknowledged(200)
    total = load.finish()
    assert door.node(1).metric(PASSED) > 0
    assert door.node(2).metric(PASSED) == door.node(3).metric(PASSED) == 0
    assert sum(door.wait_equal(topic, PARTITIONS)) == total
    verify(door, topic, PARTITIONS)


def test_an_idempotent_producer_behind_one_node_outlives_the_others(door, history, topic, verify):
    create_spread_topic(door, history, topic)
    load = start_load(door, history, topic)
    load.wait_acknowledged(200)
    for node in door.others(door.node(1)):
        options = node.extra
        node.kill()
        load.wait_acknowledged(300)
        node.start(*options).wait_ready()
        load.wait_acknowledged(100)
        node.pause()
        load.wait_acknowledged(300)
        node.resume()
        load.wait_acknowledged(100)
    total = load.finish()
    assert sum(door.wait_equal(topic, PARTITIONS)) == total
    verify(door, topic, PARTITIONS)


def test_a_leader_that_does_not_answer_leaves_it_open(door, history, topic):
    create_topic(door, history, topic, 1)
    leader = door.wait_leader(topic, 0)
    entry = door.others(leader)[0]
    raw = record_batches.encode(0, [b"x"], key=b"k")
    with entry.reader() as reader:
        assert reader.produce(topic, 0, raw) == (0, 0)
        # Nobody elects in its place.
        door.others(leader, entry)[0].pause()
        leader.pause()
        assert reader.produce(topic, 0, raw, timeout_ms=200)[0] == REQUEST_TIMED_OUT
        eventually(lambda: reader.produce(topic, 0, raw, timeout_ms=200)[0]
                   == NOT_LEADER_OR_FOLLOWER, "the leader is known to be gone")
        for node in door.others(entry):
            node.resume()
        eventually(lambda: reader.produce(topic, 0, raw)[0] == 0, "it is passed on again")
