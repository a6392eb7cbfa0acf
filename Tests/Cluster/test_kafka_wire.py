"""The reader of replicas reads what producers wrote, batch for batch."""

import pytest
from confluent_kafka import Producer

import checker
import record_batches
from broker import Broker
from history import History
from kafka_wire import Fetched, ReplicaReader
from load import ConsumerLoad, ProducerLoad, create_topic


class Lone:
    """A server without peers, as the loads see it."""

    def __init__(self, broker):
        self.bootstrap = broker.address


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path / "data").start()
    yield broker
    assert broker.stop() == 0


def read_into(history, broker, topic, partitions):
    with ReplicaReader(broker.address) as reader:
        for partition in range(partitions):
            history.replica(1, topic, partition, *reader.read_all(topic, partition))


def test_what_a_lone_server_holds_passes_the_checker(broker):
    history = History()
    create_topic(Lone(broker), history, "t", 2, 1)
    loads = [
        ProducerLoad(Lone(broker), history, "t", 2, acks="all", idempotent=True, rate=5000,
                     sizes=(100, 0, 1, 30)),
        ProducerLoad(Lone(broker), history, "t", 2, acks="1", idempotent=False, rate=5000),
        ProducerLoad(Lone(broker), history, "t", 2, rate=50, sizes=(1_000_000,)),
    ]
    reader = ConsumerLoad(Lone(broker), history, "t", 2).start()
    for load in loads:
        load.start()
    for load in loads:
        load.wait_acknowledged(10 if load is loads[2] else 300)
    total = sum(load.finish() for load in loads)
    reader.wait_read(total)
    assert reader.finish() == total
    read_into(history, broker, "t", 2)
    held = sum(e["high"] for e in history.events if e["op"] == "replica")
    assert held == total > 600
    assert checker.check(history.events) == []
    # The checker does look: nothing of this passes without its last record.
    last = [e for e in history.events if e["op"] == "replica"][0]
    last["batches"].pop()
    assert {v.rule for v in checker.check(history.events)} >= {"gap in offsets"}


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_batches_of_every_codec_are_read(broker, codec):
    producer = Producer({"bootstrap.servers": broker.address, "compression.type": codec,
                         "linger.ms": 100})
    values = [f"value {number}".encode() for number in range(50)]
    for value in values:
        producer.produce("t", value, key=b"k", partition=0)
    assert producer.flush(30) == 0
    with ReplicaReader(broker.address) as reader:
        low, high, raw = reader.read_all("t", 0)
    assert (low, high) == (0, 50)
    records = [record for one in raw for record in record_batches.parse(one).records()]
    assert records == [(number, b"k", value) for number, value in enumerate(values)]


def test_a_batch_sent_by_hand_is_stored_as_it_was(broker):
    create_topic(Lone(broker), History(), "t", 1, 1)
    raw = record_batches.encode(0, [b"one", b"two"], key=b"k")
    with ReplicaReader(broker.address) as reader:
        assert reader.produce("t", 0, raw) == (0, 0)
        assert reader.produce("t", 0, raw) == (0, 2)
        _, high, found = reader.read_all("t", 0)
    assert high == 4
    # All but base offset and leader epoch.
    assert [one[16:] for one in found] == [raw[16:]] * 2


def test_the_metadata_of_a_lone_server(broker):
    create_topic(Lone(broker), History(), "t", 2, 1)
    with ReplicaReader(broker.address) as reader:
        known = reader.metadata()
    assert known.brokers == {1: (broker.address, None)} and known.controller == 1
    assert [known.partitions["t", p].leader for p in (0, 1)] == [1, 1]
    assert known.partitions["t", 0].replicas == known.partitions["t", 0].in_sync == [1]
    assert known.partitions["t", 0].epoch >= 1


def test_a_topic_that_is_not_there_is_an_error(broker):
    with ReplicaReader(broker.address) as reader:
        assert reader.fetch("nowhere", 0, 0).error == 3


def test_a_replica_that_does_not_know_its_leader_is_asked_again(broker, monkeypatch):
    create_topic(Lone(broker), History(), "t", 1, 1)
    raw = record_batches.encode(0, [b"one"], key=b"k")
    with ReplicaReader(broker.address) as reader:
        assert reader.produce("t", 0, raw) == (0, 0)
        fetch, refusals = reader.fetch, [Fetched(6, -1, -1, -1, b"")] * 3
        monkeypatch.setattr(
            reader, "fetch", lambda *where: refusals.pop() if refusals else fetch(*where))
        assert reader.read_all("t", 0)[:2] == (0, 1)
    assert refusals == []
