"""confluent-kafka: librdkafka's producer, consumer and admin client."""

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)


def admin(broker):
    return AdminClient({"bootstrap.servers": broker.address})


def results(futures):
    return {key: future.result(timeout=30) for key, future in futures.items()}


def create(broker, topic, partitions=1, **config):
    results(admin(broker).create_topics([NewTopic(topic, partitions, 1, config=config)]))


def produce(broker, topic, values, **config):
    failed = []
    producer = Producer({"bootstrap.servers": broker.address, **config})
    for key, value in values:
        producer.produce(
            topic,
            value,
            key=key,
            headers={"n": value},
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
        producer.poll(0)
    assert producer.flush(60) == 0
    assert failed == []


def consumer(broker, group, **config):
    return Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **config,
        }
    )


def read(consumers, count, polls=600):
    """Polls the consumers in turn until they have read so many records together."""
    found = []
    for _ in range(polls):
        for one in consumers:
            message = one.poll(0.05)
            if message is not None and message.error() is None:
                found.append(message)
        if len(found) >= count:
            return found
    raise AssertionError(f"{len(found)} of {count} records")


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_idempotent_produce_and_consume(broker, topic, codec):
    create(broker, topic, 3)
    sent = [(f"k{n}".encode(), f"v{n}".encode()) for n in range(2000)]
    produce(broker, topic, sent, **{"enable.idempotence": True, "compression.type": codec})
    one = consumer(broker, f"g-{topic}")
    one.subscribe([topic])
    found = read([one], len(sent))
    assert sorted((m.key(), m.value()) for m in found) == sorted(sent)
    assert all(m.headers() == [("n", m.value())] for m in found)
    one.close()


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_two_members_share_and_hand_over(broker, topic, strategy):
    create(broker, topic, 4)
    config = {"partition.assignment.strategy": strategy}
    first = consumer(broker, f"g-{topic}", **config)
    second = consumer(broker, f"g-{topic}", **config)
    first.subscribe([topic])
    second.subscribe([topic])
    for _ in range(600):
        first.poll(0.05)
        second.poll(0.05)
        if len(first.assignment()) == 2 and len(second.assignment()) == 2:
            break
    assert len(first.assignment()) == 2 and len(second.assignment()) == 2
    produce(broker, topic, [(f"k{n}".encode(), f"{n}".encode()) for n in range(400)])
    found = read([first, second], 400)
    assert sorted(int(m.value()) for m in found) == list(range(400))
    first.commit(asynchronous=False)
    second.commit(asynchronous=False)
    first.close()
    for _ in range(600):
        second.poll(0.05)
        if len(second.assignment()) == 4:
            break
    assert len(second.assignment()) == 4
    produce(broker, topic, [(f"k{n}".encode(), f"{n}".encode()) for n in range(400, 500)])
    found = read([second], 100)
    assert sorted(int(m.value()) for m in found) == list(range(400, 500))
    second.close()


def test_committed_offsets_and_records_survive_a_restart(own_broker, topic):
    create(own_broker, topic, 2)
    produce(own_broker, topic, [(f"{n}".encode(), f"{n}".encode()) for n in range(100)])
    one = consumer(own_broker, "resumes")
    one.subscribe([topic])
    read([one], 100)
    one.commit(asynchronous=False)
    one.close()
    own_broker.restart()
    produce(own_broker, topic, [(f"{n}".encode(), f"{n}".encode()) for n in range(100, 120)])
    again = consumer(own_broker, "resumes")
    again.subscribe([topic])
    found = read([again], 20)
    assert sorted(int(m.value()) for m in found) == list(range(100, 120))
    again.close()


def test_admin_topics_partitions_and_configs(broker, topic):
    client = admin(broker)
    create(broker, topic, 1, **{"retention.ms": "1234567"})
    results(client.create_partitions([NewPartitions(topic, 3)]))
    assert len(client.list_topics(topic).topics[topic].partitions) == 3
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    described = results(client.describe_configs([resource]))[resource]
    assert described["retention.ms"].value == "1234567"
    assert described["segment.bytes"].value == "1073741824"
    with pytest.raises(KafkaException):
        create(broker, topic)
    with pytest.raises(KafkaException):
        create(broker, "no/such/name")
    results(client.delete_topics([topic]))
    assert topic not in client.list_topics().topics


def test_admin_offsets_and_records(broker, topic):
    client = admin(broker)
    create(broker, topic)
    produce(broker, topic, [(None, f"{n}".encode()) for n in range(50)])
    partition = TopicPartition(topic, 0)
    ends = results(client.list_offsets({partition: OffsetSpec.latest()}))
    assert [end.offset for end in ends.values()] == [50]
    results(client.delete_records([TopicPartition(topic, 0, 20)]))
    starts = results(client.list_offsets({partition: OffsetSpec.earliest()}))
    assert [start.offset for start in starts.values()] == [20]
    one = consumer(broker, f"g-{topic}")
    one.subscribe([topic])
    assert [m.offset() for m in read([one], 30)] == list(range(20, 50))
    one.close()


def test_admin_groups(broker, topic):
    client = admin(broker)
    create(broker, topic)
    produce(broker, topic, [(None, b"x")])
    group = f"g-{topic}"
    one = consumer(broker, group)
    one.subscribe([topic])
    read([one], 1)
    one.commit(asynchronous=False)
    described = client.describe_consumer_groups([group])[group].result(timeout=30)
    assert described.state.name == "STABLE"
    assert len(described.members) == 1
    one.close()
    listed = client.list_consumer_groups().result(timeout=30)
    assert group in [entry.group_id for entry in listed.valid]
    results(client.delete_consumer_groups([group]))
    listed = client.list_consumer_groups().result(timeout=30)
    assert group not in [entry.group_id for entry in listed.valid]
