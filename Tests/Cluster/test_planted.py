"""The checker finds what is planted into what real clusters hold, by its name and nothing else's.

`test_checker` tries every rule on made-up histories; here the histories are real ones.
"""

import base64
import shutil

import pytest

import checker
import record_batches
from load import ConsumerLoad, ProducerLoad, create_topic

TOPIC = "planted"


@pytest.fixture(scope="module")
def story():
    """Filled by the first test, which needs a cluster; the events of a history that is right."""
    return []


def rules(events):
    return {violation.rule for violation in checker.check(events)}


def test_a_real_history_is_right(cluster_factory, history, verify, story):
    cluster = cluster_factory().start()
    cluster.wait_leader()
    cluster.observer.start()
    create_topic(cluster, history, TOPIC, 1)
    load = ProducerLoad(cluster, history, TOPIC, 1).start()
    reader = ConsumerLoad(cluster, history, TOPIC, 1).start()
    load.wait_acknowledged(200)
    history.add("fault", fault="kill", node=1)
    cluster.node(1).kill()
    load.wait_acknowledged(100)
    cluster.node(1).start().wait_ready()
    load.wait_acknowledged(50)
    reader.wait_read(load.finish())
    reader.finish()
    cluster.wait_healthy()
    verify(cluster, TOPIC, 1)
    story += history.events


def planted(story, plant, nodes=(1, 2, 3)):
    """The history with `plant` done to the batches of some nodes, and what became of them."""
    if not story:
        pytest.skip("there is no history to plant anything into")
    events = []
    for event in story:
        if event["op"] == "replica" and event["node"] in nodes:
            batches = [base64.b64decode(encoded) for encoded in event["batches"]]
            batches = plant(batches)
            event = dict(event, batches=[base64.b64encode(raw).decode() for raw in batches],
                         high=record_batches.parse(batches[-1]).last + 1)
        events.append(event)
    return events


def moved(raw, base):
    """The same batch at another offset: its checksum does not cover that."""
    return base.to_bytes(8, "big") + raw[8:]


def renumbered(batches):
    """The batches one after the other, as a log that had them in this order would."""
    found, base = [], 0
    for raw in batches:
        batch = record_batches.parse(raw)
        found.append(moved(raw, base))
        base += batch.last - batch.base + 1
    return found


def middle(batches):
    return len(batches) // 2


def test_a_batch_lost_everywhere_is_found(story):
    def lose(batches):
        return renumbered(batches[: middle(batches)] + batches[middle(batches) + 1 :])

    assert "acknowledged record lost" in rules(planted(story, lose))


def test_a_tail_lost_everywhere_is_found(story):
    # Nobody need have read it.
    events = [e for e in planted(story, lambda batches: batches[:-1]) if e["op"] != "poll"]
    assert rules(events) == {"acknowledged record lost"}


def test_a_batch_there_twice_is_found(story):
    def repeat(batches):
        return renumbered(batches + [batches[middle(batches)]])

    assert "duplicate" in rules(planted(story, repeat))


def test_batches_in_another_order_are_found(story):
    def exchange(batches):
        first = middle(batches)
        batches[first], batches[first + 1] = batches[first + 1], batches[first]
        return renumbered(batches)

    assert "reordering" in rules(planted(story, exchange))


@pytest.mark.parametrize("node", [1, 2, 3])
def test_a_replica_that_went_its_own_way_is_found(story, node):
    def alter(batches):
        # Its leader epoch is not covered by the checksum either.
        raw = batches[-1]
        epoch = record_batches.parse(raw).epoch + 1
        return [*batches[:-1], raw[:12] + epoch.to_bytes(4, "big") + raw[16:]]

    assert rules(planted(story, alter, nodes=[node])) == {"replicas differ"}


@pytest.mark.parametrize("node", [1, 2, 3])
def test_a_bit_that_fell_over_is_found(story, node):
    def damage(batches):
        raw = bytearray(batches[middle(batches)])
        raw[-2] ^= 4
        return [*batches[: middle(batches)], bytes(raw), *batches[middle(batches) + 1 :]]

    assert "damaged batch" in rules(planted(story, damage, nodes=[node]))


def test_disks_that_all_went_back_in_time_are_found(cluster_factory, history, topic):
    """What no majority can lose is lost on all nodes at once: the whole cluster was put back."""
    cluster = cluster_factory().start()
    cluster.wait_leader()
    create_topic(cluster, history, topic, 1)
    load = ProducerLoad(cluster, history, topic, 1).start()
    load.wait_acknowledged(100)
    cluster.kill_all()
    for node in cluster.nodes:
        shutil.copytree(node.data_dir, node.directory / "before")
    cluster.start()
    load.wait_acknowledged(100)
    load.finish()
    cluster.wait_healthy()
    for node in cluster.nodes:
        assert node.terminate() == 0
        node.wipe()
        shutil.move(node.directory / "before", node.data_dir)
    cluster.start()
    cluster.wait_healthy()
    cluster.read_replicas(history, topic, 1)
    assert rules(history.events) == {"acknowledged record lost"}
