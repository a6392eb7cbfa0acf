"""Who is let in: a node of another cluster, one under another's id, one that lost its disk."""

import re
import shutil
import subprocess

import pytest

from broker import ENVIRONMENT, SERVER
from cluster import eventually
from load import ProducerLoad, create_topic

EX_CONFIG = 78


@pytest.fixture(scope="module")
def transport():
    return "framed"


def refusals(node):
    return sum(value for (name, _), value in node.metrics().items()
               if name == "raft_transport_handshakes_refused_total")


def refusals_by_peers(metrics):
    return sum(value for (name, labels), value in metrics.items()
               if name == "raft_transport_handshakes_refused_total" and ("by", "peer") in labels)


def directory_of(node):
    """The id of its data directory."""
    properties = (node.data_dir / "meta.properties").read_text()
    return re.search(r"directory.id=(\S+)", properties).group(1)


def logged(nodes, *parts):
    """Whether one line of one of these nodes has all these parts."""
    return any(all(part in line for part in parts)
               for node in nodes for line in node.log().splitlines())


def alive(asked, number):
    return number in asked.metadata().brokers


def test_a_node_of_another_cluster_is_refused_and_both_are_named(cluster_factory, history, topic):
    cluster = cluster_factory().start()
    cluster.wait_leader()
    first, second, stranger = cluster.nodes
    ours = first.metadata().cluster_id
    stranger.terminate()
    eventually(lambda: not alive(first, 3), "its end is noticed")
    kept = shutil.move(stranger.data_dir, stranger.directory / "kept")
    stranger.start("--set", "cluster.name=another")
    eventually(lambda: refusals(first) + refusals(second) > 0, "the stranger is refused")
    eventually(lambda: logged(cluster.nodes, "of cluster", ours), "a log line names the cluster")
    (line,) = [line for node in cluster.nodes for line in node.log().splitlines()
               if "of cluster" in line and ours in line][:1]
    assert len(set(re.findall(r"of cluster (\S+?)[,\s]", line + " "))) == 2, line
    assert not alive(first, 3)
    # The two go on without it, and it is let in with the right name and its own directory.
    create_topic(cluster, history, topic, 1, replicas=2)
    assert stranger.terminate() == 0
    stranger.wipe()
    shutil.move(kept, stranger.data_dir)
    stranger.start().wait_ready()
    eventually(lambda: alive(first, 3), "the node is let in")


def test_a_data_directory_of_another_cluster_or_node_is_refused(cluster_factory):
    cluster = cluster_factory().start()
    first, second, third = cluster.nodes
    third.terminate()
    assert third.start("--set", "cluster.name=another").wait_exit() != 0
    assert "belongs to cluster" in third.log()
    second.terminate()
    shutil.move(second.data_dir, second.directory / "kept")
    shutil.copytree(third.data_dir, second.data_dir)
    assert second.start().wait_exit() != 0
    assert "belongs to node 3, not to node 2" in second.log()
    second.wipe()
    shutil.move(second.directory / "kept", second.data_dir)
    second.start()
    third.start()
    cluster.wait_ready()


def test_a_second_node_of_the_same_id_is_not_let_in(cluster_factory, history, topic, verify):
    cluster = cluster_factory().start()
    cluster.wait_leader()
    create_topic(cluster, history, topic, 1)
    load = ProducerLoad(cluster, history, topic, 1).start()
    load.wait_acknowledged(50)
    # Knows the others by their right addresses, but has a disk and a port of its own.
    second = cluster_factory().node(2)
    second.cluster.nodes[0].raft_address = cluster.node(1).raft_address
    second.cluster.nodes[2].raft_address = cluster.node(3).raft_address
    real = cluster.node(2)
    second.start()
    eventually(
        lambda: all(logged([node], "another process", directory_of(real), directory_of(second))
                    for node in (cluster.node(1), cluster.node(3))),
        "the second node 2 is refused, and the log names both",
    )
    eventually(lambda: logged([second], "another process", directory_of(real)),
               "the second is told, too")
    assert second.ask("/readyz")[0] == 503
    load.wait_acknowledged(50)
    cluster.wait_healthy()
    assert refusals_by_peers(real.metrics()) == 0
    # Nor does the second have the place once the real one was down.
    real.kill()
    load.wait_acknowledged(50)
    eventually(lambda: not alive(cluster.node(1), 2), "its end is noticed")
    assert second.ask("/readyz")[0] == 503
    real.start().wait_ready()
    eventually(lambda: alive(cluster.node(1), 2), "the real one is back")
    load.wait_acknowledged(50)
    assert second.is_running and second.ask("/readyz")[0] == 503
    assert second.terminate() == 0
    cluster.wait_healthy()
    load.wait_acknowledged(50)
    load.finish()
    verify(cluster, topic, 1)


def test_a_wiped_node_is_not_let_in_silently(cluster_factory, history, topic, verify):
    cluster = cluster_factory().start()
    cluster.wait_leader()
    create_topic(cluster, history, topic, 1)
    load = ProducerLoad(cluster, history, topic, 1).start()
    load.wait_acknowledged(50)
    wiped = cluster.others(cluster.wait_leader(topic, 0))[0]
    wiped.terminate()
    shutil.copytree(wiped.data_dir, wiped.directory / "kept")
    wiped.wipe()
    wiped.start()
    eventually(lambda: not wiped.is_running, "the wiped node is refused and ends")
    assert logged([wiped], f"node {wiped.number}", "directory")
    load.wait_acknowledged(50)
    # With its disk back it is what it was.
    wiped.wipe()
    shutil.move(wiped.directory / "kept", wiped.data_dir)
    wiped.start().wait_ready()
    load.wait_acknowledged(50)
    load.finish()
    cluster.wait_healthy()
    verify(cluster, topic, 1)


def check(*options):
    done = subprocess.run(
        [SERVER, "cluster", "--config-check", *options],
        capture_output=True, text=True, timeout=30, env=ENVIRONMENT,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("peers", "says"),
    [
        ("2@127.0.0.1:5002,2@127.0.0.1:5003", "2"),
        ("2@127.0.0.1:5002,3@127.0.0.1:5002", "127.0.0.1:5002"),
        ("2@0.0.0.0:5002,3@127.0.0.1:5003", "0.0.0.0:5002"),
        ("node2:5002", "ID@HOST:PORT"),
    ],
)
def test_nodes_that_cannot_agree_are_refused_before_anything_starts(tmp_path, peers, says):
    code, said = check("--node-id", "1", "--raft-addr", "127.0.0.1:5001", "--peers", peers,
                       "--data-dir", str(tmp_path / "data"))
    assert code == EX_CONFIG and says in said
    assert not (tmp_path / "data").exists()


def test_a_file_with_nodes_starts_a_cluster(cluster_factory, history, topic, tmp_path):
    cluster = cluster_factory()
    lines = ["[cluster]", 'name = "from-a-file"']
    for node in cluster.nodes:
        lines += ["[[nodes]]", f"id = {node.number}", f'kafka_addr = "{node.address}"',
                  f'raft_addr = "{node.raft_address}"']
    config = tmp_path / "chronik-cluster.toml"
    config.write_text("\n".join(lines) + "\n")
    for node in cluster.nodes:
        node.command = lambda node=node: [
            SERVER, "start", "--config", str(config), "--node-id", str(node.number),
            "--data-dir", str(node.data_dir), "--admin-addr", node.admin_address,
            *cluster.options, *node.extra,
        ]
    cluster.start()
    cluster.wait_leader()
    create_topic(cluster, history, topic, 3)
    known = cluster.node(1).metadata().brokers
    assert known == {node.number: (node.address, None) for node in cluster.nodes}
