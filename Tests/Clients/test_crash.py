"""kill -9 under load: every acknowledged record is there, once, at its offset."""

import os
import random
import threading

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 4
ROUNDS = int(os.environ.get("CHRONIK_CRASH_ROUNDS", "6"))


class Load:
    """A producer that remembers what was acknowledged, and where."""

    def __init__(self, broker, topic, name, acks, idempotent):
        self.acknowledged = {}
        self.stopping = threading.Event()
        self.flushed = threading.Event()
        self.topic, self.name = topic, name
        self.producer = Producer(
            {
                "bootstrap.servers": broker.address,
                "acks": acks,
                "enable.idempotence": idempotent,
                "linger.ms": 1,
                "message.timeout.ms": 60_000,
                "reconnect.backoff.max.ms": 200,
            }
        )
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def delivered(self, error, message):
        if error is None:
            self.acknowledged[message.value()] = (message.partition(), message.offset())

    def run(self):
        number = 0
        while not self.stopping.is_set():
            value = f"{self.name}:{number}".encode()
            try:
                self.producer.produce(
                    self.topic, value, partition=number % PARTITIONS, on_delivery=self.delivered
                )
                number += 1
            except BufferError:
                pass
            self.producer.poll(0 if number % 64 else 0.002)

    def finish(self):
        self.stopping.set()
        self.thread.join()
        assert self.producer.flush(90) == 0
        return self.acknowledged


def read_all(broker, topic):
    """Every record of the topic: value to places."""
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "unused"})
    places = {}
    for partition in range(PARTITIONS):
        where = TopicPartition(topic, partition, 0)
        start, end = consumer.get_watermark_offsets(where, timeout=30)
        assert start == 0
        consumer.assign([where])
        expected = 0
        while expected < end:
            message = consumer.poll(30)
            assert message is not None and message.error() is None, message
            assert message.offset() == expected, "offsets are dense"
            expected += 1
            places.setdefault(message.value(), []).append((partition, message.offset()))
    consumer.close()
    return places


def test_nothing_acknowledged_is_lost(own_broker, topic):
    seed = int(os.environ.get("CHRONIK_SEED", random.randrange(2**32)))
    print(f"CHRONIK_SEED={seed}")
    rng = random.Random(seed)
    client = AdminClient({"bootstrap.servers": own_broker.address})
    for future in client.create_topics([NewTopic(topic, PARTITIONS, 1)]).values():
        future.result(timeout=30)
    loads = [
        Load(own_broker, topic, "all", "all", True),
        Load(own_broker, topic, "one", "1", False),
        Load(own_broker, topic, "each", "all", False),
    ]
    for _ in range(ROUNDS):
        threading.Event().wait(rng.uniform(0.05, 0.6))
        own_broker.kill()
        own_broker.start()
    acknowledged = {load.name: load.finish() for load in loads}
    places = read_all(own_broker, topic)
    assert sum(len(values) for values in acknowledged.values()) > ROUNDS
    for values in acknowledged.values():
        for value, place in values.items():
            assert place in places.get(value, []), f"{value} was acknowledged at {place}"
    for value, where in places.items():
        if value.startswith(b"all:"):
            assert len(where) == 1, f"the idempotent producer's {value} is at {where}"
