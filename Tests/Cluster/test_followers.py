"""What a node does for clients of partitions that it does not lead."""

import pytest
from confluent_kafka import Consumer, TopicPartition

import record_batches
from cluster import METADATA, eventually
from load import ProducerLoad, create_topic

NOT_LEADER_OR_FOLLOWER = 6
SECONDS = 60


@pytest.fixture
def racks(cluster_factory, transport):
    """Node 1 in rack a, 2 in b, 3 in c."""
    cluster = cluster_factory(transport=transport)
    for node, rack in zip(cluster.nodes, "abc"):
        node.start("--set", f"broker.rack={rack}")
    cluster.wait_ready()
    cluster.wait_leader()
    return cluster


def rack(node):
    return "abc"[node.number - 1]


def test_a_consumer_reads_from_the_replica_in_its_rack(racks, history, topic):
    create_topic(racks, history, topic, 1)
    load = ProducerLoad(racks, history, topic, 1, rate=2_000, sizes=(5_000,)).start()
    load.wait_acknowledged(400)
    total = load.finish()
    leader = racks.wait_leader(topic, 0)
    near, far = racks.others(leader)
    racks.wait_equal(topic, 1)
    with leader.reader() as reader:
        eventually(lambda: reader.fetch(topic, 0, 0, rack=rack(near)).preferred == near.number,
                   "the leader names the replica in the rack")
        assert reader.fetch(topic, 0, 0, rack=rack(leader)).preferred in (-1, leader.number)
        assert reader.fetch(topic, 0, 0, rack="elsewhere").preferred in (-1, leader.number)
    sent = {node: node.metric("chronik_network_sent_bytes_total") for node in racks.nodes}
    consumer = Consumer({"bootstrap.servers": racks.bootstrap, "group.id": "unused",
                         "client.rack": rack(near), "log_level": 0,
                         "topic.metadata.refresh.interval.ms": 60_000})
    consumer.assign([TopicPartition(topic, 0, 0)])
    offsets = []

    def all_read():
        offsets.extend(m.offset() for m in consumer.consume(500, 0.2) if not m.error())
        return len(offsets) >= total

    eventually(all_read, "everything is read", SECONDS)
    consumer.close()
    assert offsets == list(range(total))
    grown = {node: node.metric("chronik_network_sent_bytes_total") - sent[node]
             for node in racks.nodes}
    assert grown[near] > total * 5_000 > 10 * grown[leader]
    assert grown[far] < grown[near] / 10
    racks_known = {node: rack for node, (_, rack) in near.metadata().brokers.items()}
    assert racks_known == {1: "a", 2: "b", 3: "c"}


def test_replicas_are_spread_over_racks(cluster_factory, history, topic):
    cluster = cluster_factory()
    for node, name in zip(cluster.nodes, "aab"):
        node.start("--set", f"broker.rack={name}")
    cluster.wait_ready()
    cluster.wait_leader()
    create_topic(cluster, history, topic, 12, replicas=2)
    places = [p.replicas for place, p in cluster.node(1).metadata().partitions.items()
              if place[0] == topic]
    assert len(places) == 12
    assert all(3 in replicas for replicas in places)


def test_a_follower_sends_producers_to_the_leader(cluster, history, topic):
    create_topic(cluster, history, topic, 1)
    leader = cluster.wait_leader(topic, 0)
    raw = record_batches.encode(0, [b"x"], key=b"k")
    for node in cluster.others(leader):
        with node.reader() as reader:
            assert reader.produce(topic, 0, raw)[0] == NOT_LEADER_OR_FOLLOWER
            assert reader.produce(METADATA, 0, raw)[0] != 0
    with leader.reader() as reader:
        assert reader.produce(topic, 0, raw) == (0, 0)
    assert cluster.wait_equal(topic, 1) == [1]


def test_a_follower_passes_batches_on_when_it_may(cluster_factory, transport, history, topic):
    cluster = cluster_factory(transport=transport, options=["--set", "produce.proxy=true"]).start()
    cluster.wait_leader()
    create_topic(cluster, history, topic, 1)
    leader = cluster.wait_leader(topic, 0)
    raw = record_batches.encode(0, [b"x"], key=b"k")
    for number, node in enumerate([*cluster.others(leader), leader]):
        with node.reader() as reader:
            assert reader.produce(topic, 0, raw) == (0, number)
    assert cluster.wait_equal(topic, 1) == [3]
    # Nobody to pass it on to.
    for node in cluster.others(leader):
        node.kill()
    eventually(lambda: produce_fails(leader, topic, raw), "nothing is acknowledged")


def produce_fails(node, topic, raw):
    with node.reader() as reader:
        return reader.produce(topic, 0, raw, timeout_ms=500)[0] != 0


def test_leadership_spreads_by_itself(cluster, history, topic):
    create_topic(cluster, history, topic, 12)

    def spread():
        led = [p.leader for place, p in cluster.node(1).metadata().partitions.items()
               if place[0] == topic]
        return len(led) == 12 and all(led.count(node.number) == 4 for node in cluster.nodes)

    eventually(spread, "each node leads a third", SECONDS)
    node = cluster.node(2)
    node.kill()
    for partition in range(12):
        cluster.wait_leader(topic, partition, among=cluster.others(node))
    node.start().wait_ready()
    eventually(spread, "each node leads a third again", SECONDS)


def test_metadata_may_be_acknowledged_by_its_leader_alone(cluster_factory, transport, history,
                                                          topic, verify):
    cluster = cluster_factory(transport=transport, options=["--set", "metadata.acks=leader"])
    cluster.start().wait_leader()
    for number in range(10):
        create_topic(cluster, history, f"{topic}-{number}", 1)
    create_topic(cluster, history, topic, 1)
    load = ProducerLoad(cluster, history, topic, 1).start()
    load.wait_acknowledged(20)
    load.finish()
    for node in cluster.nodes:
        eventually(lambda: sum(place[0].startswith(topic)
                               for place in node.metadata().partitions) == 11,
                   f"{node} knows all topics")
    verify(cluster, topic, 1)
