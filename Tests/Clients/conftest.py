import itertools

import pytest

from broker import Broker

names = itertools.count(1)


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("data")).start()
    yield broker
    assert broker.stop() == 0, broker.log
    assert "Fatal error" not in broker.log


@pytest.fixture
def own_broker(tmp_path):
    """A broker for tests that stop, kill or confuse it."""
    broker = Broker(tmp_path / "data").start()
    yield broker
    if broker.process.poll() is None:
        broker.stop()
    assert "Fatal error" not in broker.log


@pytest.fixture
def topic(request):
    return f"{request.node.name.split('[')[0]}-{next(names)}"
