"""What happens at the limits: of the write-ahead log, of the disk, of memory."""

import contextlib
import os
import pathlib
import re
import select
import shutil
import socket
import struct
import subprocess
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from broker import Broker
from ports import free_port

MIB = 1 << 20


def wal_bytes(broker):
    total = 0
    for file in (broker.data_dir / "wal").glob("*"):
        # One that is being made gets its final name at any moment.
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def make_topic(broker, name, partitions=1, config=None):
    admin = AdminClient({"bootstrap.servers": broker.address})
    made = admin.create_topics([NewTopic(name, num_partitions=partitions, config=config or {})])
    made[name].result(60)


def produce(broker, topic, values, partition=None, **options):
    """Sends values; returns those that were acknowledged, and the errors of the others."""
    acknowledged, errors = [], []

    def delivered(error, message):
        if error is None:
            acknowledged.append((message.partition(), message.offset(), message.value()))
        else:
            errors.append(error)

    producer = Producer({"bootstrap.servers": broker.address, "linger.ms": 1, **options})
    for value in values:
        where = {} if partition is None else {"partition": partition(value)}
        while True:
            try:
                producer.produce(topic, value, on_delivery=delivered, **where)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0
    return acknowledged, errors


def read_all(broker, topic, partitions):
    found = set()
    consumer = Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "nobody",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    ended = set()
    deadline = time.monotonic() + 60
    while len(ended) < partitions and time.monotonic() < deadline:
        for message in consumer.consume(1000, 0.5):
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                continue
            found.add((message.partition(), message.offset(), message.value()))
    consumer.close()
    assert len(ended) == partitions
    return found


class Disk:
    """A small disk of its own, if this process may mount one."""

    def __init__(self, path, size, *options):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", str(path)],
            capture_output=True,
        )
        if done.returncode != 0:
            pytest.skip("mounting needs privileges")

    def resize(self, size, *options):
        options = ",".join(["remount", f"size={size}", *options])
        subprocess.run(["mount", "-o", options, str(self.path)], check=True)

    def remove(self):
        subprocess.run(["umount", "-l", str(self.path)], check=True)


@pytest.fixture
def small_disk():
    disks = []

    def make(*options):
        disks.append(Disk(*options))
        return disks[-1]

    yield make
    for disk in disks:
        disk.remove()


def start_with_segments_on(disk, tmp_path, *options):
    """A broker whose write-ahead log has more room than its segments."""
    broker = Broker(tmp_path / "data", *options).start()
    broker.stop()
    topics = tmp_path / "data" / "topics"
    shutil.copytree(topics, disk.path, dirs_exist_ok=True)
    shutil.rmtree(topics)
    topics.symlink_to(disk.path)
    return broker.start()


# The first bytes of requests, by hand.


def framed(payload):
    return struct.pack(">i", len(payload)) + payload


def produce_request(correlation, topic, acks, records=b"", partition=0, declared=None):
    """Produce v3; `declared` makes the frame promise more bytes than it has."""
    name = topic.encode()
    body = struct.pack(">hhih", 0, 3, correlation, -1)
    body += struct.pack(">hhi", -1, acks, 30_000)
    body += struct.pack(">ih", 1, len(name)) + name
    body += struct.pack(">iii", 1, partition, len(records)) + records
    return struct.pack(">i", declared or len(body)) + body


API_VERSIONS = framed(struct.pack(">hhih", 18, 0, 9, -1))


# acks=0


def test_a_failed_produce_without_acks_closes_the_connection(broker):
    with socket.create_connection(("127.0.0.1", broker.port), timeout=20) as connection:
        connection.sendall(produce_request(1, "there-is-no-such-topic", 0))
        connection.sendall(API_VERSIONS)
        answer = b""
        try:
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionResetError:
            pass
        assert answer == b""


def test_a_produce_without_acks_that_succeeds_keeps_the_connection(broker, topic):
    make_topic(broker, topic)
    _, errors = produce(broker, topic, [b"%d" % n for n in range(100)], acks=0)
    assert errors == []
    deadline = time.monotonic() + 20
    while len(read_all(broker, topic, 1)) < 100:
        assert time.monotonic() < deadline


# The write-ahead log


SMALL_LOG = ["--set", "wal.total.bytes=1MiB", "--set", "wal.file.bytes=64KiB"]


def test_idle_partitions_do_not_keep_the_log_from_being_recycled(tmp_path):
    partitions = 300
    broker = Broker(tmp_path / "data", *SMALL_LOG).start()
    try:
        make_topic(broker, "idle", partitions)
        once, errors = produce(
            broker, "idle", [b"%d" % n for n in range(partitions)], lambda value: int(value)
        )
        assert errors == [] and len(once) == partitions
        make_topic(broker, "busy")
        largest = 0
        for round in range(10):
            some, errors = produce(
                broker,
                "busy",
                [os.urandom(5_000) for _ in range(400)],
                **{"batch.size": 16_384, "max.in.flight": 5},
            )
            assert errors == [] and len(some) == 400
            largest = max(largest, wal_bytes(broker))
        assert largest <= 2 * MIB, f"the log took {largest} bytes"
        broker.kill()
        broker.start()
        assert read_all(broker, "idle", partitions) == set(once)
    finally:
        broker.stop()


def test_what_only_the_log_has_survives_a_crash_while_it_is_short_of_space(tmp_path):
    partitions = 40
    broker = Broker(tmp_path / "data", *SMALL_LOG).start()
    try:
        make_topic(broker, "many", partitions)
        acknowledged = []
        for round in range(8):
            values = [b"%d:%d:" % (round, n) + b"x" * 3_000 for n in range(230)]
            some, errors = produce(
                broker, "many", values, lambda value: int(value.split(b":")[1]) % partitions
            )
            assert errors == []
            acknowledged += some
            broker.kill()
            broker.start()
            assert read_all(broker, "many", partitions) == set(acknowledged)
    finally:
        broker.stop()
    assert "offline" not in broker.log


def test_a_log_that_cannot_be_relieved_stops_at_its_limit_and_goes_on_by_itself(tmp_path, small_disk):
    segments = small_disk(tmp_path / "segments", "8M")
    broker = start_with_segments_on(
        segments, tmp_path, "--set", "wal.total.bytes=8MiB", "--set", "wal.file.bytes=1MiB"
    )
    try:
        check_full_disk(broker, segments, limit=20 * MIB)
        assert wal_bytes(broker) <= 10 * MIB
    finally:
        broker.stop()
    assert broker.log.count("no space left") < 20, broker.log


def test_a_log_far_over_a_new_limit_shrinks_to_it(tmp_path):
    broker = Broker(tmp_path / "data", "--set", "wal.file.bytes=1MiB").start()
    try:
        make_topic(broker, "many", 10)
        values = [b"%d:" % n + os.urandom(10_000) for n in range(2_000)]
        some, errors = produce(broker, "many", values, lambda v: int(v.split(b":")[0]) % 10)
        assert errors == [] and len(some) == 2_000
        broker.kill()
        # On another port, so that it has something to write while it starts.
        broker.port = free_port()
        broker.options = SMALL_LOG
        broker.start()
        assert read_all(broker, "many", 10) == set(some)
        # The file that was begun is filled first, and may have grown large on a slow disk.
        deadline = time.monotonic() + 30
        while wal_bytes(broker) > 2 * MIB:
            produce(broker, "many", [b"0:" + os.urandom(1_000) for _ in range(200)])
            assert time.monotonic() < deadline, f"the log takes {wal_bytes(broker)} bytes"
    finally:
        broker.stop()


# A full disk


def test_a_full_disk_refuses_produces_and_recovers_when_space_returns(tmp_path, small_disk):
    disk = small_disk(tmp_path / "data", "24M")
    broker = Broker(
        tmp_path / "data", "--set", "wal.total.bytes=8MiB", "--set", "wal.file.bytes=1MiB"
    ).start()
    try:
        check_full_disk(broker, disk, limit=40 * MIB)
    finally:
        broker.stop()
    assert broker.log.count("ERROR") < 20, broker.log


def check_full_disk(broker, disk, limit):
    """Fills the disk; nothing acknowledged is lost, and more space is all that is needed."""
    make_topic(broker, "full", 4)
    acknowledged, errors = [], []
    options = {
        "batch.size": 65_536,
        "max.in.flight": 5,
        "message.timeout.ms": 8_000,
        "retries": 2,
        "retry.backoff.ms": 100,
    }
    while not errors:
        some, errors = produce(
            broker, "full", [os.urandom(10_000) for _ in range(100)], **options
        )
        acknowledged += some
        assert len(acknowledged) * 10_000 < limit, "the disk was never full"
    codes = {error.code() for error in errors}
    assert KafkaError.KAFKA_STORAGE_ERROR in codes, codes
    before = cpu_seconds(broker)
    # What was acknowledged is read all the same.
    assert read_all(broker, "full", 4) >= set(acknowledged)
    idle = time.monotonic()
    time.sleep(2)
    assert cpu_seconds(broker) - before < 2 + (time.monotonic() - idle) / 2, "a tight loop"
    disk.resize("200M")
    deadline = time.monotonic() + 30
    while True:
        some, errors = produce(broker, "full", [b"after"], **options)
        acknowledged += some
        if not errors:
            break
        assert time.monotonic() < deadline, errors
    assert read_all(broker, "full", 4) >= set(acknowledged)
    broker.kill()
    broker.start()
    assert read_all(broker, "full", 4) >= set(acknowledged)


def cpu_seconds(broker):
    fields = pathlib.Path(f"/proc/{broker.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_partitions_come_up_on_a_disk_that_has_no_room_for_their_files(tmp_path, small_disk):
    disk = small_disk(tmp_path / "data", "64M", "nr_inodes=60")
    broker = Broker(tmp_path / "data", "--set", "wal.file.bytes=1MiB").start()
    try:
        admin = AdminClient({"bootstrap.servers": broker.address})
        made = admin.create_topics([NewTopic("many", num_partitions=80)], operation_timeout=5)
        assert made["many"].exception(30) is None
        # They are in the write-ahead log alone.
        values = [b"%d" % n for n in range(80)]
        acknowledged, errors = produce(broker, "many", values, lambda value: int(value))
        assert errors == [] and len(acknowledged) == 80
        assert len(list((tmp_path / "data/topics").glob("many-*"))) < 60
        disk.resize("64M", "nr_inodes=10000")
        assert read_all(broker, "many", 80) >= set(acknowledged)
        broker.stop()
        assert len(list((tmp_path / "data/topics").glob("many-*/checkpoint"))) == 80
        broker.start()
        assert read_all(broker, "many", 80) >= set(acknowledged)
    finally:
        broker.stop()


def test_retention_makes_room_on_a_full_disk(tmp_path, small_disk):
    segments = small_disk(tmp_path / "segments", "24M")
    broker = start_with_segments_on(
        segments, tmp_path, "--set", "log.retention.check.interval.ms=200"
    )
    try:
        make_topic(broker, "old", 1, {"segment.bytes": str(2 * MIB)})
        make_topic(broker, "new")
        errors = []
        while not errors:
            _, errors = produce(
                broker,
                "old",
                [os.urandom(10_000) for _ in range(400)],
                **{"message.timeout.ms": 3_000, "retries": 0},
            )
        admin = AdminClient({"bootstrap.servers": broker.address})
        resource = ConfigResource(ConfigResource.Type.TOPIC, "old", set_config=None)
        resource.add_incremental_config(
            ConfigEntry(
                "retention.bytes", "4000000", incremental_operation=AlterConfigOpType.SET
            )
        )
        admin.incremental_alter_configs([resource])[resource].result(30)
        deadline = time.monotonic() + 30
        while True:
            _, errors = produce(broker, "new", [b"x"], **{"message.timeout.ms": 3_000})
            if not errors:
                break
            assert time.monotonic() < deadline, errors
    finally:
        broker.stop()


# Memory


LARGE = 8 * MIB


def resident_bytes(broker):
    status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024


def send_what_fits(connections, pending, seconds):
    """Sends to all at once, as much as the broker takes; returns what it has not taken."""
    deadline = time.monotonic() + seconds
    while any(pending.values()) and time.monotonic() < deadline:
        _, writable, _ = select.select([], [c for c in connections if pending[c]], [], 0.1)
        for connection in writable:
            try:
                pending[connection] = pending[connection][connection.send(pending[connection]) :]
            except OSError:
                pending[connection] = memoryview(b"")
    return pending


@pytest.fixture
def small_broker(tmp_path):
    broker = Broker(tmp_path / "data", "--set", "memory.bytes=64MiB").start()
    yield broker
    broker.stop()


def open_connections(broker, count):
    connections = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", broker.port), timeout=20)
        connection.setblocking(False)
        connections.append(connection)
    return connections


def test_requests_that_never_become_whole_take_bounded_memory_and_leave_others_served(
    small_broker, topic
):
    make_topic(small_broker, topic)
    before = resident_bytes(small_broker)
    connections = open_connections(small_broker, 60)
    # All but the last byte of each.
    whole = memoryview(produce_request(1, "x", 1, bytes(LARGE)))
    pending = {connection: whole[:-1] for connection in connections}
    send_what_fits(connections, pending, 5)
    assert resident_bytes(small_broker) - before < 64 * MIB
    values = [os.urandom(200_000) for _ in range(50)]
    some, errors = produce(small_broker, topic, values, **{"message.timeout.ms": 60_000})
    assert errors == [] and len(some) == 50
    assert {value for _, _, value in read_all(small_broker, topic, 1)} == set(values)
    for connection in connections:
        connection.close()


def test_large_requests_that_share_too_little_memory_all_become_whole(small_broker):
    before = resident_bytes(small_broker)
    connections = open_connections(small_broker, 30)
    whole = memoryview(produce_request(1, "there-is-no-such-topic", 1, bytes(LARGE)))
    pending = {connection: whole for connection in connections}
    send_what_fits(connections, pending, 60)
    assert not any(pending.values())
    for connection in connections:
        connection.settimeout(20)
        assert len(connection.recv(4096)) > 8
        connection.close()
    assert resident_bytes(small_broker) - before < 128 * MIB
