"""What Kafka's clients do not offer: asking a replica of one's choice for its raw batches.

Fetch version 11 without a session; a follower answers it below its high watermark (KIP-392).
"""

import socket
import struct
import threading
import time
from dataclasses import dataclass

import record_batches

PRODUCE, PRODUCE_VERSION = 0, 8
FETCH, FETCH_VERSION = 1, 11
METADATA, METADATA_VERSION = 3, 7
NONE, OFFSET_OUT_OF_RANGE, NOT_LEADER_OR_FOLLOWER = 0, 1, 6
# How long leadership may take to be handed over.
HANDOVER_SECONDS = 10
CLIENT = b"replica-reader"


@dataclass
class Metadata:
    """What a node says of the cluster."""

    # Node to address and rack.
    brokers: dict
    cluster_id: str
    controller: int
    # Topic and partition to its state.
    partitions: dict


@dataclass
class PartitionMetadata:
    error: int
    leader: int
    epoch: int
    replicas: list
    in_sync: list


class Fields:
    """Reads the fields of an answer one after the other."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, layout):
        values = struct.unpack_from(">" + layout, self.data, self.at)
        self.at += struct.calcsize(">" + layout)
        return values[0] if len(values) == 1 else values

    def text(self):
        length = self.take("h")
        if length < 0:
            return None
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def each(self, read):
        return [read() for _ in range(self.take("i"))]


@dataclass
class Fetched:
    error: int
    high: int
    low: int
    preferred: int
    records: bytes


class Closed(Exception):
    """The other side closed the connection."""


class ReplicaReader:
    """A connection to one node, whatever it leads."""

    def __init__(self, address, seconds=30):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=seconds)
        self.correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def call(self, key, version, body):
        self.correlation += 1
        head = struct.pack(">hhih", key, version, self.correlation, len(CLIENT)) + CLIENT
        self.socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        (length,) = struct.unpack(">i", self.exactly(4))
        answer = self.exactly(length)
        (correlation,) = struct.unpack_from(">i", answer)
        assert correlation == self.correlation, (correlation, self.correlation)
        return answer[4:]

    def exactly(self, count):
        out = bytearray()
        while len(out) < count:
            chunk = self.socket.recv(min(1 << 20, count - len(out)))
            if not chunk:
                raise Closed(f"after {len(out)} of {count} bytes")
            out += chunk
        return bytes(out)

    def fetch(self, topic, partition, offset, wait_ms=0, min_bytes=0, max_bytes=16 << 20, rack=""):
        name, rack = topic.encode(), rack.encode()
        body = struct.pack(">iiiibii", -1, wait_ms, min_bytes, max_bytes, 0, 0, -1)
        body += struct.pack(">ih", 1, len(name)) + name
        body += struct.pack(">iiiqqi", 1, partition, -1, offset, -1, max_bytes)
        body += struct.pack(">ih", 0, len(rack)) + rack
        answer = self.call(FETCH, FETCH_VERSION, body)
        error, = struct.unpack_from(">h", answer, 4)
        topics, = struct.unpack_from(">i", answer, 10)
        if error or topics != 1:
            return Fetched(error or -1, -1, -1, -1, b"")
        length, = struct.unpack_from(">h", answer, 14)
        at = 16 + length + 4
        _, error, high, _, low, aborted = struct.unpack_from(">ihqqqi", answer, at)
        at += 34 + 16 * max(0, aborted)
        preferred, size = struct.unpack_from(">ii", answer, at)
        records = answer[at + 8 : at + 8 + size] if size > 0 else b""
        return Fetched(error, high, low, preferred, records)

    def produce(self, topic, partition, records, acks=-1, timeout_ms=10_000):
        """Error and base offset of a batch sent to this very node."""
        name = topic.encode()
        body = struct.pack(">hhi", -1, acks, timeout_ms)
        body += struct.pack(">ih", 1, len(name)) + name
        body += struct.pack(">iii", 1, partition, len(records)) + records
        answer = self.call(PRODUCE, PRODUCE_VERSION, body)
        (length,) = struct.unpack_from(">h", answer, 4)
        _, error, base = struct.unpack_from(">ihq", answer, 6 + length + 4)
        return error, base

    def metadata(self):
        fields = Fields(self.call(METADATA, METADATA_VERSION, struct.pack(">ib", -1, 0)))
        partitions = {}

        def broker():
            node, host, port = fields.take("i"), fields.text(), fields.take("i")
            return node, (f"{host}:{port}", fields.text())

        def partition(topic):
            error, index, leader, epoch = fields.take("hiii")
            replicas, in_sync, _ = (fields.each(lambda: fields.take("i")) for _ in range(3))
            # One without an epoch is about to lead, and does not yet.
            leader = leader if epoch >= 0 else -1
            partitions[topic, index] = PartitionMetadata(error, leader, epoch, replicas, in_sync)

        def topic():
            fields.take("h")
            name = fields.text()
            fields.take("b")
            fields.each(lambda: partition(name))

        fields.take("i")
        brokers = dict(fields.each(broker))
        cluster, controller = fields.text(), fields.take("i")
        fields.each(topic)
        return Metadata(brokers, cluster, controller, partitions)

    def watermarks(self, topic, partition):
        """Log start and high watermark, as this node knows them; and the error."""
        fetched = self.fetch(topic, partition, 0, max_bytes=1)
        return fetched.error, fetched.low, fetched.high

    def served(self, topic, partition, offset):
        """What is fetched once the replica knows who leads, which it does not in a handover."""
        deadline = time.monotonic() + HANDOVER_SECONDS
        pause = threading.Event()
        while True:
            fetched = self.fetch(topic, partition, offset)
            if fetched.error != NOT_LEADER_OR_FOLLOWER or time.monotonic() > deadline:
                return fetched
            pause.wait(0.005)

    def read_all(self, topic, partition):
        """Low and high watermark and every whole batch between them, as raw bytes."""
        fetched = self.served(topic, partition, 0)
        offset = 0
        if fetched.error == OFFSET_OUT_OF_RANGE:
            offset = fetched.low
            fetched = self.served(topic, partition, offset)
        if fetched.error != NONE:
            raise WrongAnswer(topic, partition, fetched.error)
        low, high, raw = fetched.low, fetched.high, []
        while offset < high:
            batches = record_batches.split(fetched.records)
            # The first may begin below what was asked for, and was had already.
            batches = [batch for batch in batches if batch.last >= offset]
            if not batches:
                raise WrongAnswer(topic, partition, f"nothing at {offset} below {high}")
            raw += [batch.raw for batch in batches]
            offset = batches[-1].last + 1
            if offset < high:
                fetched = self.served(topic, partition, offset)
                if fetched.error != NONE:
                    raise WrongAnswer(topic, partition, fetched.error)
        return low, high, raw


class WrongAnswer(Exception):
    """A replica that answers with an error or with nothing, where it should hold something."""

    def __init__(self, topic, partition, error):
        super().__init__(f"{topic}-{partition}: {error}")
        self.error = error
