"""Three nodes with a bad network between them, or none: no second truth, and nothing lost."""

import pytest

from cluster import METADATA, eventually, say
from load import ConsumerLoad, Prober, ProducerLoad, create_topic

PARTITIONS = 3


def admits_to_lead(node, topic, partition):
    found = node.named_leader(topic, partition)
    return found is not None and found[0] == node.number


def test_a_leader_cut_off_stops_to_acknowledge_and_heals(far_cluster, network, history, topic,
                                                         verify):
    cluster = far_cluster
    create_topic(cluster, history, topic, 1)
    load = ProducerLoad(cluster, history, topic, 1).start()
    load.wait_acknowledged(30)
    leader = cluster.wait_leader(topic, 0)
    majority = cluster.others(leader)
    history.add("fault", fault="partition", node=leader.number)
    network.partition([leader.number], [node.number for node in majority])
    # Its clients still reach it.
    captive = Prober(history, topic)
    with leader.reader() as reader:
        assert not captive.produce(reader)
    successor = cluster.wait_leader(topic, 0, among=majority)
    eventually(lambda: not admits_to_lead(leader, topic, 0), "the old leader resigns")
    with leader.reader() as reader:
        acknowledged = [captive.produce(reader) for _ in range(10)]
    assert not any(acknowledged), "a leader without a majority acknowledged"
    # A client that was with the old leader finds the new one: the old one sends it away.
    load.wait_acknowledged(100)
    assert cluster.leader(topic, 0, among=majority) is successor
    eventually(lambda: leader.metadata().brokers.keys() == {n.number for n in majority},
               "the old leader names the others alone")
    network.heal()
    cluster.wait_leader(topic, 0)
    load.finish()
    cluster.wait_healthy()
    verify(cluster, topic, 1)


@pytest.mark.parametrize("deaf", [True, False], ids=["deaf", "mute"])
def test_a_link_that_works_one_way_stops_nobody_for_long(far_cluster, network, history, topic,
                                                         verify, deaf):
    """The leader hears nobody, or nobody hears the leader."""
    cluster = far_cluster
    create_topic(cluster, history, topic, PARTITIONS)
    load = ProducerLoad(cluster, history, topic, PARTITIONS).start()
    load.wait_acknowledged(30)
    leader = cluster.wait_leader(topic, 0)
    majority = cluster.others(leader)
    history.add("fault", fault="one way", node=leader.number)
    for node in majority:
        pair = (node, leader) if deaf else (leader, node)
        network.link(pair[0].number, pair[1].number, down=True)
    cluster.wait_leader(topic, 0, among=majority)
    load.wait_acknowledged(100)
    network.heal()
    load.wait_acknowledged(100)
    load.finish()
    cluster.wait_healthy()
    verify(cluster, topic, PARTITIONS)


def test_a_follower_cut_off_disturbs_nobody_when_it_returns(far_cluster, network, history, topic,
                                                            verify):
    cluster = far_cluster
    create_topic(cluster, history, topic, 1)
    load = ProducerLoad(cluster, history, topic, 1).start()
    load.wait_acknowledged(30)
    leader = cluster.wait_leader(topic, 0)
    follower, other = cluster.others(leader)
    before = leader.named_leader(topic, 0)[1]
    history.add("fault", fault="partition", node=follower.number)
    network.partition([follower.number], [leader.number, other.number])
    # Long enough for it to stand for election many times.
    load.wait_acknowledged(1_000)
    network.heal()
    load.wait_acknowledged(100)
    load.finish()
    cluster.wait_healthy()
    assert cluster.wait_leader(topic, 0) is leader
    assert leader.named_leader(topic, 0)[1] == before
    verify(cluster, topic, 1)


def test_nodes_that_are_all_cut_off_from_each_other_go_on_when_healed(far_cluster, network, history,
                                                                      topic, verify):
    cluster = far_cluster
    create_topic(cluster, history, topic, PARTITIONS)
    load = ProducerLoad(cluster, history, topic, PARTITIONS).start()
    load.wait_acknowledged(30)
    for _ in range(2):
        history.add("fault", fault="partition")
        network.partition([1], [2], [3])
        eventually(lambda: not any(admits_to_lead(node, topic, 0) for node in cluster.nodes),
                   "nobody leads alone")
        network.heal()
        load.wait_acknowledged(100)
    load.finish()
    cluster.wait_healthy()
    verify(cluster, topic, PARTITIONS)


@pytest.mark.parametrize("size", [0, 1, 30, 1_000_000])
def test_entries_of_any_size_commit_on_a_bad_network(far_cluster, network, history, topic, verify,
                                                     size):
    cluster = far_cluster
    config = {"max.message.bytes": "2000000"}
    create_topic(cluster, history, topic, 1, config=config)
    network.every_link(loss=0.02, duplicate=0.05, reorder=0.1, delay=0.0005, jitter=0.001)
    count = 10 if size > 1_000 else 300
    rate = 20 if size > 1_000 else 500
    load = ProducerLoad(cluster, history, topic, 1, rate=rate, sizes=(size,)).start()
    load.wait_acknowledged(count, seconds=120)
    load.finish()
    counts = network.counts()
    say(f"{size} bytes: {counts}")
    assert all(counts[kind] for kind in ("lost", "doubled", "delayed", "reordered"))
    network.heal()
    cluster.wait_healthy()
    checker = verify(cluster, topic, 1)
    assert len(checker.replicas[topic, 0][0].records) >= count


def test_a_node_whose_clients_are_cut_off_still_replicates(far_cluster, network, history, topic,
                                                           verify):
    cluster = far_cluster
    create_topic(cluster, history, topic, PARTITIONS)
    leader = cluster.wait_leader(METADATA)
    follower = cluster.others(leader)[0]
    reader = ConsumerLoad(cluster, history, topic, PARTITIONS).start()
    load = ProducerLoad(cluster, history, topic, PARTITIONS).start()
    load.wait_acknowledged(30)
    status = []
    for partition in range(PARTITIONS):
        if cluster.wait_leader(topic, partition) is follower:
            status.append(follower.transfer(topic, partition, leader)[0])
    assert set(status) <= {200}
    history.add("fault", fault="no clients", node=follower.number)
    network.clients_reach(follower.number, False)
    load.wait_acknowledged(200)
    network.clients_reach(follower.number, True)
    total = load.finish()
    reader.wait_read(total)
    reader.finish()
    verify(cluster, topic, PARTITIONS)
