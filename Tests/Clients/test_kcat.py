"""kcat, as an operator would use it."""

import json
import subprocess

import pytest


def kcat(broker, *arguments, stdin=""):
    done = subprocess.run(
        ["kcat", "-b", broker.address, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lists_brokers_and_topics(broker, topic):
    kcat(broker, "-P", "-t", topic, stdin="x\n")
    listed = json.loads(kcat(broker, "-L", "-J"))
    assert [b["name"] for b in listed["brokers"]] == [broker.address]
    found = [t for t in listed["topics"] if t["topic"] == topic]
    assert found and found[0]["partitions"][0]["leader"] == 1


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_codec_comes_back_as_it_was_sent(broker, topic, codec):
    lines = "".join(f"line {n} of {codec}\n" for n in range(5000))
    kcat(broker, "-P", "-t", topic, "-z", codec, stdin=lines)
    assert kcat(broker, "-C", "-t", topic, "-o", "beginning", "-e", "-q") == lines


def test_keys_headers_and_offsets(broker, topic):
    kcat(broker, "-P", "-t", topic, "-K", ":", "-H", "colour=blue", stdin="a:1\nb:2\n")
    out = kcat(broker, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%o %k %s %h\n")
    assert out == "0 a 1 colour=blue\n1 b 2 colour=blue\n"


def test_offsets_by_time(broker, topic):
    kcat(broker, "-P", "-t", topic, stdin="one\ntwo\n")
    out = kcat(broker, "-Q", "-t", f"{topic}:0:1")
    assert "offset 0" in out
    out = kcat(broker, "-Q", "-t", f"{topic}:0:-1")
    assert "offset 2" in out


def test_a_group_resumes_where_it_committed(broker, topic):
    kcat(broker, "-P", "-t", topic, stdin="1\n2\n3\n")
    first = kcat(broker, "-G", f"g-{topic}", "-e", "-q", "-X", "auto.offset.reset=earliest", topic)
    assert first == "1\n2\n3\n"
    kcat(broker, "-P", "-t", topic, stdin="4\n")
    again = kcat(broker, "-G", f"g-{topic}", "-e", "-q", "-X", "auto.offset.reset=earliest", topic)
    assert again == "4\n"
