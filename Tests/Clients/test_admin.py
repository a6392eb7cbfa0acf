"""The admin server of a real process: what it answers, and what it refuses."""

import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from broker import ENVIRONMENT, SERVER, Broker

TOKEN = "a-token-of-these-tests"
SECONDS = 30


def ask(broker, path, method="GET", token=None, headers=None, body=None):
    """The status and the body of an answer, whatever the status."""
    request = urllib.request.Request(
        f"http://{broker.admin_address}{path}", method=method, headers=headers or {}, data=body
    )
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def ask_json(broker, path, **options):
    status, body = ask(broker, path, **options)
    return status, json.loads(body)


def metrics(broker):
    """Every sample by name and labels, as Prometheus' own parser reads them."""
    status, text = ask(broker, "/metrics")
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


def value(samples, name, **labels):
    return samples[name, frozenset(labels.items())]


def make_topic(broker, name, partitions):
    client = AdminClient({"bootstrap.servers": broker.address})
    client.create_topics([NewTopic(name, partitions)])[name].result(SECONDS)


def produce(broker, topic, count, size=100):
    producer = Producer({"bootstrap.servers": broker.address})
    for _ in range(count):
        producer.produce(topic, os.urandom(size))
    assert producer.flush(SECONDS) == 0


def test_a_node_that_serves_is_alive_ready_and_healthy(broker):
    assert ask(broker, "/livez") == (200, "live\n")
    assert ask(broker, "/readyz") == (200, "ready\n")
    status, health = ask_json(broker, "/admin/cluster/health")
    assert (status, health["healthy"], health["reasons"]) == (200, True, [])


def test_the_node_is_the_only_member(broker):
    status, answer = ask_json(broker, "/admin/cluster/members")
    assert status == 200
    assert answer["node_id"] == answer["metadata_leader"] == 1
    assert re.fullmatch(r"[\w-]{22}", answer["cluster_id"])
    assert answer["members"] == [
        {
            "id": 1,
            "kafka_address": broker.address,
            "raft_address": None,
            "rack": None,
            "registered": True,
            "fenced": False,
            "stopping": False,
            "alive": True,
        }
    ]


def test_partitions_tell_leaders_and_offsets(broker, topic):
    make_topic(broker, topic, 3)
    produce(broker, topic, 50)
    status, answer = ask_json(broker, "/admin/cluster/partitions")
    assert status == 200
    mine = [p for p in answer["partitions"] if p["topic"] == topic]
    assert [p["partition"] for p in mine] == [0, 1, 2]
    assert sum(p["high_watermark"] for p in mine) == 50
    for partition in mine:
        assert partition["leader"] == 1 and partition["leader_epoch"] >= 1
        assert partition["replicas"] == partition["in_sync_replicas"] == [1]
    assert any(p["topic"] == "__chronik_metadata" for p in answer["partitions"])


def test_a_transfer_to_the_leader_changes_nothing_and_to_others_is_refused(broker, topic):
    make_topic(broker, topic, 1)
    base = "/admin/cluster/transfer-leader"
    status, answer = ask_json(broker, f"{base}/{topic}/0/1", method="POST")
    assert (status, answer["changed"], answer["leader"]) == (200, False, 1)
    for path, status, says in [
        (f"{topic}/0/2", 409, "expected one of 1"),
        (f"{topic}/1/1", 404, f"no partition {topic}-1"),
        ("no-such-topic/0/1", 404, "no partition no-such-topic-0"),
        (f"{topic}/x/1", 400, "partition is 'x'"),
        (f"{topic}/0/-1", 400, "to_node is '-1'"),
        (f"{topic}/0", 400, "{topic}/{partition}/{to_node}"),
    ]:
        found, answer = ask_json(broker, f"{base}/{path}", method="POST")
        assert (found, answer["status"]) == (status, status) and says in answer["error"]


def test_what_is_not_there_or_not_allowed_is_said_in_json(broker):
    status, answer = ask_json(broker, "/admin/cluster/memberz")
    assert status == 404 and "did you mean /admin/cluster/members?" in answer["error"]
    status, answer = ask_json(broker, "/admin/cluster/members", method="POST", body=b"")
    assert status == 405 and "expected GET" in answer["error"]
    status, answer = ask_json(broker, "/livez", method="POST", body=b"x" * 100_000)
    assert status == 413
    path = "/admin/cluster/transfer-leader/t/0/1"
    status, answer = ask_json(broker, path, method="POST", headers={"Origin": "http://a.example"})
    assert status == 403


def test_metrics_are_what_happened(broker, topic):
    make_topic(broker, topic, 1)
    before = metrics(broker)
    produce(broker, topic, 1_000, size=1_000)
    after = metrics(broker)

    def grew(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)

    assert grew("chronik_network_received_bytes_total") > 1_000_000
    assert 0 < grew("chronik_network_sent_bytes_total") < 1_000_000
    assert grew("chronik_wal_written_bytes_total") > 1_000_000
    produces = grew("chronik_request_latency_seconds_count", api="produce")
    assert produces >= 1
    assert grew("chronik_request_latency_seconds_bucket", api="produce", le="+Inf") == produces
    assert grew("chronik_request_latency_seconds_sum", api="produce") > 0
    syncs = grew("chronik_wal_fdatasyncs_total")
    assert syncs >= 1 and grew("chronik_wal_fdatasync_seconds_count") == syncs
    assert grew("chronik_wal_group_bytes_sum") == grew("chronik_wal_written_bytes_total")
    assert value(after, "chronik_leaderless_partitions") == 0
    resident = value(after, "process_resident_memory_bytes")
    status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text()
    kernel = int(re.search(r"VmRSS:\s+(\d+) kB", status).group(1)) * 1024
    assert abs(resident - kernel) < 4 << 20
    assert abs(value(after, "process_start_time_seconds") - time.time()) < 3_600


def test_every_byte_in_and_out_is_counted(own_broker):
    names = [f"chronik_network_{way}_bytes_total" for way in ("received", "sent")]
    client = b"bytes"
    request = struct.pack(">hhih", 18, 0, 7, len(client)) + client
    before = metrics(own_broker)
    with socket.create_connection(("127.0.0.1", own_broker.port), timeout=SECONDS) as connection:
        stream = connection.makefile("rb")
        counts = [0, 0]
        for _ in range(3):
            connection.sendall(struct.pack(">i", len(request)) + request)
            (length,) = struct.unpack(">i", stream.read(4))
            assert len(stream.read(length)) == length
            counts = [counts[0] + 4 + len(request), counts[1] + 4 + length]
        # A response may be read before it is counted.
        deadline = time.monotonic() + SECONDS
        while True:
            after = metrics(own_broker)
            grown = [value(after, name) - value(before, name) for name in names]
            if grown == counts or time.monotonic() > deadline:
                break
    assert grown == counts


def test_buckets_never_shrink(broker):
    buckets = {}
    for (name, labels), count in metrics(broker).items():
        if name.endswith("_bucket"):
            labels = dict(labels)
            bound = float(labels.pop("le"))
            buckets.setdefault((name, frozenset(labels.items())), []).append((bound, count))
    assert len(buckets) > 10
    for rows in buckets.values():
        counts = [count for _, count in sorted(rows)]
        assert counts == sorted(counts) and max(rows)[0] == float("inf")


def test_whoever_hears_that_it_lives_can_end_it(tmp_path):
    broker = Broker(tmp_path / "data").start()
    assert broker.stop() == 0
    host, port = broker.admin_address.split(":")
    for _ in range(12):
        broker.launch()
        while broker.process.poll() is None:
            try:
                socket.create_connection((host, int(port)), SECONDS).close()
                break
            except ConnectionRefusedError:
                pass
        assert broker.stop() == 0, broker.log


def test_with_a_token_only_probes_go_without(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    broker = Broker(tmp_path / "data", "--admin-token-file", str(file))
    broker.admin_address = "0.0.0.0:0"
    broker.start()
    try:
        broker.admin_address = broker.admin_address.replace("0.0.0.0", "127.0.0.1")
        for path in ["/livez", "/readyz"]:
            assert ask(broker, path)[0] == 200
        for path in ["/metrics", "/admin/cluster/members", "/admin/cluster/health", "/nowhere"]:
            assert ask(broker, path)[0] == 401
            assert ask(broker, path, token=TOKEN[:-1])[0] == 401
            assert ask(broker, path, token=TOKEN)[0] == (404 if path == "/nowhere" else 200)
    finally:
        assert broker.stop() == 0
    assert TOKEN not in broker.log


def refused(tmp_path, *options):
    """What a server that does not start says."""
    done = subprocess.run(
        [SERVER, "standalone", "--listen-addr", "127.0.0.1:0"]
        + ["--data-dir", str(tmp_path / "data"), *options],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=ENVIRONMENT,
    )
    assert done.returncode == 78, done.stderr
    assert not (tmp_path / "data").exists()
    return done.stderr


def test_beyond_this_machine_it_needs_a_token(tmp_path):
    assert "needs admin.token.file" in refused(tmp_path, "--admin-addr", "0.0.0.0:0")
    missing = str(tmp_path / "missing")
    options = ["--admin-addr", "0.0.0.0:0", "--admin-token-file"]
    assert "No such file" in refused(tmp_path, *options, missing)
    short = tmp_path / "short"
    short.write_text("secret\n")
    said = refused(tmp_path, *options, str(short))
    assert "is no token" in said and "secret" not in said


def test_a_port_that_is_taken_is_named(broker, tmp_path):
    said = refused(tmp_path, "--admin-addr", broker.admin_address)
    assert broker.admin_address in said and "Address already in use" in said
    assert "admin.addr" in said


def test_an_address_for_clients_that_is_taken_is_named(broker, tmp_path):
    command = [SERVER, "standalone", "--listen-addr", broker.address, "--admin-addr", "none"]
    command += ["--data-dir", str(tmp_path / "data")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=SECONDS, env=ENVIRONMENT
    )
    assert done.returncode == 1, done.stderr
    assert f"cannot listen on {broker.address}: Address already in use" in done.stderr
    assert "listen.addr" in done.stderr


def test_none_listens_nowhere(tmp_path):
    broker = Broker(tmp_path / "data")
    broker.admin_address = "none"
    broker.start()
    assert broker.admin_address == "none"
    assert broker.stop() == 0


def test_connections_without_end_keep_nobody_out(broker):
    """More than it takes at a time, half of them with half a request; they time out."""
    host, port = broker.admin_address.split(":")
    idle = []
    try:
        for number in range(100):
            connection = socket.create_connection((host, int(port)), timeout=SECONDS)
            if number % 2:
                connection.sendall(b"GET /livez HTTP/1.1\r\nHost: ")
            idle.append(connection)
        assert ask(broker, "/livez")[0] == 200
    finally:
        for connection in idle:
            connection.close()
    assert ask(broker, "/readyz")[0] == 200


def test_a_restart_keeps_the_port(own_broker):
    before = own_broker.admin_address
    own_broker.restart()
    assert own_broker.admin_address == before
    assert ask(own_broker, "/readyz")[0] == 200


def test_an_idle_broker_is_small_and_starts_fast(own_broker):
    """Bounds of a debug build; the release build is far below them."""
    samples = metrics(own_broker)
    assert value(samples, "process_resident_memory_bytes") < 64 << 20
    assert int(re.search(r"milliseconds=(\d+)", own_broker.log).group(1)) < 1_000
