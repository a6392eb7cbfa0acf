"""Every configuration that is accepted has its effect; what would have none is refused."""

import os
import socket
import struct
import subprocess
import time

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)
from kafka.record.default_records import DefaultRecordBatchBuilder

from broker import ENVIRONMENT, SERVER, Broker
from test_limits import framed, make_topic, produce, read_all

INVALID_CONFIG = 40
REFUSED = {
    "cleanup.policy": ("compact", "delete,compact", ""),
    "compression.type": ("uncompressed", "gzip", "snappy", "lz4", "zstd"),
    "compression.gzip.level": ("1",),
    "compression.lz4.level": ("1",),
    "compression.zstd.level": ("1",),
    "delete.retention.ms": ("1",),
    "file.delete.delay.ms": ("1",),
    "follower.replication.throttled.replicas": ("*",),
    "leader.replication.throttled.replicas": ("0:1",),
    "local.retention.bytes": ("1",),
    "local.retention.ms": ("1",),
    "max.compaction.lag.ms": ("1",),
    "min.cleanable.dirty.ratio": ("0.1",),
    "min.compaction.lag.ms": ("1",),
    "min.insync.replicas": ("2",),
    "preallocate": ("true",),
    "remote.log.copy.disable": ("true",),
    "remote.log.delete.on.disable": ("true",),
    "remote.storage.enable": ("true",),
    "segment.jitter.ms": ("1",),
    "unclean.leader.election.enable": ("true",),
    "no.such.key": ("1",),
}


@pytest.fixture(scope="module")
def admin(broker):
    return AdminClient({"bootstrap.servers": broker.address})


@pytest.mark.parametrize(
    "key,value", [(key, value) for key, values in REFUSED.items() for value in values]
)
def test_what_would_have_no_effect_is_refused(admin, topic, key, value):
    made = admin.create_topics([NewTopic("t" + topic, config={key: value})], validate_only=True)
    with pytest.raises(KafkaException) as refused:
        made["t" + topic].result(30)
    error = refused.value.args[0]
    assert error.code() == INVALID_CONFIG
    assert key in error.str()


def test_the_refusal_of_compaction_says_what_to_use(admin, broker, topic):
    make_topic(broker, topic)
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    resource.add_incremental_config(
        ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.APPEND)
    )
    with pytest.raises(KafkaException) as refused:
        admin.incremental_alter_configs([resource])[resource].result(30)
    assert "retention" in refused.value.args[0].str()


def test_a_key_that_is_fixed_may_be_given_its_value_and_is_read_only(admin, broker, topic):
    make_topic(broker, topic, config={"cleanup.policy": "delete", "compression.type": "producer"})
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    described = admin.describe_configs([resource])[resource].result(30)
    read_only = {key for key, entry in described.items() if entry.is_read_only}
    # That one is refused for what the topic is, and may be set where there are replicas.
    assert read_only == set(REFUSED) - {"no.such.key", "min.insync.replicas"}


@pytest.mark.parametrize(
    "setting", ["log.cleanup.policy=compact", "compression.type=zstd", "no.such.setting=1"]
)
def test_a_setting_that_would_have_no_effect_keeps_the_broker_from_starting(tmp_path, setting):
    done = subprocess.run(
        [SERVER, "standalone", "--data-dir", str(tmp_path / "data"), "--set", setting],
        capture_output=True,
        env=ENVIRONMENT,
        timeout=30,
    )
    assert done.returncode != 0
    assert setting.split("=")[0] in done.stderr.decode()


def test_a_full_index_closes_its_segment(tmp_path):
    broker = Broker(tmp_path / "data").start()
    try:
        make_topic(
            broker, "indexed", config={"segment.index.bytes": "80", "index.interval.bytes": "0"}
        )
        values = [os.urandom(100) for _ in range(35)]
        produce(broker, "indexed", values, **{"batch.num.messages": 1})
        broker.restart()
        indexes = sorted((tmp_path / "data/topics/indexed-0").glob("*.index"))
        assert len(indexes) == 4
        assert all(index.stat().st_size <= 80 for index in indexes)
        assert [v for _, _, v in sorted(read_all(broker, "indexed", 1))] == values
    finally:
        broker.stop()


def send_batch(broker, topic, producer, sequence):
    """Produces one record of an idempotent producer; returns the error code."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=0,
        is_transactional=False,
        producer_id=producer,
        producer_epoch=0,
        base_sequence=sequence,
        batch_size=1 << 20,
    )
    builder.append(0, 1_000, None, b"x", [])
    records = bytes(builder.build())
    name = topic.encode()
    body = struct.pack(">hhihhhi", 0, 3, 1, -1, -1, -1, 30_000)
    body += struct.pack(">ih", 1, len(name)) + name
    body += struct.pack(">iii", 1, 0, len(records)) + records
    with socket.create_connection(("127.0.0.1", broker.port), timeout=20) as connection:
        connection.sendall(framed(body))
        answer = connection.recv(4096)
    return struct.unpack_from(">h", answer, 4 + 4 + 4 + 2 + len(name) + 4 + 4)[0]


OUT_OF_ORDER = 45


def test_an_idle_producer_is_forgotten_after_its_time(tmp_path):
    broker = Broker(
        tmp_path / "data",
        "--set",
        "producer.id.expiration.ms=1500",
        "--set",
        "log.retention.check.interval.ms=100",
    ).start()
    try:
        make_topic(broker, "p")
        # Whatever its own clock says.
        assert send_batch(broker, "p", 7, 0) == 0
        time.sleep(0.5)
        assert send_batch(broker, "p", 7, 5) == OUT_OF_ORDER
        assert send_batch(broker, "p", 7, 1) == 0
        deadline = time.monotonic() + 20
        while (code := send_batch(broker, "p", 7, 9)) == OUT_OF_ORDER:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert code == 0
    finally:
        broker.stop()
