"""Leadership and replicas that move: planned stops, even shares, reassignments, deletions."""

import shutil
import socket

import pytest
from confluent_kafka.admin import AdminClient
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaConnectionError

from cluster import eventually
from load import ProducerLoad, create_topic

PARTITIONS = 12
UNKNOWN_TOPIC_OR_PARTITION, INVALID_REPLICA_ASSIGNMENT = 3, 39
NO_REASSIGNMENT_IN_PROGRESS = 85


def led(cluster, topic, among=None):
    """How many partitions each node leads, as all nodes say; nothing while they disagree."""
    views = set()
    for node in among or cluster.up:
        known = node.metadata().partitions
        views.add(tuple(sorted((p, found.leader) for (name, p), found in known.items()
                               if name == topic)))
    if len(views) != 1:
        return {}
    leaders = [leader for _, leader in views.pop()]
    return {node.number: leaders.count(node.number) for node in cluster.nodes}


def wait_even(cluster, topic, seconds=60):
    share = PARTITIONS // len(cluster.nodes)
    return eventually(lambda: set(led(cluster, topic).values()) == {share},
                      f"every node leads {share} of {topic}", seconds)


def in_sync(node, topic, partition=0):
    return sorted(node.metadata().partitions[topic, partition].in_sync)


def test_a_planned_stop_hands_leadership_over_first(cluster, history, topic, verify):
    create_topic(cluster, history, topic, PARTITIONS)
    wait_even(cluster, topic)
    loads = [ProducerLoad(cluster, history, topic, PARTITIONS, acks=acks, idempotent=idempotent)
             .start() for acks, idempotent in (("all", True), ("all", False))]
    for load in loads:
        load.wait_acknowledged(50)
    controller = cluster.wait_leader()
    order = [controller, *cluster.others(controller)]
    for node in order:
        history.add("fault", fault="restart", node=node.number)
        assert node.terminate() == 0, node.log()
        assert "leaderships are handed over" in node.log()
        # Nobody waited for an election: all is led as soon as it is gone.
        others = cluster.others(node)
        counts = led(cluster, topic, among=others)
        assert counts and counts[node.number] == 0 and sum(counts.values()) == PARTITIONS
        node.start().wait_ready()
        cluster.wait_healthy()
        for load in loads:
            load.wait_acknowledged(50)
    # Any error that reached a client fails here.
    for load in loads:
        load.finish()
    wait_even(cluster, topic)
    verify(cluster, topic, PARTITIONS)


def listens(address):
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        return True


def test_a_stop_is_heeded_while_a_node_waits_for_the_others(cluster_factory, history, topic):
    cluster = cluster_factory()
    alone = cluster.node(1).start()
    # It asks the others who it is; none is there.
    eventually(lambda: listens(alone.raft_address), "it waits for the others")
    assert alone.terminate(5) == 0, alone.log()
    cluster.start()
    create_topic(cluster, history, topic, 1)
    cluster.kill_all()
    # It knows the metadata, and nobody leads that.
    alone.start()
    eventually(lambda: listens(alone.raft_address), "it waits for a leader")
    assert alone.terminate(5) == 0, alone.log()
    cluster.start()
    assert (topic, 0) in alone.metadata().partitions


def test_a_node_that_lost_its_data_but_not_its_log_fetches_it_again(
        cluster, history, topic, verify):
    create_topic(cluster, history, topic, 3)
    load = ProducerLoad(cluster, history, topic, 3).start()
    load.wait_acknowledged(100)
    loser, other, _ = cluster.nodes
    # In a new term, the log says that it begins behind what is in segments.
    for node in (loser, other):
        assert node.terminate() == 0
        load.wait_acknowledged(20)
        node.start().wait_ready()
        cluster.wait_healthy()
    assert loser.terminate() == 0
    shutil.rmtree(loser.data_dir / "topics")
    loser.start().wait_ready()
    cluster.wait_healthy()
    load.wait_acknowledged(100)
    load.finish()
    verify(cluster, topic, 3)


def test_replicas_in_sync_are_those_that_have_caught_up(cluster, history, topic):
    create_topic(cluster, history, topic, 1)
    cluster.wait_healthy()
    leader = cluster.wait_leader(topic, 0)
    victim, witness = cluster.others(leader)
    victim.pause()
    expected = sorted((leader.number, witness.number))
    eventually(lambda: in_sync(witness, topic) == expected, "a silent replica drops out", 10)
    victim.resume()
    eventually(lambda: in_sync(witness, topic) == [1, 2, 3], "it is in sync again", 10)
    victim.kill()
    eventually(lambda: in_sync(witness, topic) == expected, "a dead replica drops out", 10)
    victim.start().wait_ready()
    eventually(lambda: in_sync(witness, topic) == [1, 2, 3], "it is in sync again", 20)


@pytest.fixture
def admin(cluster):
    client = KafkaAdminClient(bootstrap_servers=cluster.bootstrap.split(","))
    yield client
    client.close()


def create_on(cluster, history, topic, replicas):
    """A topic of one partition on these nodes, the first of them preferred."""
    client = KafkaAdminClient(bootstrap_servers=cluster.bootstrap.split(","))
    try:
        client.create_topics({topic: {"assignments": {0: replicas}}})
    finally:
        client.close()
    history.add("create_topic", event="ok", topic=topic, partitions=1)


def replicas(node, topic):
    return node.metadata().partitions[topic, 0].replicas


def folder(node, topic):
    return node.data_dir / "topics" / f"{topic}-0"


def reassign(admin, place, target):
    """Asks for other replicas; again where the client went to a node that is dead."""

    def asked():
        try:
            return admin.alter_partition_reassignments({place: target})
        except KafkaConnectionError:
            return None

    assert eventually(asked, "the cluster takes the reassignment") == {place: None}


def reassignments(admin, places=None):
    def asked():
        try:
            return [admin.list_partition_reassignments(places)]
        except KafkaConnectionError:
            return None

    return eventually(asked, "the cluster tells of reassignments")[0]


def move(cluster, admin, topic, target):
    """Asks for other replicas and waits until they are there, and nobody else."""
    place = TopicPartition(topic, 0)
    reassign(admin, place, target)

    def done():
        return (not reassignments(admin)
                and all(replicas(node, topic) == target for node in cluster.nodes)
                and in_sync(cluster.nodes[0], topic) == sorted(target))

    eventually(done, f"{topic} is on {target}", 60)
    for node in cluster.nodes:
        if node.number not in target:
            eventually(lambda: not folder(node, topic).exists(), f"{node} has let go of {topic}")


def bytes_of(cluster, topic, holders):
    """What each of these nodes holds of the topic, the same of all."""

    def read():
        found = []
        for number in holders:
            with cluster.node(number).reader() as reader:
                found.append(reader.read_all(topic, 0))
        return found if all(one == found[0] for one in found) else None

    return eventually(read, f"{holders} hold the same of {topic}")[0]


def refusal(admin, place, target):
    return admin.alter_partition_reassignments({place: target})[place].errno


def test_a_partition_moves_under_load_and_back_with_all_its_bytes(cluster, admin, history, topic):
    create_on(cluster, history, topic, [1, 2])
    load = ProducerLoad(cluster, history, topic, 1).start()
    load.wait_acknowledged(200)
    before = bytes_of(cluster, topic, [1, 2])
    # The leader leaves, both leave, and those that left come back.
    for target in ([2, 3], [1], [3, 2], [1, 2, 3]):
        move(cluster, admin, topic, target)
        load.wait_acknowledged(100)
    load.finish()
    low, high, batches = bytes_of(cluster, topic, [1, 2, 3])
    assert low == 0 and high == load.acknowledged
    # But for the epochs of later leaders, which are not in these.
    assert batches[: len(before[2])] == before[2]


def test_three_replicas_of_four_nodes_become_others_under_load(cluster_factory, history, topic):
    cluster = cluster_factory(count=4).start()
    create_on(cluster, history, topic, [1, 2, 3])
    client = KafkaAdminClient(bootstrap_servers=cluster.bootstrap.split(","))
    load = ProducerLoad(cluster, history, topic, 1).start()
    try:
        load.wait_acknowledged(200)
        before = bytes_of(cluster, topic, [1, 2, 3])
        for target in ([2, 3, 4], [4, 1, 2]):
            move(cluster, client, topic, target)
            load.wait_acknowledged(50)
    finally:
        client.close()
        load.finish()
    low, high, batches = bytes_of(cluster, topic, [1, 2, 4])
    assert (low, high) == (0, load.acknowledged)
    assert batches[: len(before[2])] == before[2]


def test_a_move_goes_on_when_its_leader_and_the_joiner_restart(cluster, admin, history, topic):
    create_on(cluster, history, topic, [1, 2])
    load = ProducerLoad(cluster, history, topic, 1).start()
    load.wait_acknowledged(100)
    place = TopicPartition(topic, 0)
    joiner = cluster.node(3)
    joiner.kill()
    reassign(admin, place, [3, 2])
    moving = reassignments(admin, [place])[place]
    assert moving["adding_replicas"] == [3] and moving["removing_replicas"] == [1]
    leader = cluster.wait_leader(topic, 0, among=cluster.others(joiner))
    leader.kill()
    joiner.start()
    leader.start()
    cluster.wait_ready()
    eventually(lambda: replicas(cluster.node(1), topic) == [3, 2], "the move is done", 60)
    load.wait_acknowledged(100)
    load.finish()
    low, high, _ = bytes_of(cluster, topic, [2, 3])
    assert (low, high) == (0, load.acknowledged)


def test_a_move_is_taken_back_and_nonsense_is_refused(cluster, admin, history, topic):
    create_on(cluster, history, topic, [1, 2])
    place = TopicPartition(topic, 0)
    assert refusal(admin, place, None) == NO_REASSIGNMENT_IN_PROGRESS
    for target in ([1, 1], [1, 9]):
        assert refusal(admin, place, target) == INVALID_REPLICA_ASSIGNMENT
    joiner = cluster.node(3)
    joiner.kill()
    reassign(admin, place, [3, 2])
    reassign(admin, place, None)
    eventually(lambda: not reassignments(admin), "the move is taken back")
    assert all(replicas(node, topic) == [1, 2] for node in cluster.others(joiner))
    joiner.start().wait_ready()
    eventually(lambda: not folder(joiner, topic).exists(), "nothing is left on the joiner")


def test_a_deleted_topic_is_gone_from_every_node(cluster, history, topic):
    create_topic(cluster, history, topic, 1)
    load = ProducerLoad(cluster, history, topic, 1).start()
    load.wait_acknowledged(50)
    load.finish()
    away = cluster.node(3)
    away.kill()
    client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    client.delete_topics([topic])[topic].result(30)
    away.start().wait_ready()
    for node in cluster.nodes:
        eventually(lambda: (topic, 0) not in node.metadata().partitions
                   and not folder(node, topic).exists(), f"{node} has nothing of {topic}")
        with node.reader() as reader:
            assert reader.fetch(topic, 0, 0).error == UNKNOWN_TOPIC_OR_PARTITION
