"""Producers and consumers that write down everything they do and are told."""

import asyncio
import itertools
import os
import threading

from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as AioTopicPartition
from aiokafka.errors import KafkaConnectionError
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import history as histories
import record_batches

SECONDS = 60
# How long a client waits for a node that does not answer before it asks another. The library's own
# is as long as records live here: those whose leader a paused node was asked for would not be sent.
PATIENCE = 10
names = itertools.count(1)
# All that were started since the last `stop_all`.
begun = []
# What a client retries by itself and only tells about.
TRANSIENT = {
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._RESOLVE,
    KafkaError._TIMED_OUT,
}


def stop_all():
    """Ends what a test that failed has left behind."""
    for load in begun:
        load.stopping.set()
    for load in begun:
        load.thread.join(10)
    begun.clear()


class ProducerLoad:
    """Sends records at a steady rate to all partitions of a topic, until it is told to finish.

    A record's key says who sent it as which; its value is as long as `sizes` says in turn.
    """

    def __init__(self, cluster, history, topic, partitions, acks="all", idempotent=True, rate=500,
                 sizes=(100,), config=None):
        self.name = f"producer-{next(names)}"
        self.history, self.topic, self.partitions = history, topic, partitions
        self.rate, self.sizes = rate, sizes
        self.acknowledged = 0
        self.errors = []
        self.number = 0
        self.changed = threading.Condition()
        self.stopping = threading.Event()
        history.add("producer", process=self.name, acks=acks, idempotent=idempotent)
        self.producer = Producer({
            "bootstrap.servers": cluster.bootstrap,
            "client.id": self.name,
            "acks": acks,
            "enable.idempotence": idempotent,
            "linger.ms": 2,
            "message.timeout.ms": SECONDS * 1000,
            "socket.timeout.ms": PATIENCE * 1000,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
            "retry.backoff.ms": 20,
            "retry.backoff.max.ms": 200,
            "topic.metadata.refresh.interval.ms": 5_000,
            "message.max.bytes": 2_000_000,
            "error_cb": self.failed,
            "log_level": 0,
            **(config or {}),
        })
        self.thread = threading.Thread(target=self.run, name=self.name, daemon=True)

    def start(self):
        begun.append(self)
        self.thread.start()
        return self

    def failed(self, error):
        if error.fatal() or error.code() not in TRANSIENT:
            self.errors.append(str(error))

    def send(self, size):
        number = self.number
        key = f"{self.name}:{number}"
        value = (f"{number}:" * (size // 2 + 1))[:size].encode()
        partition = number % self.partitions
        # Before the client has it: an answer must not come first.
        self.history.add("produce", event="invoke", process=self.name, id=number,
                         topic=self.topic, partition=partition, key=key,
                         value=histories.text(value))
        self.number += 1
        while True:
            try:
                self.producer.produce(self.topic, value, key=key, partition=partition,
                                      on_delivery=lambda e, m: self.delivered(number, e, m))
                return
            except BufferError:
                self.producer.poll(0.05)

    def delivered(self, number, error, message):
        if error is not None:
            self.errors.append(f"{number}: {error}")
            # The client does not say whether it reached a broker.
            self.history.add("produce", event="unknown", process=self.name, id=number,
                             error=str(error))
            return
        self.history.add("produce", event="ok", process=self.name, id=number,
                         partition=message.partition(), offset=message.offset())
        with self.changed:
            self.acknowledged += 1
            self.changed.notify_all()

    def run(self):
        sizes = itertools.cycle(self.sizes)
        while not self.stopping.is_set():
            self.send(next(sizes))
            self.producer.poll(0)
            self.stopping.wait(1 / self.rate)
            self.producer.poll(0)

    def wait_acknowledged(self, more, seconds=SECONDS):
        """Until so many records more are acknowledged than are now."""
        with self.changed:
            wanted = self.acknowledged + more
            done = self.changed.wait_for(lambda: self.acknowledged >= wanted, seconds)
            assert done, f"{self.name}: {more + self.acknowledged - wanted} of {more} " \
                         f"acknowledged in {seconds} s; errors {self.errors[:3]}"

    def finish(self, expect_all=True):
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join()
        left = self.producer.flush(SECONDS + 10)
        if expect_all:
            assert left == 0, f"{self.name}: {left} records without an answer"
            assert self.errors == [], self.errors[:5]
        return self.acknowledged


class Prober:
    """A client that asks nobody who leads: sends one record at a time to the node it is told."""

    def __init__(self, history, topic, partition=0):
        self.name = f"prober-{next(names)}"
        self.history, self.topic, self.partition = history, topic, partition
        self.sent = 0
        history.add("producer", process=self.name, acks="all", idempotent=False)

    def produce(self, reader):
        """Whether the node acknowledged it."""
        number, key = self.sent, f"{self.name}:{self.sent}"
        self.sent += 1
        event = {"process": self.name, "id": number}
        self.history.add("produce", event="invoke", topic=self.topic, partition=self.partition,
                         key=key, value="x", **event)
        raw = record_batches.encode(0, [b"x"], key=key.encode())
        error, offset = reader.produce(self.topic, self.partition, raw, timeout_ms=1_000)
        if error != 0:
            return False
        self.history.add("produce", event="ok", partition=self.partition, offset=offset, **event)
        return True


class ConsumerLoad:
    """Reads all partitions of a topic from the start, all the while."""

    def __init__(self, cluster, history, topic, partitions, config=None):
        self.name = f"consumer-{next(names)}"
        self.history, self.topic = history, topic
        self.read = 0
        self.errors = []
        self.stopping = threading.Event()
        self.changed = threading.Condition()
        self.consumer = Consumer({
            "bootstrap.servers": cluster.bootstrap,
            "client.id": self.name,
            "group.id": self.name,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "socket.timeout.ms": PATIENCE * 1000,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 200,
            "fetch.wait.max.ms": 100,
            "fetch.error.backoff.ms": 20,
            "error_cb": self.failed,
            "log_level": 0,
            **(config or {}),
        })
        for partition in range(partitions):
            history.add("assign", process=self.name, topic=topic, partition=partition, offset=0)
        self.consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
        self.thread = threading.Thread(target=self.run, name=self.name, daemon=True)

    def start(self):
        begun.append(self)
        self.thread.start()
        return self

    def failed(self, error):
        if error.fatal() or error.code() not in TRANSIENT:
            self.errors.append(str(error))

    def run(self):
        while not self.stopping.is_set():
            records = {}
            for message in self.consumer.consume(500, timeout=0.2):
                if message.error() is not None:
                    self.failed(message.error())
                    continue
                pair = (histories.text(message.key()), histories.text(message.value()))
                records.setdefault(message.partition(), []).append([message.offset(), *pair])
            for partition, found in records.items():
                self.history.add("poll", process=self.name, topic=self.topic,
                                 partition=partition, records=found)
            with self.changed:
                self.read += sum(map(len, records.values()))
                self.changed.notify_all()

    def wait_read(self, count, seconds=SECONDS):
        with self.changed:
            done = self.changed.wait_for(lambda: self.read >= count, seconds)
            assert done, f"{self.name}: {self.read} of {count} read; errors {self.errors[:3]}"

    def finish(self):
        self.stopping.set()
        if self.thread.is_alive():
            self.thread.join()
        self.consumer.close()
        assert self.errors == [], self.errors[:5]
        return self.read


class SteadyConsumerLoad:
    """Reads all partitions of a topic from the start, whatever happens to the nodes.

    With another library than `ConsumerLoad`: in librdkafka a consumer can deadlock when a node goes
    while it asks for the end of an epoch, and with it the whole process.
    """

    def __init__(self, cluster, history, topic, partitions):
        self.name = f"consumer-{next(names)}"
        self.history, self.topic = history, topic
        self.bootstrap = cluster.bootstrap
        self.places = [AioTopicPartition(topic, number) for number in range(partitions)]
        self.read = 0
        self.problem = None
        self.stopping = threading.Event()
        for number in range(partitions):
            history.add("assign", process=self.name, topic=topic, partition=number, offset=0)
        self.thread = threading.Thread(target=self.run, name=self.name, daemon=True)

    def start(self):
        begun.append(self)
        self.thread.start()
        return self

    def run(self):
        try:
            asyncio.run(self.consume())
        except Exception as error:
            self.problem = error

    async def connect(self):
        """A consumer that has met the cluster: one that begins during a power cut gives up."""
        while True:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self.bootstrap, client_id=self.name, group_id=None,
                auto_offset_reset="none", enable_auto_commit=False, fetch_max_wait_ms=100,
                request_timeout_ms=10_000, retry_backoff_ms=20, metadata_max_age_ms=5_000,
            )
            try:
                await consumer.start()
                return consumer
            except KafkaConnectionError:
                await consumer.stop()
                if self.stopping.is_set():
                    raise
                await asyncio.sleep(0.1)

    async def consume(self):
        consumer = await self.connect()
        try:
            consumer.assign(self.places)
            for place in self.places:
                consumer.seek(place, 0)
            while not self.stopping.is_set():
                for place, found in (await consumer.getmany(timeout_ms=200)).items():
                    records = [[message.offset, histories.text(message.key),
                                histories.text(message.value)] for message in found]
                    self.read += len(records)
                    self.history.add("poll", process=self.name, topic=self.topic,
                                     partition=place.partition, records=records)
        finally:
            await consumer.stop()

    def finish(self):
        self.stopping.set()
        self.thread.join(SECONDS)
        assert not self.thread.is_alive(), f"{self.name} does not end"
        assert self.problem is None, self.problem
        return self.read


def create_topic(cluster, history, topic, partitions=1, replicas=3, config=None, seconds=30):
    client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    new = NewTopic(topic, partitions, replicas, config=config or {})
    client.create_topics([new], operation_timeout=seconds)[topic].result(seconds)
    history.add("create_topic", event="ok", topic=topic, partitions=partitions)


def list_topics(cluster, seconds=30):
    """Every topic and how many partitions it has."""
    client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    found = client.list_topics(timeout=seconds).topics
    return {name: len(topic.partitions) for name, topic in found.items()}


def setting(name, default):
    return int(os.environ.get(name, default))
