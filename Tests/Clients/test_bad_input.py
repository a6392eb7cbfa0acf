"""Bytes that are no Kafka request: an error or a clean close, and nobody else notices."""

import socket
import struct

import pytest
from confluent_kafka import Producer

TLS_HELLO = bytes.fromhex("16030100a5010000a10303") + b"\0" * 160


def exchange(broker, data, half_close=True):
    """Sends bytes; returns everything the broker answers until it closes."""
    with socket.create_connection(("127.0.0.1", broker.port), timeout=20) as connection:
        connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
        return answer


def request(api, version, correlation, body=b""):
    payload = struct.pack(">hhih", api, version, correlation, -1) + body
    return struct.pack(">i", len(payload)) + payload


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">i", 0),
        struct.pack(">i", -1),
        struct.pack(">i", 2**31 - 1),
        struct.pack(">i", 104_857_601),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        TLS_HELLO,
        request(12345, 0, 7),
        request(-3, 0, 7),
        # A Metadata request whose array says 2^31-1 topics.
        request(3, 1, 7, struct.pack(">i", 2**31 - 1)),
        # An array of -2 topics.
        request(3, 1, 7, struct.pack(">i", -2)),
        # A CreateTopics v5 request whose count is an overlong varint.
        request(19, 5, 7, b"\0" + b"\xff" * 12),
        # Half a frame.
        struct.pack(">i", 100) + b"only this",
    ],
    ids=lambda data: data[:6].hex(),
)
def test_garbage_closes_the_connection_without_an_answer(broker, data):
    assert exchange(broker, data, half_close=data.endswith(b"only this")) == b""
    check_still_serves(broker)


def check_still_serves(broker):
    producer = Producer({"bootstrap.servers": broker.address})
    failed = []
    producer.produce("still-serves", b"x", on_delivery=lambda e, _: failed.append(e) if e else None)
    assert producer.flush(30) == 0 and failed == []


def test_bytes_after_the_last_field_are_passed_over(broker):
    answer = exchange(broker, request(3, 1, 7, struct.pack(">i", 0) + b"junk"))
    assert struct.unpack(">i", answer[4:8]) == (7,)


def test_an_unknown_version_is_answered_with_its_correlation_id(broker):
    answer = exchange(broker, request(3, 99, 4711))
    length, correlation, code = struct.unpack(">iih", answer[:10])
    assert (correlation, code) == (4711, 35)


def test_an_unknown_version_of_api_versions_is_answered_in_version_0(broker):
    answer = exchange(broker, request(18, 99, 42))
    _, correlation, code, count = struct.unpack(">iihi", answer[:14])
    assert (correlation, code) == (42, 35)
    assert count > 20 and len(answer) == 14 + 6 * count


def batch(records=b"\x10\0\0\0\x01\x02x\0", magic=2, count=1, delta=0, crc=None, attributes=0):
    body = struct.pack(">hiqqqhii", attributes, delta, 0, 0, -1, -1, -1, count) + records
    checksum = crc32c(body) if crc is None else crc
    rest = struct.pack(">ibI", -1, magic, checksum) + body
    return struct.pack(">qi", 0, len(rest)) + rest


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def produce(broker, topic, records, acks=-1):
    name = topic.encode()
    body = struct.pack(">hhi", -1, acks, 5000) + struct.pack(">i", 1)
    body += struct.pack(">h", len(name)) + name + struct.pack(">ii", 1, 0)
    body += struct.pack(">i", len(records)) + records
    return exchange(broker, request(0, 3, 1, body))


def code_of(answer, topic):
    at = 4 + 4 + 4 + 2 + len(topic.encode()) + 4 + 4
    return struct.unpack(">h", answer[at : at + 2])[0]


@pytest.mark.parametrize(
    "records, expected",
    [
        (batch(), 0),
        (batch(crc=1), 2),
        (batch(magic=1), 43),
        (batch(count=5), 87),
        (batch(count=2**31 - 1, delta=2**31 - 2), 87),
        (batch(count=0, delta=-1), 87),
        (batch(attributes=7), 76),
        (batch(attributes=0x20), 87),
        (batch()[:40], 2),
        (b"", 2),
        (batch() + batch(), 87),
    ],
    ids=["good", "crc", "magic", "count", "absurd", "none", "codec", "control", "cut", "empty", "two"],
)
def test_batches_get_the_error_of_what_is_wrong_with_them(broker, records, expected):
    check_still_serves(broker)
    assert code_of(produce(broker, "still-serves", records), "still-serves") == expected


def test_acks_0_is_answered_with_nothing(broker):
    check_still_serves(broker)
    assert produce(broker, "still-serves", batch(), acks=0) == b""


def test_a_frame_that_comes_a_byte_at_a_time_is_served(broker):
    with socket.create_connection(("127.0.0.1", broker.port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request(18, 0, 99):
            connection.sendall(bytes([byte]))
        assert struct.unpack(">ii", connection.recv(8))[1] == 99


def test_pipelined_requests_are_answered_in_order(broker):
    data = b"".join(request(18, 0, n) if n % 3 else request(3, 99, n) for n in range(1, 200))
    answer = exchange(broker, data)
    seen = []
    while answer:
        length, correlation = struct.unpack(">ii", answer[:8])
        seen.append(correlation)
        answer = answer[4 + length :]
    assert seen == list(range(1, 200))


def test_a_wrong_flag_names_the_right_one_and_exits_with_78():
    import subprocess

    from broker import SERVER

    done = subprocess.run([SERVER, "standalone", "--lisen-addr", "x"], capture_output=True, text=True)
    assert done.returncode == 78
    assert "--listen-addr" in done.stderr
