"""Nodes that prove to each other who they are, by certificates."""

import shutil
import subprocess

import pytest

from cluster import eventually
from load import ProducerLoad, create_topic

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """Signs for nodes."""

    def __init__(self, directory, name):
        directory.mkdir()
        self.directory = directory
        self.key, self.certificate = directory / "ca.key", directory / "ca.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", self.key, "-out", self.certificate)

    def options(self, name):
        """Settings of a node with a certificate of its own, for this machine."""
        key, request, certificate, names = (
            self.directory / f"{name}.{kind}" for kind in ("key", "csr", "pem", "ext"))
        names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n"
                         "extendedKeyUsage=serverAuth,clientAuth\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
                "-CAcreateserial", "-days", "2", "-extfile", names, "-out", certificate)
        return ["--set", f"raft.tls.cert.file={certificate}", "--set",
                f"raft.tls.key.file={key}", "--set", f"raft.tls.ca.file={self.certificate}"]


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority", "nodes of these tests")


def test_a_cluster_speaks_tls_between_its_nodes(cluster_factory, transport, authority, history,
                                                topic, verify):
    cluster = cluster_factory(transport=transport)
    for node in cluster.nodes:
        node.start(*authority.options(f"node{node.number}"))
    cluster.wait_ready()
    cluster.wait_leader()
    create_topic(cluster, history, topic, 3)
    load = ProducerLoad(cluster, history, topic, 3).start()
    load.wait_acknowledged(100)
    # One after the other gets a new certificate, and the rest go on with theirs.
    for node in cluster.nodes:
        authority.options(f"node{node.number}")
        node.terminate()
        node.start(*node.extra).wait_ready()
        load.wait_acknowledged(20)
    load.finish()
    cluster.wait_healthy()
    verify(cluster, topic, 3)


@pytest.mark.parametrize("stranger", ["plain", "another authority"])
def test_who_cannot_prove_who_it_is_stays_out(cluster_factory, transport, authority, tmp_path,
                                              stranger):
    cluster = cluster_factory(transport=transport)
    first, second, third = cluster.nodes
    for node in (first, second):
        node.start(*authority.options(f"node{node.number}"))
    cluster.wait_ready([first, second])
    options = []
    if stranger != "plain":
        options = Authority(tmp_path / "other", "somebody else").options("node3")
    third.start(*options)
    eventually(lambda: any(word in line.lower() for node in cluster.nodes
                           for line in node.log().splitlines() if "node 3" in line or "tls" in
                           line.lower() for word in ("tls", "certificate")),
               "a log line says what is wrong")
    assert third.ask("/readyz")[0] == 503
    assert 3 not in first.metadata().brokers
