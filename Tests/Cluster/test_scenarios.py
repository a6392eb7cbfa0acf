"""Three nodes lose nothing: elections, kills, restarts, snapshots, power cuts; on any machine."""

import random
import signal
import time

import pytest
from confluent_kafka import Producer

from cluster import METADATA, eventually, say
from load import ConsumerLoad, Prober, ProducerLoad, create_topic, setting

PARTITIONS = 3
ROUNDS = setting("CHRONIK_CLUSTER_ROUNDS", 3)
FAILOVERS = setting("CHRONIK_CLUSTER_FAILOVERS", 10)


def seeded():
    seed = setting("CHRONIK_SEED", random.randrange(2**32))
    say(f"CHRONIK_SEED={seed}")
    return random.Random(seed)


def start_loads(cluster, history, topic, rate=300):
    """One producer of each kind, and a consumer; all have begun."""
    loads = [
        ProducerLoad(cluster, history, topic, PARTITIONS, acks="all", idempotent=True, rate=rate),
        ProducerLoad(cluster, history, topic, PARTITIONS, acks="all", idempotent=False, rate=rate),
        ProducerLoad(cluster, history, topic, PARTITIONS, acks="1", idempotent=False, rate=rate),
    ]
    reader = ConsumerLoad(cluster, history, topic, PARTITIONS).start()
    for load in loads:
        load.start()
    for load in loads:
        load.wait_acknowledged(20)
    return loads, reader


def finish(loads, reader):
    acknowledged = sum(load.finish() for load in loads)
    reader.finish()
    return acknowledged


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2]])
def test_there_is_exactly_one_leader_within_two_seconds(cluster_factory, transport, history, order):
    cluster = cluster_factory(transport=transport)
    cluster.observer.start()
    for number in order:
        cluster.node(number).start()
    for node in cluster.nodes:
        eventually(node.lives, f"{node} lives")
    began = time.monotonic()
    leader = cluster.wait_leader()
    took = time.monotonic() - began
    say(f"leader after {took * 1000:.0f} ms")
    assert took < 2
    cluster.wait_ready()
    cluster.wait_healthy()
    views = [node.metadata() for node in cluster.nodes]
    assert {view.controller for view in views} == {leader.number}
    assert len({view.cluster_id for view in views}) == 1
    addresses = {node.number: (node.address, None) for node in cluster.nodes}
    assert all(view.brokers == addresses for view in views)


def test_a_new_cluster_forms_when_all_of_its_nodes_are_there(cluster_factory, transport, history,
                                                             topic, verify):
    """Two that know nothing cannot tell whether the third remembers what one of them forgot."""
    cluster = cluster_factory(transport=transport)
    first, second, late = cluster.nodes
    first.start()
    second.start()
    for node in (first, second):
        eventually(lambda: f"waiting-for={late.number}" in node.log(), f"{node} says for whom")
        assert node.ask("/readyz")[0] == 503
    # Whoever waits can be told to end.
    assert first.terminate() == 0
    first.start()
    late.start()
    cluster.wait_ready()
    create_topic(cluster, history, topic, PARTITIONS)
    load = ProducerLoad(cluster, history, topic, PARTITIONS).start()
    load.wait_acknowledged(50)
    load.finish()
    cluster.wait_healthy()
    verify(cluster, topic, PARTITIONS)


def test_a_majority_is_enough_to_begin_again_and_the_last_node_joins(cluster, history, topic,
                                                                     verify):
    create_topic(cluster, history, topic, PARTITIONS)
    first, second, late = cluster.nodes
    history.add("fault", fault="restart")
    for node in cluster.nodes:
        node.signal(signal.SIGTERM)
    for node in cluster.nodes:
        assert node.wait_exit() == 0, node.log()
    first.start()
    eventually(first.lives, "the first lives")
    assert first.ask("/readyz")[0] == 503
    second.start()
    cluster.wait_ready([first, second])
    cluster.wait_leader(among=[first, second])
    load = ProducerLoad(cluster, history, topic, PARTITIONS).start()
    load.wait_acknowledged(50)
    late.start().wait_ready()
    load.wait_acknowledged(50)
    load.finish()
    cluster.wait_healthy()
    verify(cluster, topic, PARTITIONS)


def test_the_followers_hold_the_same_bytes(cluster, history, topic, verify):
    create_topic(cluster, history, topic, PARTITIONS)
    loads, reader = start_loads(cluster, history, topic)
    for load in loads:
        load.wait_acknowledged(200)
    total = finish(loads, reader)
    checker = verify(cluster, topic, PARTITIONS)
    assert len(checker.replicas) == PARTITIONS
    for replicas in checker.replicas.values():
        assert [replica.node for replica in replicas] == [1, 2, 3]
    held = sum(replicas[0].high for replicas in checker.replicas.values())
    assert held == total
    # And so they do in their files, once all is written.
    for node in cluster.nodes:
        assert node.terminate() == 0
    for partition in range(PARTITIONS):
        wanted = [batch.raw for batch in checker.replicas[topic, partition][0].batches]
        assert all(node.stored(topic, partition) == wanted for node in cluster.nodes)


def test_a_leader_killed_under_load_loses_nothing(cluster, history, topic, verify):
    create_topic(cluster, history, topic, PARTITIONS)
    rng = seeded()
    loads, reader = start_loads(cluster, history, topic)
    for _ in range(ROUNDS):
        partition = rng.randrange(PARTITIONS)
        victim = cluster.wait_leader(topic, partition)
        history.add("fault", fault="kill", node=victim.number)
        victim.kill()
        began = time.monotonic()
        others = cluster.others(victim)
        cluster.wait_leader(topic, partition, among=others)
        say(f"next leader of {topic}-{partition} after {(time.monotonic() - began) * 1000:.0f} ms")
        for load in loads:
            load.wait_acknowledged(PARTITIONS * 20)
        victim.start().wait_ready()
        cluster.wait_healthy()
    finish(loads, reader)
    checker = verify(cluster, topic, PARTITIONS)
    say(f"{len(checker.produces)} records, {checker.lost_with_acks_one} lost with acks=1")


def test_a_dead_leader_is_replaced_in_less_than_a_second(cluster, history, topic, verify):
    create_topic(cluster, history, topic, PARTITIONS)
    took = []
    for number in range(FAILOVERS):
        partition = number % PARTITIONS
        cluster.wait_healthy()
        victim = cluster.wait_leader(topic, partition)
        prober = Prober(history, topic, partition)
        readers = [node.reader() for node in cluster.others(victim)]
        history.add("fault", fault="kill", node=victim.number)
        victim.kill()
        began = time.monotonic()
        eventually(lambda: any(prober.produce(reader) for reader in readers), "the next one serves")
        took.append(time.monotonic() - began)
        for reader in readers:
            reader.close()
        victim.start().wait_ready()
    took.sort()
    say(f"served again after {took[0] * 1000:.0f} to {took[-1] * 1000:.0f} ms, "
        f"median {took[len(took) // 2] * 1000:.0f}")
    # One may have met a moment in which the machine stood still.
    assert took[-2] < 1
    cluster.wait_healthy()
    verify(cluster, topic, PARTITIONS)


def test_a_follower_that_was_away_catches_up(cluster, history, topic, verify):
    create_topic(cluster, history, topic, PARTITIONS)
    loads, reader = start_loads(cluster, history, topic)
    leader = cluster.wait_leader(topic, 0)
    follower = cluster.others(leader)[0]
    history.add("fault", fault="kill", node=follower.number)
    follower.kill()
    for load in loads:
        load.wait_acknowledged(300)
    follower.start().wait_ready()
    for load in loads:
        load.wait_acknowledged(50)
    finish(loads, reader)
    cluster.wait_healthy()
    verify(cluster, topic, PARTITIONS)


def test_a_follower_away_past_the_end_of_the_log_gets_a_snapshot(cluster_factory, transport,
                                                                 history, topic, verify):
    cluster = cluster_factory(transport=transport, options=[
        "--set", "wal.total.bytes=2MiB", "--set", "wal.file.bytes=256KiB",
        "--set", "log.segment.bytes=256KiB",
    ]).start()
    cluster.wait_leader()
    create_topic(cluster, history, topic, 1)
    leader = cluster.wait_leader(topic, 0)
    follower = cluster.others(leader)[0]
    writer = ProducerLoad(cluster, history, topic, 1, rate=1_000, sizes=(20_000,)).start()
    writer.wait_acknowledged(20)
    history.add("fault", fault="kill", node=follower.number)
    follower.kill()
    # Several times what the write-ahead log holds.
    writer.wait_acknowledged(600)
    before = sum(node.metric("raft_snapshot_transfers_total") for node in cluster.up)
    follower.start().wait_ready()
    writer.wait_acknowledged(20)
    writer.finish()
    cluster.wait_healthy()
    # What it got is enough to lead with: offsets, producers, and all of the metadata.
    status, body = leader.transfer(topic, 0, follower)
    assert status == 200, body
    second = ProducerLoad(cluster, history, topic, 1).start()
    second.wait_acknowledged(20)
    known = cluster.wait_leader(METADATA)
    if known is not follower:
        status, body = known.transfer(METADATA, 0, follower)
        assert status == 200, body
    create_topic(cluster, history, f"{topic}-after", 1)
    second.finish()
    checker = verify(cluster, topic, 1)
    assert checker.replicas[topic, 0][0].high >= 660
    after = sum(node.metric("raft_snapshot_transfers_total") for node in cluster.nodes)
    assert after > before


def test_a_power_cut_of_the_whole_cluster_loses_nothing(cluster, history, topic, verify):
    create_topic(cluster, history, topic, PARTITIONS)
    rng = seeded()
    loads, reader = start_loads(cluster, history, topic)
    for _ in range(ROUNDS):
        loads[rng.randrange(3)].wait_acknowledged(rng.randrange(1, 100))
        history.add("fault", fault="power cut")
        cluster.kill_all()
        cluster.start(rng.sample(cluster.nodes, 3))
    for load in loads:
        load.wait_acknowledged(20)
    finish(loads, reader)
    cluster.wait_healthy()
    verify(cluster, topic, PARTITIONS)


def test_a_rolling_restart_is_nothing_clients_must_handle(cluster, history, topic, verify):
    create_topic(cluster, history, topic, PARTITIONS)
    loads, reader = start_loads(cluster, history, topic)
    for node in cluster.nodes:
        history.add("fault", fault="restart", node=node.number)
        assert node.terminate() == 0, node.log()
        node.start().wait_ready()
        cluster.wait_healthy()
        for load in loads:
            load.wait_acknowledged(50)
    # Any error that reached a client fails here.
    finish(loads, reader)
    verify(cluster, topic, PARTITIONS)


def test_a_paused_leader_is_replaced_and_comes_back_as_a_follower(cluster, history, topic, verify):
    create_topic(cluster, history, topic, PARTITIONS)
    loads, reader = start_loads(cluster, history, topic)
    leader = cluster.wait_leader(topic, 0)
    history.add("fault", fault="pause", node=leader.number)
    leader.pause()
    successor = cluster.wait_leader(topic, 0, among=cluster.others(leader))
    assert successor is not leader
    for load in loads:
        load.wait_acknowledged(50)
    leader.resume()
    cluster.wait_leader(topic, 0)
    finish(loads, reader)
    cluster.wait_healthy()
    verify(cluster, topic, PARTITIONS)


def test_without_a_majority_nothing_is_acknowledged(cluster, history, topic, verify):
    create_topic(cluster, history, topic, 1)
    writer = ProducerLoad(cluster, history, topic, 1).start()
    writer.wait_acknowledged(20)
    leader = cluster.wait_leader(topic, 0)
    followers = cluster.others(leader)
    for follower in followers:
        history.add("fault", fault="pause", node=follower.number)
        follower.pause()
    answers = []
    lone = Producer({"bootstrap.servers": leader.address, "acks": "all", "log_level": 0,
                     "message.timeout.ms": 3_000, "linger.ms": 0})
    key = "lone:0"
    history.add("producer", process="lone", acks="all", idempotent=False)
    history.add("produce", event="invoke", process="lone", id=0, topic=topic, partition=0,
                key=key, value="x")
    lone.produce(topic, b"x", key=key, partition=0, on_delivery=lambda e, m: answers.append(e))
    assert lone.flush(30) == 0
    assert len(answers) == 1 and answers[0] is not None
    for follower in followers:
        follower.resume()
    writer.wait_acknowledged(20)
    writer.finish()
    cluster.wait_healthy()
    verify(cluster, topic, 1)


def test_leadership_can_be_handed_over_under_load(cluster, history, topic, verify):
    create_topic(cluster, history, topic, PARTITIONS)
    loads, reader = start_loads(cluster, history, topic)
    for _ in range(ROUNDS):
        leader = cluster.wait_leader(topic, 0)
        target = cluster.others(leader)[0]
        status, body = leader.transfer(topic, 0, target)
        assert status == 200, body
        assert cluster.wait_leader(topic, 0) is target
        for load in loads:
            load.wait_acknowledged(20)
    finish(loads, reader)
    verify(cluster, topic, PARTITIONS)
