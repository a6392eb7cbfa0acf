"""The tools of these tests, tried on servers without peers."""

import pytest

import checker
from broker import SERVER
from cluster import METADATA
from load import ConsumerLoad, ProducerLoad, create_topic

PARTITIONS = 3


def stand_alone(cluster):
    for node in cluster.nodes:
        node.command = lambda node=node: [
            *cluster.prefix(node), SERVER, "standalone",
            "--node-id", str(node.number), "--listen-addr", node.address,
            "--admin-addr", node.admin_address, "--data-dir", str(node.data_dir),
            *cluster.options, *node.extra,
        ]
    return cluster


@pytest.fixture(params=["loopback", "namespaces"])
def lone(request, cluster_factory):
    network = None
    if request.param == "namespaces":
        network = request.getfixturevalue("network_factory")(count=1)
    cluster = stand_alone(cluster_factory(count=1, network=network)).start()
    cluster.observer.start()
    return cluster


def test_loads_faults_observer_and_checker_work_together(lone, history, topic, verify):
    node = lone.node(1)
    assert lone.wait_leader() is node
    create_topic(lone, history, topic, PARTITIONS, 1)
    load = ProducerLoad(lone, history, topic, PARTITIONS, sizes=(0, 1, 30, 100_000)).start()
    reader = ConsumerLoad(lone, history, topic, PARTITIONS).start()
    load.wait_acknowledged(50)
    history.add("fault", fault="kill", node=1)
    node.kill()
    assert not node.is_running and lone.up == []
    node.start().wait_ready()
    load.wait_acknowledged(50)
    node.pause()
    assert node.is_running and not node.is_up
    node.resume()
    load.wait_acknowledged(50)
    assert node.terminate() == 0
    node.start().wait_ready()
    load.wait_acknowledged(50)
    reader.wait_read(load.finish())
    reader.finish()
    assert node.metric("chronik_request_latency_seconds_count", api="produce") > 0
    assert node.partitions()[METADATA, 0]["leader"] == 1
    assert lone.wait_healthy() is lone
    found = verify(lone, topic, PARTITIONS)
    assert len(found.replicas) == PARTITIONS
    assert {e["op"] for e in history.events} >= {
        "producer", "produce", "assign", "poll", "watermark", "leader", "create_topic", "fault",
        "replica",
    }


def test_a_server_that_forgets_is_found_out(lone, history, topic):
    """The check of the checks: a disk is lost, and with it what was acknowledged."""
    node = lone.node(1)
    create_topic(lone, history, topic, PARTITIONS, 1)
    load = ProducerLoad(lone, history, topic, PARTITIONS).start()
    load.wait_acknowledged(50)
    load.finish()
    history.add("fault", fault="wipe", node=1)
    node.kill()
    node.wipe()
    node.start().wait_ready()
    create_topic(lone, history, topic, PARTITIONS, 1)
    again = ProducerLoad(lone, history, topic, PARTITIONS).start()
    again.wait_acknowledged(10)
    again.finish()
    lone.read_replicas(history, topic, PARTITIONS)
    rules = {violation.rule for violation in checker.check(history.events)}
    assert "acknowledged record lost" in rules


def test_a_server_that_does_not_start_is_shown_with_its_log(cluster_factory):
    node = stand_alone(cluster_factory(count=1)).node(1)
    node.start("--set", "no.such.key=1")
    with pytest.raises(AssertionError, match="no.such.key"):
        node.wait_ready()
