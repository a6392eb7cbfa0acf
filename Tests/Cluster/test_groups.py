"""Consumer groups outlive the node that looks after them."""

import itertools

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from cluster import eventually
from load import ProducerLoad, create_topic

OFFSETS = "__consumer_offsets"
PARTITIONS = 3
SECONDS = 60


def make_consumer(cluster, group, **config):
    return Consumer({
        "bootstrap.servers": cluster.bootstrap, "group.id": group, "enable.auto.commit": False,
        "auto.offset.reset": "earliest", "session.timeout.ms": 10_000,
        "heartbeat.interval.ms": 500, "reconnect.backoff.max.ms": 200, "log_level": 0,
        **config,
    })


def group_partition(group, count):
    """As Java's String.hashCode, and Kafka's way from it to a partition."""
    number = 0
    for character in group:
        number = (31 * number + ord(character)) & 0xFFFF_FFFF
    return (number & 0x7FFF_FFFF) % count


def test_a_group_survives_the_loss_of_its_coordinator(cluster, history, topic, verify):
    create_topic(cluster, history, topic, PARTITIONS)
    load = ProducerLoad(cluster, history, topic, PARTITIONS).start()
    group = f"group-of-{topic}"
    consumer = make_consumer(cluster, group)
    consumer.subscribe([topic])
    read, committed = {}, {}

    def consume(count):
        """Reads so many records more, committing what was read."""
        wanted = len(read) + count

        def enough():
            for message in consumer.consume(100, timeout=0.2):
                if message.error():
                    assert message.error().retriable(), message.error()
                    continue
                place = (message.partition(), message.offset())
                read[place] = message.key()
                committed[message.partition()] = message.offset() + 1
            return len(read) >= wanted

        eventually(enough, f"{count} records more are read", SECONDS)
        commit()

    def commit():
        offsets = [TopicPartition(topic, p, o) for p, o in sorted(committed.items())]

        def done():
            for offset in offsets:
                history.add("commit", event="unknown", group=group, topic=topic,
                            partition=offset.partition, offset=offset.offset)
            try:
                answers = consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                assert error.args[0].retriable() or error.args[0].code() < 0, error
                return False
            if any(answer.error for answer in answers):
                return False
            for offset in offsets:
                history.add("commit", event="ok", group=group, topic=topic,
                            partition=offset.partition, offset=offset.offset)
            return True

        eventually(done, "the commit is answered", SECONDS)

    consume(100)
    count = sum(place[0] == OFFSETS for place in cluster.node(1).metadata().partitions)
    assert count > 0
    for _ in range(2):
        where = group_partition(group, count)
        victim = cluster.wait_leader(OFFSETS, where)
        history.add("fault", fault="kill", node=victim.number)
        victim.kill()
        consume(100)
        victim.start().wait_ready()
        cluster.wait_healthy()
        consume(50)
    load.finish()
    ended = consumer.committed([TopicPartition(topic, p) for p in range(PARTITIONS)], SECONDS)
    for offset in ended:
        history.add("committed", group=group, topic=topic, partition=offset.partition,
                    offset=offset.offset)
    consumer.close()
    # Nothing was skipped: what was read is dense from the start of each partition.
    for partition in range(PARTITIONS):
        offsets = sorted(offset for p, offset in read if p == partition)
        assert offsets == list(range(len(offsets)))
    verify(cluster, topic, PARTITIONS)


@pytest.mark.parametrize("transport", ["framed", "grpc"], indirect=True)
def test_a_new_group_reads_everything_while_a_leader_is_dead_and_once_it_is_back(
    cluster, history, topic, verify
):
    create_topic(cluster, history, topic, PARTITIONS)
    load = ProducerLoad(cluster, history, topic, PARTITIONS).start()
    load.wait_acknowledged(100)
    victim = cluster.wait_leader(topic, 0)
    history.add("fault", fault="kill", node=victim.number)
    victim.kill()
    load.wait_acknowledged(100)
    total = load.finish()

    def read_all(group):
        consumer = make_consumer(cluster, group)
        consumer.subscribe([topic])
        found = set()

        def enough():
            for message in consumer.consume(500, timeout=0.2):
                if message.error():
                    assert message.error().retriable(), message.error()
                else:
                    found.add((message.partition(), message.offset()))
            return len(found) >= total

        eventually(enough, f"{group} reads {total} records", SECONDS)
        consumer.close()

    read_all(f"{topic}-first")
    victim.start().wait_ready()
    read_all(f"{topic}-second")
    cluster.wait_healthy()
    verify(cluster, topic, PARTITIONS)


def test_members_of_a_group_share_and_take_over_across_nodes(cluster, history, topic):
    create_topic(cluster, history, topic, PARTITIONS)
    load = ProducerLoad(cluster, history, topic, PARTITIONS, rate=200).start()
    group = f"group-of-{topic}"
    consumers = [make_consumer(cluster, group) for _ in range(3)]
    turns = itertools.cycle(consumers)
    for consumer in consumers:
        consumer.subscribe([topic])

    def shared(members):
        def fair():
            next(turns).poll(0.05)
            held = [p.partition for consumer in members for p in consumer.assignment()]
            return sorted(held) == list(range(PARTITIONS))

        return fair

    eventually(lambda: shared(consumers)() and all(c.assignment() for c in consumers),
               "each has a partition", SECONDS)
    gone = consumers.pop()
    turns = itertools.cycle(consumers)
    gone.close()
    eventually(shared(consumers), "the others take over", SECONDS)
    for consumer in consumers:
        consumer.close()
    load.finish()


def test_committed_offsets_survive_a_power_cut(cluster, history, topic):
    create_topic(cluster, history, topic, 1)
    load = ProducerLoad(cluster, history, topic, 1).start()
    load.wait_acknowledged(50)
    load.finish()
    group = f"group-of-{topic}"
    consumer = make_consumer(cluster, group)
    consumer.commit(offsets=[TopicPartition(topic, 0, 42)], asynchronous=False)
    consumer.close()
    cluster.kill_all()
    cluster.start()
    cluster.wait_leader()
    consumer = make_consumer(cluster, group)
    found = eventually(lambda: committed(consumer, topic), "the offset is there", SECONDS)
    assert found == 42
    consumer.close()


def committed(consumer, topic):
    """The offset, or nothing while the coordinator moves: the client says so and may ask again."""
    try:
        (found,) = consumer.committed([TopicPartition(topic, 0)], SECONDS)
    except KafkaException as error:
        code = error.args[0].code()
        assert error.args[0].retriable() or code == KafkaError.NOT_COORDINATOR, error
        return None
    return found.offset
