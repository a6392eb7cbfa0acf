"""Nodes that prove to each other who they are, by certificates."""

import os
import shutil
import socket
import ssl
import subprocess
import threading

import grpc
import pytest

from cluster import eventually
from load import ProducerLoad, create_topic

# Each has a TLS of its own: both are always tested.
pytestmark = pytest.mark.parametrize("transport", ["framed", "grpc"], indirect=True)

NAME = "tls-cluster"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS_FRAME = 4
# By transport, what can be spoken on the Raft port: the protocols named in the hello, and what is
# sent then. What begins no frame is not answered; the connection just ends.
FRAMES, CALLS = ((), b"no frame"), (("h2",), PREFACE)
SPOKEN = {"framed": [FRAMES, CALLS], "grpc": [CALLS]}


def query(channel, node=0, seconds=30):
    """QueryMetadata, of a node or of somebody who is none."""
    header = bytes([10, len(NAME)]) + NAME.encode() + (bytes([16, node]) if node else b"")
    call = channel.unary_unary("/chronik.raft.RaftService/QueryMetadata")
    return call(bytes([10, len(header)]) + header, timeout=seconds)


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

    def sign(self, name, host):
        """A new key, and the certificate of that host."""
        key, request, certificate, names = (
            self.directory / f"{name}.{kind}" for kind in ("key", "csr", "pem", "ext"))
        names.write_text(f"subjectAltName=IP:{host}\nextendedKeyUsage=serverAuth,clientAuth\n")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
                "-CAcreateserial", "-days", "2", "-extfile", names, "-out", certificate)
        return certificate, key

    def install(self, node, host=None):
        """Gives a node, running or not, files that this authority made."""
        certificate, key = self.sign(f"node{node.number}", host or host_of(node))
        folder = node.directory / "tls"
        folder.mkdir(exist_ok=True)
        made = (certificate, "cert.pem"), (key, "key.pem"), (self.certificate, "ca.pem")
        for source, name in made:
            shutil.copy(source, folder / f"{name}.new")
            os.replace(folder / f"{name}.new", folder / name)

    def caller(self, protocols=("h2",), version=None, name="caller"):
        """How somebody with a certificate of this authority connects."""
        certificate, key = self.sign(name, "127.0.0.9")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        # Whom it finds is looked at afterwards.
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(certificate, key)
        context.set_alpn_protocols(protocols)
        if version:
            context.minimum_version = context.maximum_version = version
        return context


def host_of(node):
    return node.raft_address.split(":")[0]


def options(node):
    settings = []
    for setting, name in (("cert", "cert.pem"), ("key", "key.pem"), ("ca", "ca.pem")):
        settings += ["--set", f"raft.tls.{setting}.file={node.directory / 'tls' / name}"]
    return settings


def exchange(node, context, sent):
    """What a node answers; an SSLError when it refuses. Whose certificate it shows, too."""
    host, port = node.raft_address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as plain:
        with context.wrap_socket(plain, suppress_ragged_eofs=False) as secured:
            shown = secured.getpeercert(binary_form=True)
            secured.sendall(sent)
            return secured.recv(9), ssl.DER_cert_to_PEM_cert(shown)


def refused(node, context, sent=PREFACE):
    """Whether it is told so, or cut off; gRPC does not say why."""
    try:
        exchange(node, context, sent)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path / "authority", "nodes of these tests")


@pytest.fixture
def secured(cluster_factory, transport, authority):
    """Three nodes, each with a host and a certificate of its own."""
    cluster = cluster_factory(transport=transport, options=["--set", f"cluster.name={NAME}"])
    for node in cluster.nodes:
        port = node.raft_address.split(":")[1]
        node.raft_address = f"127.0.0.{node.number}:{port}"
    for node in cluster.nodes:
        authority.install(node)
        node.start(*options(node))
    cluster.wait_ready()
    cluster.wait_leader()
    return cluster


def test_a_cluster_speaks_tls_between_its_nodes(secured, authority, history, topic, verify):
    cluster = secured
    create_topic(cluster, history, topic, 3)
    load = ProducerLoad(cluster, history, topic, 3).start()
    load.wait_acknowledged(100)
    # One after the other gets a new certificate, and the rest go on with theirs.
    for node in cluster.nodes:
        authority.install(node)
        node.terminate()
        node.start(*options(node)).wait_ready()
        load.wait_acknowledged(20)
    load.finish()
    cluster.wait_healthy()
    verify(cluster, topic, 3)


REFUSALS = {
    "framed": {
        "plain": "raft_transport_unknown_protocol_total",
        "another authority": "raft_transport_malformed_frames_total",
        "another node's certificate": "raft_transport_malformed_frames_total",
    },
    "grpc": {"another node's certificate": "raft_calls_refused_total"},
}


@pytest.mark.parametrize("stranger", ["plain", "another authority", "another node's certificate"])
def test_who_cannot_prove_who_it_is_stays_out(secured, authority, transport, history, topic,
                                              tmp_path, stranger):
    cluster = secured
    first, second, third = cluster.nodes
    assert third.terminate() == 0
    eventually(lambda: 3 not in first.metadata().brokers, "its end is noticed")
    counted = REFUSALS[transport].get(stranger)
    if stranger == "another authority":
        Authority(tmp_path / "other", "somebody else").install(third)
    elif stranger != "plain":
        authority.install(third, host_of(second))
    before = first.metric(counted) if counted else 0
    third.start(*([] if stranger == "plain" else options(third)))
    words = ("certificate", "tls", "ssl")
    eventually(lambda: any(word in line.lower() for line in third.log().splitlines()
                           if "error" in line.lower() or "refused" in line.lower()
                           for word in words)
               or any(word in line.lower() for node in (first, second)
                      for line in node.log().splitlines() for word in words),
               "a log line says what is wrong")
    if counted:
        eventually(lambda: first.metric(counted) > before, "the refusal is counted")
    eventually(lambda: third.ask("/readyz")[0] == 503, "it says that it is not ready")
    assert 3 not in first.metadata().brokers
    # The two go on without it, and it is let in with a certificate of its own.
    create_topic(cluster, history, topic, 1, replicas=2)
    assert third.terminate() == 0
    authority.install(third)
    third.start(*options(third)).wait_ready()
    eventually(lambda: 3 in first.metadata().brokers, "the node is let in")


def test_a_node_ends_cleanly_amid_handshakes(secured, authority, transport):
    third = secured.nodes[2]
    caller, greeting = authority.caller(SPOKEN[transport][0][0]), SPOKEN[transport][0][1]
    over = threading.Event()

    def call():
        while not over.is_set():
            try:
                exchange(third, caller, greeting)
            except OSError:
                over.wait(0.001)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for thread in callers:
        thread.start()
    try:
        for _ in range(6):
            # Once it is ready, and once before it is.
            assert third.terminate() == 0
            third.start(*options(third))
            eventually(third.lives, "it lives")
            assert third.terminate() == 0
            third.start(*options(third)).wait_ready()
    finally:
        over.set()
        for thread in callers:
            thread.join()


def test_changed_certificates_are_used_without_a_restart(secured, authority, transport, tmp_path,
                                                         history, topic, verify):
    cluster = secured
    create_topic(cluster, history, topic, 3)
    load = ProducerLoad(cluster, history, topic, 3).start()
    load.wait_acknowledged(30)
    old = [(authority.caller(protocols), greeting) for protocols, greeting in SPOKEN[transport]]
    for node in cluster.nodes:
        for caller, greeting in old:
            shown = (node.directory / "tls/cert.pem").read_text()
            assert exchange(node, caller, greeting)[1].split() == shown.split()
    successor = Authority(tmp_path / "successor", "their next authority")
    for node in cluster.nodes:
        successor.install(node)
    new = [(successor.caller(protocols), greeting) for protocols, greeting in SPOKEN[transport]]
    for node in cluster.nodes:
        for (stale, greeting), (caller, _) in zip(old, new):
            eventually(lambda: refused(node, stale, greeting), "the old authority's are refused")
            answer, certificate = exchange(node, caller, greeting)
            assert certificate.split() == (node.directory / "tls/cert.pem").read_text().split()
            assert answer[3] == SETTINGS_FRAME if greeting is PREFACE else not answer
    # Connections that were open go on; a node that comes back makes new ones, with the new files.
    load.wait_acknowledged(30)
    node = cluster.wait_leader(topic, 0)
    node.kill()
    node.start(*options(node)).wait_ready()
    cluster.wait_healthy()
    load.wait_acknowledged(30)
    # Files that cannot be used change nothing for frames; gRPC lets nobody new in meanwhile.
    (node.directory / "tls/cert.pem").write_text("no certificate")
    for caller, greeting in new:
        if greeting is PREFACE:
            eventually(lambda: refused(node, caller), "gRPC has nothing to show")
        else:
            exchange(node, caller, greeting)
    load.wait_acknowledged(30)
    successor.install(node)
    for caller, greeting in new:
        eventually(lambda: exchange(node, caller, greeting), "it is mended")
    load.wait_acknowledged(30)
    load.finish()
    verify(cluster, topic, 3)


def test_calls_from_outside_need_a_certificate(secured, authority, transport, tmp_path):
    node = secured.node(1)
    stranger = Authority(tmp_path / "other", "somebody else")
    assert all(refused(node, stranger.caller(*spoken[:1]), spoken[1])
               for spoken in SPOKEN[transport])
    # gRPC takes TLS 1.2 too; frames are for nodes, with 1.3.
    older = ssl.TLSVersion.TLSv1_2
    assert exchange(node, authority.caller(version=older), PREFACE)[0][3] == SETTINGS_FRAME
    if transport == "framed":
        assert refused(node, authority.caller((), older), b"no frame")
    trusted = authority.certificate.read_bytes()

    def credentials(certificate, key):
        return grpc.ssl_channel_credentials(trusted, key.read_bytes(), certificate.read_bytes())

    with grpc.secure_channel(node.raft_address,
                             credentials(*authority.sign("client", "127.0.0.9"))) as channel:
        assert NAME.encode() in query(channel)
        # A certificate that is good, but not of the node that it is shown for.
        with pytest.raises(grpc.RpcError) as raised:
            query(channel, node=2)
        assert raised.value.code() == grpc.StatusCode.UNAUTHENTICATED
        assert "127.0.0.2" in raised.value.details() and "127.0.0.9" in raised.value.details()
    with grpc.secure_channel(node.raft_address,
                             credentials(*authority.sign("as-2", "127.0.0.2"))) as channel:
        assert NAME.encode() in query(channel, node=2)
    with grpc.secure_channel(node.raft_address, grpc.ssl_channel_credentials(trusted)) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            query(channel, seconds=5)
        assert raised.value.code() in (grpc.StatusCode.UNAVAILABLE,
                                       grpc.StatusCode.DEADLINE_EXCEEDED)
