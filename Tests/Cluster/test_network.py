"""The network of the tests does what the tests of nodes rely on."""

import socket
import subprocess
import threading
import time

import pytest

SECONDS = 30
ECHO = """
import socket, sys
server = socket.create_server((sys.argv[1], 7))
print("up", flush=True)
while True:
    peer, _ = server.accept()
    while data := peer.recv(65536):
        peer.sendall(data)
    peer.close()
"""
PING = """
import socket, sys
host, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
peer = socket.create_connection((host, 7), timeout=float(sys.argv[4]))
for number in range(count):
    payload = number.to_bytes(4, "big") + bytes(size)
    peer.sendall(payload)
    back = b""
    while len(back) < len(payload):
        chunk = peer.recv(65536)
        assert chunk
        back += chunk
    assert back == payload
print("done")
"""


@pytest.fixture
def echo(network):
    """Node 2 sends back what it is sent."""
    command = [*network.prefix(2), "python3", "-c", ECHO, network.raft_host(2)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    yield
    process.kill()
    process.wait()
    process.stdout.close()


def ping(network, count=20, size=100, seconds=SECONDS):
    command = [*network.prefix(1), "python3", "-c", PING, network.raft_host(2)]
    command += [str(count), str(size), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.stdout == "done\n"


def test_packets_pass(network, echo):
    assert ping(network, count=200, size=20_000)
    assert network.counts()["lost"] == 0


def test_a_lossy_network_carries_streams_all_the_same(network, echo):
    network.every_link(loss=0.05, duplicate=0.05, reorder=0.2, delay=0.001, jitter=0.002)
    assert ping(network, count=50, size=5_000)
    counts = network.counts()
    assert all(counts[kind] > 0 for kind in ("passed", "lost", "doubled", "delayed", "reordered"))


def test_a_link_can_be_cut_one_way_and_both(network, echo):
    network.link(2, 1, down=True)
    assert not ping(network, seconds=0.5)
    network.heal()
    assert ping(network)
    network.partition([1], [2, 3])
    assert not ping(network, seconds=0.5)
    network.heal()
    assert ping(network)
    network.partition([1, 2], [3])
    assert ping(network)


def test_a_delay_is_kept(network, echo):
    network.every_link(delay=0.02)
    began = time.monotonic()
    assert ping(network, count=5)
    # The connection's three packets and five there and back.
    assert time.monotonic() - began > 6 * 0.04


def test_clients_have_a_way_of_their_own(network):
    network.partition([1], [2], [3])
    command = [*network.prefix(1), "python3", "-c", ECHO, network.client_host(1)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "up\n"
        with socket.create_connection((network.client_host(1), 7), timeout=SECONDS) as peer:
            peer.sendall(b"hello")
            assert peer.recv(5) == b"hello"
        network.clients_reach(1, False)
        with pytest.raises(OSError):
            socket.create_connection((network.client_host(1), 7), timeout=0.5).close()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_nothing_is_left_of_it(network_factory):
    for _ in range(2):
        network = network_factory()
        network.close()
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True).stdout
    assert "raft" not in links and "client" not in links
    assert threading.active_count() == 1
