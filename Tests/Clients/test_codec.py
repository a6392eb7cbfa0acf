"""Our messages against kafka-python's, byte for byte.

kafka-python encodes a message from schemas of its own, with a value of its own in every field; the
program codec-probe decodes it with our code and encodes it again.
"""

import importlib
import itertools
import os
import pathlib
import struct
import subprocess
import uuid

import pytest
from kafka.protocol.api_header import RequestHeader, ResponseHeader
from kafka.protocol.api_message import ApiMessage

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = os.environ.get("CHRONIK_CODEC_PROBE", str(ROOT / ".build/debug/codec-probe"))

for part in ["admin", "consumer", "metadata", "producer", "sasl"]:
    importlib.import_module(f"kafka.protocol.{part}")


def messages(cls=ApiMessage):
    for message in cls.__subclasses__():
        if message._class_version is None:
            yield message
            yield from messages(message)


# Of a version of Kafka after the one that our messages are made from.
NEWER = {"ListConfigResourcesRequest", "ListConfigResourcesResponse"}
MESSAGES = sorted(
    (message for message in messages() if message.name not in NEWER),
    key=lambda message: message.name,
)


class Probe:
    def __init__(self):
        self.process = subprocess.Popen(
            [PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, name, version, data):
        """What we make of the bytes: bytes, or a text that says what is wrong."""
        self.process.stdin.write(f"{name} {version} {data.hex()}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().rstrip("\n")
        assert self.process.poll() is None, f"{name} {version} ended the probe: {data.hex()}"
        return answer if answer.startswith("error:") else bytes.fromhex(answer)


@pytest.fixture(scope="module")
def probe():
    probe = Probe()
    yield probe
    probe.process.stdin.close()
    assert probe.process.wait(timeout=10) == 0


class Values:
    """Values that differ from each other and from defaults."""

    def __init__(self, nulls):
        self.numbers = itertools.count(1)
        self.nulls = nulls

    def simple(self, field):
        n = next(self.numbers)
        return {
            "bool": lambda: not field.default,
            "int8": lambda: 2 + n % 100,
            "int16": lambda: 0x1100 + n,
            "uint16": lambda: 0xE100 + n,
            "int32": lambda: 0x21220000 + n,
            "int64": lambda: 0x3132333400000000 + n,
            "float64": lambda: n + 0.5,
            "string": lambda: f"text {n} ü",
            "bytes": lambda: f"bytes {n}".encode(),
            "records": lambda: f"records {n}".encode(),
            "uuid": lambda: uuid.UUID(int=(n << 64) + n + 7),
            "bitfield": lambda: {n % 8, 8 + n % 16},
        }[field.type_str]()

    def value(self, field, version):
        if self.nulls and field.nullable_for_version_q(version):
            return None
        if field.is_struct_array():
            return [self.fields(field, version) for _ in range(2)]
        if field.is_array():
            return [self.simple(field.array_of) for _ in range(2)]
        if field.is_struct():
            return self.fields(field, version)
        return self.simple(field)

    def fields(self, parent, version):
        """A value of a structure's class with all fields of the version."""
        return parent.data_class(version=version, **self.named(parent.fields.values(), version))

    def named(self, fields, version):
        return {
            field.name: self.value(field, version)
            for field in fields
            if field.for_version_q(version)
        }


def versions(message):
    # Their classes claim versions from 0 on, whose older fields their schemas no longer have.
    low, _, high = message._json["validVersions"].partition("-")
    return range(int(low), int(high or low) + 1)


def ours(probe, name):
    answer = probe.ask(name, -1, b"")
    assert isinstance(answer, str) and answer.startswith("error: versions "), answer
    low, high = answer.removeprefix("error: versions ").split("...")
    return range(int(low), int(high) + 1)


def differences(probe, message, nulls):
    """Versions in which our bytes are not theirs, and how many were compared."""
    known = ours(probe, message.name)
    shared = [version for version in versions(message) if version in known]
    found = {}
    for version in shared:
        values = Values(nulls).named(message._struct._fields, version)
        if message.name == "ApiVersionsResponse":
            # With an error in it they read it as version 0, whatever its version.
            values["error_code"] = 0
        value = message(version=version, **values)
        theirs = value.encode(version=version)
        again = probe.ask(message.name, version, theirs)
        if again != theirs:
            found[version] = (theirs.hex(), again if isinstance(again, str) else again.hex())
            continue
        back = message.decode(again, version=version)
        back._header = None
        assert back.encode(version=version) == theirs
    return found, len(shared)


@pytest.mark.parametrize("nulls", [False, True], ids=["filled", "nulls"])
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_same_bytes(probe, message, nulls):
    found, compared = differences(probe, message, nulls)
    assert compared > 0
    assert not found


def test_most_of_the_protocol_is_compared(probe):
    compared = sum(differences(probe, message, False)[1] for message in MESSAGES)
    assert len(MESSAGES) > 90 and compared > 300


@pytest.mark.parametrize("flexible", [False, True])
@pytest.mark.parametrize("client_id", ["a client", "", None])
def test_request_header(probe, flexible, client_id):
    header = RequestHeader(
        request_api_key=3, request_api_version=12, correlation_id=77, client_id=client_id
    )
    theirs = header.encode(flexible=flexible)
    assert probe.ask("RequestHeader", 2 if flexible else 1, theirs) == theirs


@pytest.mark.parametrize("flexible", [False, True])
def test_response_header(probe, flexible):
    theirs = ResponseHeader(correlation_id=77).encode(flexible=flexible)
    assert probe.ask("ResponseHeader", 1 if flexible else 0, theirs) == theirs


def test_the_probe_sees_what_is_wrong(probe):
    assert probe.ask("NoSuchMessage", 0, b"").startswith("error: no message")
    assert "truncated" in probe.ask("ResponseHeader", 0, struct.pack(">h", 1))
    assert "trailingBytes" in probe.ask("ResponseHeader", 0, struct.pack(">ih", 1, 1))
