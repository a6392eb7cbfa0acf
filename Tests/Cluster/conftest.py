import itertools
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests/Clients"))

import load  # noqa: E402
import network as networks  # noqa: E402
from checker import Checker  # noqa: E402
from cluster import Cluster, say  # noqa: E402
from history import History  # noqa: E402
from observer import Observer  # noqa: E402

SIM = os.environ.get("CHRONIK_SIM", ROOT / ".build/debug/chronik-sim")
# What a failure leaves behind: logs of the nodes and the history.
KEPT = ROOT / ".build/cluster-failures"
NO_NAMESPACES = None
names = itertools.count(1)


def pytest_configure(config):
    """All of these tests run in a network of their own, where that is allowed."""
    global NO_NAMESPACES
    # kafka-python's own.
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning")
    try:
        networks.enter_namespace()
    except networks.Unavailable as reason:
        NO_NAMESPACES = str(reason)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.when == "call":
        item.failed_call = report.failed


@pytest.fixture
def needs_namespace():
    """For tests with ports that must be free."""
    if NO_NAMESPACES:
        pytest.skip(f"needs network namespaces: {NO_NAMESPACES}")


@pytest.fixture
def network_factory(needs_namespace):
    made = []

    def make(count=3, seed=0):
        try:
            made.append(networks.Network(count, seed))
        except networks.Unavailable as reason:
            pytest.skip(f"needs network namespaces: {reason}")
        return made[-1]

    yield make
    for network in made:
        if network.switch.poll() is None:
            network.close()


@pytest.fixture
def network(network_factory):
    return network_factory()


@pytest.fixture(params=os.environ.get("CHRONIK_TRANSPORTS", "framed,grpc").split(","))
def transport(request):
    """What carries Raft between the nodes: a test that asks for it runs with each."""
    return request.param


@pytest.fixture
def topic(request):
    name = re.sub(r"[^A-Za-z0-9._-]", "-", request.node.name.split("[")[0])
    return f"{name[:100]}-{next(names)}"


@pytest.fixture
def cluster_factory(request, tmp_path, history):
    """Clusters of this test, stopped at its end; none may have crashed."""
    made = []

    def make(**settings):
        cluster = Cluster(tmp_path / f"cluster{len(made) + 1}", **settings)
        cluster.observer = Observer(cluster, history)
        made.append(cluster)
        return cluster

    yield make
    load.stop_all()
    for cluster in made:
        cluster.observer.stop()
        clean = cluster.close()
        crashes = cluster.crashes()
        if getattr(request.node, "failed_call", True) or crashes or not clean:
            target = KEPT / re.sub(r"[^A-Za-z0-9._-]", "-", request.node.name)
            cluster.keep(target / cluster.directory.name)
            (target / "history.jsonl").write_bytes((tmp_path / "history.jsonl").read_bytes())
            say(f"\nlogs and history of {request.node.name}: {target}")
        assert not crashes, crashes[:3]
        assert clean, "a node did not end when it was asked to"


@pytest.fixture
def history(tmp_path):
    history = History(tmp_path / "history.jsonl")
    yield history
    history.close()


@pytest.fixture
def cluster(cluster_factory, transport):
    """Three nodes on loopback, ready, with a leader of their metadata."""
    cluster = cluster_factory(transport=transport).start()
    cluster.wait_leader()
    cluster.observer.start()
    return cluster


@pytest.fixture
def far_cluster(cluster_factory, transport, network):
    """Three nodes in namespaces of their own, with `network` between them."""
    cluster = cluster_factory(transport=transport, network=network).start()
    cluster.wait_leader()
    cluster.observer.start()
    return cluster


@pytest.fixture
def verify(history):
    """Ends a scenario: reads all replicas and has both checkers look at the history."""

    def verify(cluster, topic, partitions):
        cluster.read_replicas(history, topic, partitions)
        cluster.observer.stop()
        checker = Checker(history.events)
        found = checker.check()
        assert not found, f"{len(found)} violations:\n" + "\n".join(map(str, found[:10]))
        # The one that simulated clusters are held to.
        history.flush()
        said = subprocess.run([SIM, "check", history.path], capture_output=True, text=True)
        assert said.returncode == 0, said.stdout[-4_000:] + said.stderr
        return checker

    return verify
