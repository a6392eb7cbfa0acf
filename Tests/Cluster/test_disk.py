"""A node whose disk is full gives way to those that can go on."""

import pytest

from cluster import eventually
from load import ProducerLoad, create_topic

SMALL = 48 << 20


@pytest.fixture
def cramped(cluster_factory, needs_namespace):
    """Three nodes; the disk of the first has little room."""
    cluster = cluster_factory(options=[
        "--set", "wal.total.bytes=8MiB", "--set", "wal.file.bytes=1MiB",
        "--set", "log.segment.bytes=4MiB",
    ])
    node = cluster.node(1)
    node.data_dir.mkdir(parents=True)
    # A file system that only this process sees, and that goes with it.
    script = 'mount -t tmpfs -o size="$0" none "$1" && shift && exec "$@"'
    node.wrapper = ["unshare", "--mount", "sh", "-c", script, str(SMALL), str(node.data_dir)]
    cluster.start()
    cluster.wait_leader()
    return cluster


def test_a_leader_with_a_full_disk_gives_way(cramped, history, topic):
    cluster, node = cramped, cramped.node(1)
    create_topic(cluster, history, topic, 1)
    # An election may be under way, which another wins.
    eventually(lambda: node.transfer(topic, 0, node)[0] == 200 and
               cluster.wait_leader(topic, 0) is node, "the first node leads")
    load = ProducerLoad(cluster, history, topic, 1, rate=1_000, sizes=(20_000,)).start()
    # Half as much again as the small disk holds; the others have room.
    load.wait_acknowledged(SMALL * 3 // 2 // 20_000, seconds=180)
    assert cluster.wait_leader(topic, 0, among=cluster.others(node)) is not node
    load.finish()
    assert node.is_running
    for other in cluster.others(node):
        eventually(lambda: any(reason["kind"] == "disk_full" and reason["node"] == 1
                               for reason in other.health()["reasons"]),
                   f"{other} says whose disk is full")
