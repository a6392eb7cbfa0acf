"""Three nodes as their callers know them: gRPC on the Raft port, beside frames and between nodes."""

import itertools
import pathlib
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import uuid

import grpc
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from grpc_tools import protoc

from broker import ENVIRONMENT, ROOT, SERVER
from ports import free_address

NAME = "grpc-cluster"
DEADLINE = 40


def eventually(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        found = condition()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        pause.wait(0.02)


class Node:
    def __init__(self, cluster, number, directory):
        self.cluster, self.number, self.directory = cluster, number, directory
        self.kafka, self.raft = free_address(), free_address()
        self.process = None

    def start(self):
        others = [node for node in self.cluster.nodes if node is not self]
        self.directory.mkdir(exist_ok=True)
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    SERVER, "cluster", "--node-id", str(self.number),
                    "--listen-addr", self.kafka, "--raft-addr", self.raft,
                    "--peers", ",".join(f"{node.number}@{node.raft}" for node in others),
                    "--data-dir", str(self.directory / "data"), "--admin-addr", "127.0.0.1:0",
                    "--set", f"raft.transport={self.cluster.transport}",
                    "--set", f"cluster.name={NAME}",
                    "--set", "wal.file.bytes=8388608", "--set", "event.loops=2",
                ],
                stdin=subprocess.DEVNULL, stderr=log, env=ENVIRONMENT,
            )

    @property
    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def counted(self, name):
        address = re.findall(r"ready for Kafka clients.* admin=(\S+)", self.log)[-1]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=DEADLINE) as answer:
            (count,) = re.findall(rf"(?m)^{name} (\S+)$", answer.read().decode())
        return float(count)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Cluster:
    def __init__(self, directory, transport):
        self.transport = transport
        self.nodes = [
            Node(self, number, directory / f"node{number}") for number in (1, 2, 3)
        ]

    @property
    def bootstrap(self):
        return ",".join(node.kafka for node in self.nodes)

    def start(self):
        for node in self.nodes:
            node.start()
        try:
            for node in self.nodes:
                eventually(lambda: self.is_ready(node), f"node {node.number} is ready")
        except BaseException:
            self.stop()
            raise
        return self

    def is_ready(self, node):
        assert node.process.poll() is None, node.log
        return "ready for Kafka clients" in node.log

    def make_topic(self, name, partitions):
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        topic = NewTopic(name, num_partitions=partitions, replication_factor=3)
        admin.create_topics([topic], operation_timeout=30)[name].result()

    def leaders(self, name):
        """Of each partition; none while one has none."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        try:
            topic = admin.list_topics(name, timeout=10).topics[name]
        except Exception:
            return None
        leaders = {number: part.leader for number, part in topic.partitions.items()}
        return leaders if leaders and all(leader > 0 for leader in leaders.values()) else None

    def stop(self):
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGTERM)
        codes = {}
        for node in self.nodes:
            try:
                codes[node.number] = node.process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                codes[node.number] = "does not stop"
                node.kill()
        return codes


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}"]
    arguments += [f"--grpc_python_out={folder}", "raft_rpc.proto"]
    assert protoc.main(arguments) == 0
    sys.path.insert(0, str(folder))
    import raft_rpc_pb2
    import raft_rpc_pb2_grpc

    raft_rpc_pb2.Stub = raft_rpc_pb2_grpc.RaftServiceStub
    return raft_rpc_pb2


@pytest.fixture(scope="module", params=["framed", "grpc"])
def cluster(request, tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp(request.param), request.param).start()
    cluster.make_topic("orders", 3)
    eventually(lambda: cluster.leaders("orders"), "all partitions have leaders")
    yield cluster
    assert set(cluster.stop().values()) <= {0}, [node.log for node in cluster.nodes]
    for node in cluster.nodes:
        assert not re.search("Fatal error|Precondition failed|Stack dump", node.log), node.log


@pytest.fixture
def stubs(pb, cluster):
    channels = [grpc.insecure_channel(node.raft) for node in cluster.nodes]
    yield {node.number: pb.Stub(channel) for node, channel in zip(cluster.nodes, channels)}
    for channel in channels:
        channel.close()


def header(pb, **fields):
    return pb.CallHeader(**{"cluster_id": NAME, **fields})


def failure(pb, call, request):
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=DEADLINE)
    error = raised.value
    detail = pb.ErrorDetail()
    for key, value in error.trailing_metadata() or ():
        if key == "chronik-error-bin":
            detail.ParseFromString(value)
    return error.code(), error.details(), detail


def query(pb, stub, **fields):
    request = pb.QueryMetadataRequest(header=header(pb), **fields)
    return stub.QueryMetadata(request, timeout=DEADLINE)


def varint(number):
    number = number << 1
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def batch(*values):
    """A record batch of version 2, with these values and no keys."""
    now = int(time.time() * 1000)
    records = b""
    for number, value in enumerate(values):
        body = b"\0\0" + varint(number) + b"\x01" + varint(len(value)) + value + b"\0"
        records += varint(len(body)) + body
    count = len(values)
    head = struct.pack(">hiqqqhii", 0, count - 1, now, now, -1, -1, -1, count)
    checked = head + records
    start = struct.pack(">iBI", -1, 2, crc32c(checked))
    return struct.pack(">qi", 0, len(start) + len(checked)) + start + checked


def create_topic(name, partitions=1):
    """The metadata's command, as bytes; see MetadataCommandCoding.swift."""
    text = name.encode()
    creation = uuid.uuid4().bytes + struct.pack(">H", len(text)) + text
    creation += struct.pack(">ihII", partitions, 3, 0, 0)
    return bytes([0, 0, 1]) + struct.pack(">I", 1) + creation + b"\0"


def test_every_node_describes_the_same_metadata(pb, cluster, stubs):
    known = {number: query(pb, stub) for number, stub in stubs.items()}
    for answer in known.values():
        assert answer.cluster_id == NAME and answer.index > 0 and answer.leader in (1, 2, 3)
        assert [broker.node_id for broker in answer.brokers] == [1, 2, 3]
        assert all(broker.alive for broker in answer.brokers)
        addresses = [f"{broker.host}:{broker.port}" for broker in answer.brokers]
        assert addresses == [node.kafka for node in cluster.nodes]
        topics = {topic.name: topic for topic in answer.topics}
        assert {"__chronik_metadata", "orders"} <= set(topics)
        assert len(topics["orders"].topic_id) == 16
        for partition in topics["orders"].partitions:
            assert sorted(partition.replicas) == [1, 2, 3] and partition.group_id > 0
    assert len({answer.leader for answer in known.values()}) == 1
    local = query(pb, stubs[1], consistency="LOCAL", topics=["orders"])
    assert [topic.name for topic in local.topics] == ["orders"]


def test_a_metadata_command_is_decided_wherever_it_is_sent(pb, cluster, stubs):
    for number, stub in stubs.items():
        request = pb.ForwardWriteRequest(
            header=header(pb), route=pb.Route(topic="__chronik_metadata"),
            payload=create_topic(f"made-by-{number}"),
        )
        answer = stub.ForwardWrite(request, timeout=DEADLINE)
        assert answer.index > 0 and answer.term > 0 and answer.answer
        for other in stubs.values():
            names = [topic.name for topic in query(pb, other).topics]
            assert f"made-by-{number}" in names
    request.payload = b"nonsense"
    code, text, _ = failure(pb, stub.ForwardWrite, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "INVALID_REQUEST" in text


def test_a_batch_is_appended_by_the_leader_and_refused_by_the_others(pb, cluster, stubs):
    leader = cluster.leaders("orders")[0]
    request = pb.ForwardWriteRequest(
        header=header(pb), route=pb.Route(topic="orders", partition=0),
        payload=batch(b"one", b"two"),
    )
    offsets = []
    for _ in range(2):
        answer = stubs[leader].ForwardWrite(request, timeout=DEADLINE)
        offset, stamp = struct.unpack(">qq", answer.answer)
        offsets.append(offset)
        assert stamp == -1 and answer.index > 0
    assert offsets[1] == offsets[0] + 2
    read = stubs[leader].ReadIndex(
        pb.ReadIndexRequest(header=header(pb), route=request.route), timeout=DEADLINE
    )
    assert read.index >= answer.index and read.term == answer.term
    consumer = Consumer(
        {"bootstrap.servers": cluster.bootstrap, "group.id": "g", "auto.offset.reset": "earliest"}
    )
    consumer.assign([TopicPartition("orders", 0, offsets[0])])
    values = [message.value() for message in consumer.consume(4, timeout=30)]
    consumer.close()
    assert values == [b"one", b"two", b"one", b"two"]

    follower = next(number for number in stubs if number != leader)
    for call, asked in (
        (stubs[follower].ForwardWrite, request),
        (stubs[follower].ReadIndex, pb.ReadIndexRequest(header=header(pb), route=request.route)),
    ):
        code, _, detail = failure(pb, call, asked)
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert (detail.code, detail.leader) == (pb.ErrorDetail.NOT_LEADER, leader)
    request.payload = request.payload[:-1] + bytes([request.payload[-1] ^ 1])
    code, text, _ = failure(pb, stubs[leader].ForwardWrite, request)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "CORRUPT_MESSAGE" in text


def group_of(pb, stub, topic, partition):
    (found,) = query(pb, stub, topics=[topic]).topics
    return found.partitions[partition].group_id


def test_a_replica_answers_a_leader_of_the_past_and_a_candidate(pb, cluster, stubs):
    route = pb.Route(topic="orders", partition=1)
    leader = cluster.leaders("orders")[1]
    follower = next(number for number in stubs if number != leader)
    caller = next(number for number in stubs if number not in (leader, follower))
    group = group_of(pb, stubs[leader], "orders", 1)
    append = pb.AppendEntriesRequest(header=header(pb, from_node=caller))
    append.groups.append(pb.GroupAppend(route=route, term=1, append=pb.Append()))
    append.groups.append(pb.GroupAppend(route=pb.Route(group_id=1 << 40), term=1,
                                        append=pb.Append()))
    past, unknown = stubs[follower].AppendEntries(append, timeout=DEADLINE).groups
    assert past.group_id == group and past.term > 1
    assert unknown.error.code == pb.ErrorDetail.UNKNOWN_GROUP

    vote = pb.RequestVoteRequest(
        header=header(pb, from_node=caller), route=route, term=1, vote=pb.VoteRequest()
    )
    answer = stubs[follower].RequestVote(vote, timeout=DEADLINE)
    assert not answer.vote.granted and answer.term == past.term
    # A candidate of the future whose log is empty, while there is a leader.
    vote.term, vote.pre_vote = past.term + 5, True
    code, _, detail = failure(pb, stubs[follower].RequestVote, vote)
    assert (code, detail.code) == (grpc.StatusCode.DEADLINE_EXCEEDED, pb.ErrorDetail.NO_ANSWER)
    # Nobody's term has changed by that.
    assert stubs[follower].AppendEntries(append, timeout=DEADLINE).groups[0].term == past.term


def test_a_snapshot_of_a_leader_of_the_past_is_refused(pb, cluster, stubs):
    offer = pb.InstallSnapshotRequest(
        header=header(pb, from_node=2), route=pb.Route(topic="orders", partition=1), term=1,
        snapshot=pb.Snapshot(index=5, term=1, membership=pb.Membership(voters=[1, 2, 3])),
    )
    stub = stubs[1]
    code, _, detail = failure(pb, stub.InstallSnapshot, iter([offer]))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert detail.code == pb.ErrorDetail.REJECTED_NOT_LEADER


CHECKS = [
    ({"cluster_id": "another"}, {}, "FAILED_PRECONDITION", "WRONG_CLUSTER"),
    ({"to_node": 3}, {}, "FAILED_PRECONDITION", "WRONG_NODE"),
    ({"from_node": 1}, {}, "ALREADY_EXISTS", "DUPLICATE_NODE"),
    ({"from_node": 9}, {}, "PERMISSION_DENIED", "UNKNOWN_NODE"),
    ({}, {"topic": "nothing"}, "NOT_FOUND", "UNKNOWN_PARTITION"),
    ({}, {"topic": "orders", "partition": 9}, "NOT_FOUND", "UNKNOWN_PARTITION"),
    ({}, {"topic": "orders", "group_id": 1 << 40}, "FAILED_PRECONDITION", "STALE_GROUP"),
    ({}, {"group_id": 1 << 40}, "NOT_FOUND", "UNKNOWN_GROUP"),
]


@pytest.mark.parametrize("who, where, status, kind", CHECKS)
def test_calls_of_and_for_strangers_are_refused(pb, stubs, who, where, status, kind):
    request = pb.ReadIndexRequest(header=header(pb, **who), route=pb.Route(**where))
    code, _, detail = failure(pb, stubs[1].ReadIndex, request)
    assert (code.name, detail.code) == (status, pb.ErrorDetail.Code.Value(kind))


MALFORMED, OVERSIZED = "raft_calls_malformed_total", "raft_calls_oversized_total"
LIMIT = 16 << 20


def unary(channel, method):
    return channel.unary_unary(f"/chronik.raft.RaftService/{method}")


def streamed(channel, method):
    call = channel.stream_unary(f"/chronik.raft.RaftService/{method}")
    return lambda request, timeout: call(iter([request]), timeout=timeout)


CALLS = [
    (unary, "AppendEntries"), (unary, "RequestVote"), (streamed, "InstallSnapshot"),
    (unary, "ReadIndex"), (unary, "QueryMetadata"), (unary, "ForwardWrite"), (streamed, "Stream"),
]


@pytest.mark.parametrize("shape, method", CALLS, ids=[method for _, method in CALLS])
def test_what_is_damaged_or_too_large_is_refused_and_counted(pb, cluster, stubs, shape, method):
    node = cluster.nodes[0]
    query(pb, stubs[1])
    with grpc.insecure_channel(node.raft) as channel:
        call = shape(channel, method)
        for name, sent, status in (
            (MALFORMED, b"\x0a\x7f", grpc.StatusCode.INVALID_ARGUMENT),
            (OVERSIZED, bytes(LIMIT + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            before = node.counted(name)
            with pytest.raises(grpc.RpcError) as raised:
                call(sent, timeout=DEADLINE)
            assert raised.value.code() == status
            eventually(lambda: node.counted(name) == before + 1, f"{name} counts it once")


def test_who_hangs_up_is_not_counted_as_damage(pb, cluster, stubs):
    node = cluster.nodes[0]
    before = [node.counted(name) for name in (MALFORMED, OVERSIZED)]
    with grpc.insecure_channel(node.raft) as channel:
        silence = threading.Event()
        for _, method in CALLS:
            call = channel.stream_unary(f"/chronik.raft.RaftService/{method}")
            calls = [call.future(iter(silence.wait, True), timeout=DEADLINE) for _ in range(5)]
            for one in calls:
                one.cancel()
        silence.set()
        # A stream that ends as it should, and one whose sender goes in the middle.
        beat = pb.StreamRequest(header=header(pb, from_node=2), beat=pb.NodeBeat(sequence=1))
        assert pb.Stub(channel).Stream(iter([beat]), timeout=DEADLINE).frames == 1
        gone = pb.Stub(channel).Stream.future(itertools.repeat(beat, 100), timeout=DEADLINE)
        gone.cancel()
    for _ in range(20):
        query(pb, stubs[1])
    assert [node.counted(name) for name in (MALFORMED, OVERSIZED)] == before


def test_framed_nodes_start_grpc_with_the_first_call_only(pb, tmp_path):
    cluster = Cluster(tmp_path, "framed").start()
    try:
        maps = lambda node: pathlib.Path(f"/proc/{node.process.pid}/maps").read_text()
        assert all("libgrpc" not in maps(node) for node in cluster.nodes)
        with grpc.insecure_channel(cluster.nodes[0].raft) as channel:
            query(pb, pb.Stub(channel))
        assert ["libgrpc" in maps(node) for node in cluster.nodes] == [True, False, False]
    finally:
        assert set(cluster.stop().values()) <= {0}


def test_a_cluster_over_grpc_survives_its_leader(tmp_path):
    cluster = Cluster(tmp_path, "grpc").start()
    try:
        cluster.make_topic("events", 3)
        eventually(lambda: cluster.leaders("events"), "all partitions have leaders")
        acknowledged = set()

        def delivered(error, message):
            if error is None:
                acknowledged.add(message.value())

        producer = Producer({
            "bootstrap.servers": cluster.bootstrap, "acks": "all", "enable.idempotence": True,
            "delivery.timeout.ms": 60000, "linger.ms": 1,
        })
        victim = cluster.nodes[cluster.leaders("events")[0] - 1]
        for number in range(3000):
            producer.produce("events", b"%d" % number, partition=number % 3,
                             on_delivery=delivered)
            if number == 1500:
                producer.poll(0)
                eventually(lambda: producer.poll(0.01) is None or len(acknowledged) >= 300,
                           "some are acknowledged")
                victim.kill()
        assert producer.flush(60) == 0
        assert len(acknowledged) == 3000
        victim.start()
        eventually(lambda: victim.log.count("ready for Kafka clients") == 2, "it is back")
        consumer = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "all"})
        consumer.assign([TopicPartition("events", number, 0) for number in range(3)])
        read = []
        deadline = time.monotonic() + 60
        while len(read) < 3000 and time.monotonic() < deadline:
            read += [m.value() for m in consumer.consume(500, timeout=1) if not m.error()]
        consumer.close()
        assert len(read) == 3000 and set(read) == acknowledged
    finally:
        codes = cluster.stop()
    assert set(codes.values()) <= {0}, [node.log for node in cluster.nodes]
