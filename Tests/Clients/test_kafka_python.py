"""kafka-python: an independent implementation of the protocol."""

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_produce_and_consume(broker, topic, codec):
    producer = KafkaProducer(bootstrap_servers=broker.address, compression_type=codec, acks="all")
    sent = [(f"k{n}".encode(), f"v{n}".encode(), [("h", b"1")]) for n in range(500)]
    futures = [producer.send(topic, v, key=k, headers=h) for k, v, h in sent]
    assert [f.get(timeout=30).offset for f in futures] == list(range(500))
    producer.close()
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=broker.address,
        auto_offset_reset="earliest",
        consumer_timeout_ms=5000,
    )
    found = []
    for message in consumer:
        found.append((message.key, message.value, list(message.headers)))
        if len(found) == len(sent):
            break
    consumer.close()
    assert found == sent


def test_group_commits_and_resumes(broker, topic):
    producer = KafkaProducer(bootstrap_servers=broker.address)
    for n in range(30):
        producer.send(topic, str(n).encode())
    producer.flush(timeout=30)

    def read(count):
        consumer = KafkaConsumer(
            topic,
            group_id=f"g-{topic}",
            bootstrap_servers=broker.address,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            consumer_timeout_ms=10_000,
            max_poll_records=count,
        )
        values = []
        for message in consumer:
            values.append(int(message.value))
            if len(values) == count:
                break
        consumer.commit()
        consumer.close()
        return values

    assert read(10) == list(range(10))
    assert read(20) == list(range(10, 30))
    producer.close()


def test_offsets_for_times(broker, topic):
    producer = KafkaProducer(bootstrap_servers=broker.address)
    for n in range(10):
        producer.send(topic, b"x", timestamp_ms=1_000_000 + n * 1000).get(timeout=30)
    producer.close()
    consumer = KafkaConsumer(bootstrap_servers=broker.address)
    partition = TopicPartition(topic, 0)
    found = consumer.offsets_for_times({partition: 1_004_500})
    assert found[partition].offset == 5
    assert consumer.beginning_offsets([partition])[partition] == 0
    assert consumer.end_offsets([partition])[partition] == 10
    consumer.close()
