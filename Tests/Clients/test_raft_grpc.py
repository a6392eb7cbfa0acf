"""Every call of the RaftService from Python's gRPC, against replicas that really answer.

The client is generated from proto/ here and now. The program grpc-probe is node 1 of a cluster whose
other nodes, 2 and 3, are this test: it is a follower in three groups and leads the metadata alone.
"""

import os
import pathlib
import random
import struct
import subprocess
import sys

import grpc
import pytest
from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = os.environ.get("CHRONIK_GRPC_PROBE", str(ROOT / ".build/debug/grpc-probe"))
CLUSTER = "probe-cluster"
DEADLINE = 10


@pytest.fixture(scope="session")
def pb(tmp_path_factory):
    """The messages and the stub, generated from our .proto."""
    folder = tmp_path_factory.mktemp("generated")
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}"]
    arguments += [f"--grpc_python_out={folder}", "raft_rpc.proto"]
    assert protoc.main(arguments) == 0
    sys.path.insert(0, str(folder))
    import raft_rpc_pb2
    import raft_rpc_pb2_grpc

    raft_rpc_pb2.Stub = raft_rpc_pb2_grpc.RaftServiceStub
    return raft_rpc_pb2


class Probe:
    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [PROBE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def stop(self):
        self.process.stdin.close()
        assert self.process.wait(timeout=20) == 0


@pytest.fixture(params=["listens", "is handed connections"])
def probe(request):
    probe = Probe(*([] if request.param == "listens" else ["--adopt"]))
    yield probe
    probe.stop()


@pytest.fixture
def channel(probe):
    with grpc.insecure_channel(probe.address) as channel:
        yield channel


@pytest.fixture
def stub(pb, channel):
    return pb.Stub(channel)


@pytest.fixture
def header(pb):
    return lambda node=2, **fields: pb.CallHeader(
        **{"cluster_id": CLUSTER, "from_node": node, **fields}
    )


def set_command(key, value):
    return struct.pack(">BI", 1, len(key)) + key.encode() + value.encode()


def metadata(pb):
    return pb.Route(topic="__chronik_metadata", partition=0)


def orders(pb, partition=0, **fields):
    return pb.Route(topic="orders", partition=partition, **fields)


def failure(pb, call, *arguments):
    """The status code, the text and our own detail of a call that must fail."""
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments, timeout=DEADLINE)
    error = raised.value
    detail = pb.ErrorDetail()
    for key, value in error.trailing_metadata() or ():
        if key == "chronik-error-bin":
            detail.ParseFromString(value)
    return error.code(), error.details(), detail


def append(pb, header, route, term, entries, after=1, after_term=1, commit=0):
    return pb.AppendEntriesRequest(
        header=header,
        groups=[
            pb.GroupAppend(
                route=route,
                term=term,
                append=pb.Append(
                    previous_index=after,
                    previous_term=after_term,
                    entries=[pb.Entry(term=term, payload=payload) for payload in entries],
                    commit=commit,
                ),
            )
        ],
    )


def test_a_write_is_committed_and_answered(pb, stub, header):
    route = metadata(pb)
    write = lambda value: stub.ForwardWrite(
        pb.ForwardWriteRequest(header=header(0), route=route, payload=set_command("a", value)),
        timeout=DEADLINE,
    )
    first, second = write("one"), write("two")
    assert (first.answer, second.answer) == (b"", b"one")
    assert second.index == first.index + 1 and second.term == first.term == 2
    read = stub.ReadIndex(pb.ReadIndexRequest(header=header(0), route=route), timeout=DEADLINE)
    assert (read.index, read.term) == (second.index, 2)


def test_metadata_is_asked_for(pb, stub, header):
    answer = stub.QueryMetadata(pb.QueryMetadataRequest(header=header(0)), timeout=DEADLINE)
    assert answer.cluster_id == CLUSTER and answer.index > 0
    assert [broker.node_id for broker in answer.brokers] == [1, 2, 3]
    topics = {topic.name: topic for topic in answer.topics}
    assert set(topics) == {"__chronik_metadata", "orders"}
    assert [part.group_id for part in topics["orders"].partitions] == [7, 9, 11]
    assert list(topics["orders"].partitions[0].replicas) == [1, 2, 3]
    local = pb.QueryMetadataRequest(header=header(0), topics=["orders"], consistency="LOCAL")
    assert [topic.name for topic in stub.QueryMetadata(local, timeout=DEADLINE).topics] == ["orders"]


def test_entries_are_appended_and_acknowledged(pb, stub, header):
    payloads = [b"", set_command("k", "v"), bytes(30), bytes(1 << 20)]
    request = append(pb, header(), orders(pb), term=2, entries=payloads)
    (answer,) = stub.AppendEntries(request, timeout=DEADLINE).groups
    assert (answer.group_id, answer.term, answer.append.index) == (7, 2, 5)
    assert not answer.append.HasField("rejection")

    # After an entry the follower has not.
    request = append(pb, header(), orders(pb), term=2, entries=[b"x"], after=9, after_term=2)
    (answer,) = stub.AppendEntries(request, timeout=DEADLINE).groups
    assert answer.append.index == 9 and answer.append.rejection.index == 5

    # Of a leader whose time is over.
    request = append(pb, header(3), orders(pb), term=1, entries=[])
    (answer,) = stub.AppendEntries(request, timeout=DEADLINE).groups
    assert (answer.term, answer.append.index) == (2, 0)


def test_many_groups_are_answered_by_one_call(pb, stub, header):
    request = append(pb, header(), orders(pb), term=2, entries=[b"a"])
    beat = pb.GroupAppend(
        route=pb.Route(group_id=11), term=3, heartbeat=pb.Heartbeat(round=17, commit=1)
    )
    request.groups.append(beat)
    request.groups.append(pb.GroupAppend(route=orders(pb, 5), term=3, append=pb.Append()))
    request.groups.append(pb.GroupAppend(route=orders(pb, 0, group_id=6), term=3))
    request.groups.append(pb.GroupAppend(route=orders(pb, 0), term=3))
    answers = stub.AppendEntries(request, timeout=DEADLINE).groups
    assert [answer.WhichOneof("body") for answer in answers] == [
        "append", "heartbeat", "error", "error", "error"
    ]
    assert answers[0].append.index == 2 and answers[1].heartbeat.round == 17
    assert answers[2].error.code == pb.ErrorDetail.UNKNOWN_PARTITION
    assert answers[2].error.status == grpc.StatusCode.NOT_FOUND.value[0]
    assert answers[3].error.code == pb.ErrorDetail.STALE_GROUP
    assert (answers[3].error.actual, answers[3].error.expected) == (6, 7)
    assert answers[4].error.code == pb.ErrorDetail.MALFORMED


def test_a_replica_votes_once_a_term(pb, stub, header):
    def vote(node, term, pre=False, last=1, transfer=False):
        request = pb.RequestVoteRequest(
            header=header(node), route=orders(pb), term=term, pre_vote=pre,
            vote=pb.VoteRequest(last_index=last, last_term=1, is_transfer=transfer),
        )
        return stub.RequestVote(request, timeout=DEADLINE)

    assert vote(2, 5, pre=True).vote.granted
    granted = vote(2, 5)
    assert granted.vote.granted and granted.term == 5
    assert not vote(3, 5).vote.granted
    assert vote(2, 5).vote.granted
    # To a candidate of an earlier term the replica tells its own.
    late = vote(3, 4)
    assert not late.vote.granted and late.term == 5
    # A log that ends before the replica's.
    behind = vote(3, 6, last=0)
    assert not behind.vote.granted and behind.term == 6


def test_a_replica_with_a_leader_passes_over_candidates(pb, stub, header):
    stub.AppendEntries(append(pb, header(), orders(pb), 2, [b"a"]), timeout=DEADLINE)
    request = pb.RequestVoteRequest(
        header=header(3), route=orders(pb), term=9, vote=pb.VoteRequest(last_index=9, last_term=8)
    )
    code, _, detail = failure(pb, stub.RequestVote, request)
    assert (code, detail.code) == (grpc.StatusCode.DEADLINE_EXCEEDED, pb.ErrorDetail.NO_ANSWER)
    request.vote.is_transfer = True
    assert stub.RequestVote(request, timeout=DEADLINE).vote.granted


def snapshot(pb, header, content, size, term=4, index=100, partition=1, name=b""):
    members = pb.Membership(voters=[1, 2, 3])
    offer = pb.Snapshot(index=index, term=3, membership=members, payload=name)
    first = pb.InstallSnapshotRequest(
        header=header, route=orders(pb, partition), term=term, snapshot=offer
    )
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    for number, piece in enumerate(pieces):
        first.chunk.CopyFrom(
            pb.SnapshotChunk(offset=number * size, bytes=piece, is_last=number == len(pieces) - 1)
        )
        yield first
        first = pb.InstallSnapshotRequest()


def state(count):
    parts = [struct.pack(">I", count)]
    for number in range(count):
        for text in (f"key-{number:06}", "value" * 20):
            parts += [struct.pack(">I", len(text)), text.encode()]
    return b"".join(parts)


def test_a_snapshot_is_installed_piece_by_piece(pb, stub, header):
    content = state(10_000)
    assert len(content) > 1 << 20
    pieces = snapshot(pb, header(), content, 64 << 10)
    answer = stub.InstallSnapshot(pieces, timeout=30)
    assert (answer.installed.index, answer.term) == (100, 4)
    # The log goes on behind it: the replica is where the snapshot is.
    request = append(pb, header(), orders(pb, 1), 4, [b""], after=100, after_term=3, commit=101)
    (appended,) = stub.AppendEntries(request, timeout=DEADLINE).groups
    assert appended.append.index == 101
    # Again: there is nothing left to send.
    again = stub.InstallSnapshot(snapshot(pb, header(), content, 64 << 10), timeout=30)
    assert again.installed.index >= 100 and not again.HasField("answer")


def test_a_snapshot_goes_on_where_it_broke_off(pb, stub, header):
    content = state(5_000)
    head = snapshot_head(pb, header(), content, 100_000, 2)
    broken = stub.InstallSnapshot(iter(head), timeout=30)
    assert broken.answer.received == 200_000 and not broken.answer.is_refused
    # Pieces from the start again are not what the follower waits for: it says so.
    told = stub.InstallSnapshot(snapshot(pb, header(), content, 100_000), timeout=30)
    assert told.answer.received == 200_000 and not told.HasField("installed")
    rest = list(snapshot_rest(pb, header(), content, 100_000, 2))
    assert stub.InstallSnapshot(iter(rest), timeout=30).installed.index == 100


def test_a_snapshot_goes_on_only_with_the_same_content(pb, stub, header):
    one, other = state(5_000), state(5_001)
    head = snapshot_head(pb, header(), one, 100_000, 2, name=b"one")
    assert stub.InstallSnapshot(iter(head), timeout=30).answer.received == 200_000
    # The pieces of the other begin at the start, and what came of the first is dropped.
    whole = snapshot(pb, header(), other, 100_000, name=b"another")
    assert stub.InstallSnapshot(whole, timeout=30).installed.index == 100


def copies(pb, pieces):
    for piece in pieces:
        yield pb.InstallSnapshotRequest.FromString(piece.SerializeToString())


def snapshot_head(pb, header, content, size, count, name=b""):
    return list(copies(pb, snapshot(pb, header, content, size, name=name)))[:count]


def snapshot_rest(pb, header, content, size, skipped):
    pieces = list(copies(pb, snapshot(pb, header, content, size)))
    pieces[0].chunk.CopyFrom(pieces[skipped].chunk)
    return [pieces[0], *pieces[skipped + 1 :]]


def test_damaged_snapshots_are_refused(pb, stub, header):
    code, text, _ = failure(pb, stub.InstallSnapshot, iter([]))
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "nothing was offered" in text
    chunk = pb.InstallSnapshotRequest(chunk=pb.SnapshotChunk(bytes=b"x"))
    code, _, _ = failure(pb, stub.InstallSnapshot, iter([chunk]))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    pieces = list(copies(pb, snapshot(pb, header(), state(100), 1000)))
    code, _, _ = failure(pb, stub.InstallSnapshot, iter([pieces[0], pieces[0]]))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    named = snapshot(pb, header(), state(100), 1000, name=b"123456789")
    code, text, _ = failure(pb, stub.InstallSnapshot, named)
    assert code == grpc.StatusCode.INVALID_ARGUMENT and "9 bytes, more than 8" in text
    pieces[0].term = 0
    code, _, _ = failure(pb, stub.InstallSnapshot, iter([pieces[0]]))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_the_stream_takes_frames_in_order(pb, stub, header):
    def message(number, **body):
        return pb.Message(group_id=7, to=1, **{"from": 2}, term=2, **body)

    def frames():
        yield pb.StreamRequest(header=header(incarnation=5), beat=pb.NodeBeat(sequence=1))
        for index in range(1, 401):
            entry = pb.Append(previous_index=index, previous_term=1 if index == 1 else 2)
            entry.entries.append(pb.Entry(term=2, payload=b"x" * index))
            yield pb.StreamRequest(messages=pb.Messages(messages=[message(index, append=entry)]))

    assert stub.Stream(frames(), timeout=DEADLINE).frames == 401
    request = append(pb, header(), orders(pb), 2, [], after=401, after_term=2)
    (answer,) = stub.AppendEntries(request, timeout=DEADLINE).groups
    assert answer.append.index == 401 and not answer.append.HasField("rejection")


def test_the_stream_takes_calls_and_answers(pb, stub, header):
    frames = [
        pb.StreamRequest(header=header(incarnation=6), beat=pb.NodeBeat(sequence=1)),
        pb.StreamRequest(call=pb.PeerCall(id=1 << 63, operation=255, payload=b"question")),
        pb.StreamRequest(answer=pb.PeerAnswer(id=1, is_refused=True)),
    ]
    assert stub.Stream(iter(frames), timeout=DEADLINE).frames == 3
    frames[1].call.operation = 256
    code, _, _ = failure(pb, stub.Stream, iter(frames))
    assert code == grpc.StatusCode.INVALID_ARGUMENT


def test_streams_of_strangers_are_refused(pb, stub, header):
    beat = pb.NodeBeat(sequence=1)
    cases = [
        (pb.StreamRequest(beat=beat), grpc.StatusCode.INVALID_ARGUMENT, "without a header"),
        (pb.StreamRequest(header=header(0), beat=beat), grpc.StatusCode.PERMISSION_DENIED, "node"),
        (pb.StreamRequest(header=header(9), beat=beat), grpc.StatusCode.PERMISSION_DENIED, "9"),
    ]
    for request, expected, words in cases:
        code, text, _ = failure(pb, stub.Stream, iter([request]))
        assert code == expected and words in text


def test_an_earlier_life_of_a_node_is_refused_while_a_later_one_is_here(pb, stub, header):
    import queue

    frames = queue.Queue()
    frames.put(pb.StreamRequest(header=header(incarnation=20), beat=pb.NodeBeat(sequence=1)))
    call = stub.Stream.future(iter(frames.get, None), timeout=30)
    request = pb.ReadIndexRequest(header=header(incarnation=10), route=metadata(pb))
    deadline = 50
    while True:  # until the stream has arrived
        try:
            stub.ReadIndex(request, timeout=DEADLINE)
        except grpc.RpcError:
            break
        deadline -= 1
        assert deadline, "the stream of the later life never arrived"
    code, text, detail = failure(pb, stub.ReadIndex, request)
    assert code == grpc.StatusCode.FAILED_PRECONDITION and "10" in text and "20" in text
    assert detail.code == pb.ErrorDetail.OLD_INCARNATION
    request.header.incarnation = 30
    stub.ReadIndex(request, timeout=DEADLINE)
    frames.put(None)
    assert call.result().frames == 1


HEADERS = [
    ({"cluster_id": "another"}, grpc.StatusCode.FAILED_PRECONDITION, "WRONG_CLUSTER", "another"),
    ({"cluster_id": ""}, grpc.StatusCode.FAILED_PRECONDITION, "WRONG_CLUSTER", CLUSTER),
    ({"to_node": 3}, grpc.StatusCode.FAILED_PRECONDITION, "WRONG_NODE", "3"),
    ({"from_node": 1}, grpc.StatusCode.ALREADY_EXISTS, "DUPLICATE_NODE", "1"),
    ({"from_node": 8}, grpc.StatusCode.PERMISSION_DENIED, "UNKNOWN_NODE", "8"),
]


@pytest.mark.parametrize("fields, expected, name, word", HEADERS)
def test_every_call_checks_its_header(pb, stub, header, fields, expected, name, word):
    wrong = header(**fields)
    calls = [
        (stub.AppendEntries, append(pb, wrong, orders(pb), 2, [])),
        (stub.RequestVote, pb.RequestVoteRequest(header=wrong, route=orders(pb), term=2)),
        (stub.InstallSnapshot, lambda: snapshot(pb, wrong, state(1), 1000)),
        (stub.ReadIndex, pb.ReadIndexRequest(header=wrong, route=metadata(pb))),
        (stub.QueryMetadata, pb.QueryMetadataRequest(header=wrong)),
        (stub.ForwardWrite, pb.ForwardWriteRequest(header=wrong, payload=b"x")),
        (stub.Stream, lambda: iter([pb.StreamRequest(header=wrong, beat=pb.NodeBeat())])),
    ]
    for call, request in calls:
        code, text, detail = failure(pb, call, request() if callable(request) else request)
        assert code == expected, text
        assert word in text and detail.code == pb.ErrorDetail.Code.Value(name)


def test_who_does_not_lead_names_the_leader(pb, stub, header):
    write = pb.ForwardWriteRequest(header=header(0), route=orders(pb), payload=b"x")
    read = pb.ReadIndexRequest(header=header(0), route=orders(pb))
    for call, request in [(stub.ForwardWrite, write), (stub.ReadIndex, read)]:
        code, _, detail = failure(pb, call, request)
        assert code == grpc.StatusCode.FAILED_PRECONDITION
        assert (detail.code, detail.leader) == (pb.ErrorDetail.NOT_LEADER, 0)
    stub.AppendEntries(append(pb, header(3), orders(pb), 2, []), timeout=DEADLINE)
    for call, request in [(stub.ForwardWrite, write), (stub.ReadIndex, read)]:
        code, text, detail = failure(pb, call, request)
        assert (detail.code, detail.leader) == (pb.ErrorDetail.NOT_LEADER, 3) and "3" in text


def test_wrong_routes_are_refused(pb, stub, header):
    cases = [
        (pb.Route(topic="nobody", partition=0), grpc.StatusCode.NOT_FOUND, "UNKNOWN_PARTITION"),
        (pb.Route(topic="orders", partition=-1), grpc.StatusCode.NOT_FOUND, "UNKNOWN_PARTITION"),
        (pb.Route(group_id=99), grpc.StatusCode.NOT_FOUND, "UNKNOWN_GROUP"),
        (orders(pb, 0, group_id=8), grpc.StatusCode.FAILED_PRECONDITION, "STALE_GROUP"),
    ]
    for route, expected, name in cases:
        request = pb.ReadIndexRequest(header=header(0), route=route)
        code, _, detail = failure(pb, stub.ReadIndex, request)
        assert (code, detail.code) == (expected, pb.ErrorDetail.Code.Value(name))
    code, _, _ = failure(
        pb, stub.ForwardWrite, pb.ForwardWriteRequest(header=header(0), route=metadata(pb))
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT


METHODS = ["AppendEntries", "RequestVote", "ReadIndex", "QueryMetadata", "ForwardWrite"]


@pytest.mark.parametrize("damaged", [b"\xff", b"\x0a\x7f", b"\x0a\x02\x0a\xff", b"\x07", b"\x0b"])
def test_what_is_no_message_is_refused(channel, damaged):
    for method in METHODS:
        call = channel.unary_unary(f"/chronik.raft.RaftService/{method}")
        with pytest.raises(grpc.RpcError) as raised:
            call(damaged, timeout=DEADLINE)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    for method in ["InstallSnapshot", "Stream"]:
        call = channel.stream_unary(f"/chronik.raft.RaftService/{method}")
        with pytest.raises(grpc.RpcError) as raised:
            call(iter([damaged]), timeout=DEADLINE)
        assert raised.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_too_large_messages_are_refused_and_unknown_methods_too(pb, stub, channel, header):
    large = pb.ForwardWriteRequest(header=header(0), route=metadata(pb), payload=bytes(3 << 20))
    code, _, _ = failure(pb, stub.ForwardWrite, large)
    assert code == grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/chronik.raft.RaftService/Nothing")(b"", timeout=DEADLINE)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED
    # And still it serves.
    stub.QueryMetadata(pb.QueryMetadataRequest(header=header(0)), timeout=DEADLINE)


def test_what_our_codec_does_not_know_it_passes_over(pb, channel, header):
    request = pb.QueryMetadataRequest(header=header(0), topics=["orders"])
    unknown = b"\xf8\x07\x05" + b"\xfa\x07\x03abc" + b"\xf9\x07" + bytes(8) + b"\xfd\x07" + bytes(4)
    group = b"\xfb\x07\x08\x01\xfc\x07"
    call = channel.unary_unary("/chronik.raft.RaftService/QueryMetadata")
    answer = call(unknown + request.SerializeToString() + group, timeout=DEADLINE)
    assert [topic.name for topic in pb.QueryMetadataResponse.FromString(answer).topics] == ["orders"]


def test_many_calls_at_once(pb, stub, header):
    request = lambda number: pb.ForwardWriteRequest(
        header=header(0), route=metadata(pb), payload=set_command(f"k{number}", "v")
    )
    calls = [stub.ForwardWrite.future(request(number), timeout=30) for number in range(500)]
    indices = [call.result().index for call in calls]
    assert len(set(indices)) == 500 and max(indices) - min(indices) == 499


class Codec:
    def __init__(self):
        self.process = subprocess.Popen(
            [PROBE, "codec"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def reencoded(self, name, data):
        self.process.stdin.write(f"{name} {data.hex()}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip("\n")
        assert self.process.poll() is None, f"{name} ended the probe: {data.hex()}"
        return None if answer == "error" else bytes.fromhex(answer)


@pytest.fixture(scope="module")
def codec():
    codec = Codec()
    yield codec
    codec.process.stdin.close()
    assert codec.process.wait(timeout=10) == 0


NAMES = """CallHeader Route AppendEntriesRequest RequestVoteRequest RequestVoteResponse
InstallSnapshotRequest InstallSnapshotResponse ReadIndexRequest ReadIndexResponse
QueryMetadataRequest QueryMetadataResponse ForwardWriteRequest ForwardWriteResponse StreamRequest
ErrorDetail""".split()
INTEGERS = [0, 1, 127, 128, 300, 1 << 31, 1 << 35, (1 << 62) - 1, (1 << 64) - 1]


def value(draw, field):
    kinds = type(field)
    if field.type == kinds.TYPE_UINT64:
        return draw.choice(INTEGERS)
    if field.type == kinds.TYPE_UINT32:
        return draw.choice([0, 1, 9092, (1 << 32) - 1])
    if field.type == kinds.TYPE_INT32:
        return draw.choice([0, 1, -1, (1 << 31) - 1, -(1 << 31)])
    if field.type == kinds.TYPE_BOOL:
        return draw.random() < 0.5
    if field.type == kinds.TYPE_STRING:
        return draw.choice(["", "orders", "größer", "x" * 200])
    if field.type == kinds.TYPE_BYTES:
        return draw.randbytes(draw.choice([0, 1, 30, 5000]))
    assert field.type == kinds.TYPE_ENUM
    return draw.choice(field.enum_type.values).number


def fill(draw, message):
    """Sets a random choice of fields; in a body that must be one, exactly one."""
    descriptor = message.DESCRIPTOR
    bodies = [one for one in descriptor.oneofs if one.name in ("body", "frame")]
    chosen = {one: draw.choice(one.fields) for one in bodies}
    for field in descriptor.fields:
        if field.containing_oneof in chosen:
            if chosen[field.containing_oneof] is not field:
                continue
        elif draw.random() < 0.2:
            continue
        if field.is_repeated:
            for _ in range(draw.choice([0, 1, 3])):
                if field.message_type:
                    fill(draw, getattr(message, field.name).add())
                else:
                    getattr(message, field.name).append(value(draw, field))
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            fill(draw, getattr(message, field.name))
        else:
            setattr(message, field.name, value(draw, field))
    if descriptor.name == "Membership":  # is a set: sorted, without repetition
        for field in descriptor.fields:
            if field.is_repeated:
                ids = sorted(set(getattr(message, field.name)))
                message.ClearField(field.name)
                getattr(message, field.name).extend(ids)
    if descriptor.name == "PeerCall":  # its operation is a byte
        message.operation &= 0xFF
    return message


def canonical(message):
    """Without empty parts, which mean what absent ones mean; those of a choice are kept."""
    for field, part in message.ListFields():
        if field.message_type and field.is_repeated:
            for element in part:
                canonical(element)
        elif field.message_type:
            canonical(part)
            if not part.ByteSize() and not field.containing_oneof:
                message.ClearField(field.name)
    return message


@pytest.mark.parametrize("name", NAMES)
def test_our_codec_agrees_with_pythons(pb, codec, name):
    draw = random.Random(name)
    for _ in range(200):
        message = fill(draw, getattr(pb, name)())
        ours = codec.reencoded(name, message.SerializeToString())
        assert ours is not None, message
        assert canonical(getattr(pb, name).FromString(ours)) == canonical(message)


@pytest.mark.parametrize("name", NAMES)
def test_what_our_codec_makes_of_damage_python_can_read(pb, codec, name):
    draw = random.Random(name)
    read = 0
    for _ in range(300):
        data = bytearray(fill(draw, getattr(pb, name)()).SerializeToString()[:2000])
        for _ in range(draw.choice([1, 1, 3])):
            if data:
                data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.3:
            data = data[: draw.randrange(len(data) + 1)]
        ours = codec.reencoded(name, bytes(data))
        if ours is not None:
            getattr(pb, name).FromString(ours)
            read += 1
    assert read > 0
