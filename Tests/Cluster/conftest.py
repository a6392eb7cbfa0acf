import pathlib
import sys

import pytest

import network as networks

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Clients"))

NO_NAMESPACES = None


def pytest_configure():
    """All of these tests run in a network of their own, where that is allowed."""
    global NO_NAMESPACES
    try:
        networks.enter_namespace()
    except networks.Unavailable as reason:
        NO_NAMESPACES = str(reason)


@pytest.fixture
def network_factory():
    made = []

    def make(count=3, seed=0):
        if NO_NAMESPACES:
            pytest.skip(f"needs network namespaces: {NO_NAMESPACES}")
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
