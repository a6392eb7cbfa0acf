"""Many idle partitions cost little, and the loss of a node is no storm.

CHRONIK_CLUSTER_PARTITIONS partitions of three replicas. What they cost is asserted of a release
build alone, for 1,000 of them; that all are led again, and by whom, of every build.
"""

import os
import pathlib
import time

from broker import SERVER
from cluster import eventually, say
from load import create_topic, setting

PARTITIONS = setting("CHRONIK_CLUSTER_PARTITIONS", 100)
IDLE_SECONDS = setting("CHRONIK_CLUSTER_IDLE_SECONDS", 5)
TICKS = os.sysconf("SC_CLK_TCK")
IS_RELEASE = "release" in pathlib.Path(SERVER).parts


def cpu_seconds(node):
    """What the process has used, in user and system mode: right on a busy machine, too."""
    fields = pathlib.Path(f"/proc/{node.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(node):
    for line in pathlib.Path(f"/proc/{node.process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"{node} has no VmRSS")


def idle_cost(nodes):
    """Share of a core that each node uses while nobody asks anything."""
    before, began = {node: cpu_seconds(node) for node in nodes}, time.monotonic()
    time.sleep(IDLE_SECONDS)
    took = time.monotonic() - began
    return {node: (cpu_seconds(node) - before[node]) / took for node in nodes}


def leaders(node, topic):
    """By partition, who leads in which epoch, as the node tells clients."""
    return {partition: (found.leader, found.epoch)
            for (name, partition), found in node.metadata().partitions.items() if name == topic}


def elections(nodes):
    return sum(node.metric("raft_leader_elections_total", node_id=str(node.number))
               for node in nodes)


def silent(cluster):
    """How many groups are awake on each node, once they are few."""
    awake = {node: node.metric("chronik_raft_awake_groups") for node in cluster.nodes}
    return awake if max(awake.values()) <= 2 else None


def test_many_idle_partitions_cost_little_and_fail_over_together(cluster_factory, transport,
                                                                 history, topic):
    cluster = cluster_factory(transport=transport).start()
    cluster.wait_leader()
    empty = {node: resident_mib(node) for node in cluster.nodes}
    began = time.monotonic()
    create_topic(cluster, history, topic, PARTITIONS, seconds=120)
    cluster.wait_healthy()
    say(f"{PARTITIONS} partitions are there after {time.monotonic() - began:.1f} s")

    def is_even():
        shares = [leader for leader, _ in leaders(cluster.node(1), topic).values()]
        return max(map(shares.count, (1, 2, 3))) <= PARTITIONS // 3 + 1

    eventually(is_even, "every node leads its share", 60)
    # The groups fall silent, and what elections left behind is put away.
    quiet = eventually(lambda: silent(cluster), "nothing is said any more", 60)
    cost = idle_cost(cluster.nodes)
    for node in cluster.nodes:
        say(f"{node}: {100 * cost[node]:.2f} % of a core idle, {resident_mib(node):.0f} MiB "
            f"(empty {empty[node]:.0f}), {quiet[node]:.0f} groups awake")
    if IS_RELEASE and PARTITIONS == 1_000:
        assert max(cost.values()) <= 0.05
        assert max(resident_mib(node) for node in cluster.nodes) <= 150

    before = leaders(cluster.node(1), topic)
    victim = cluster.node(2)
    survivors = cluster.others(victim)
    counted = elections(survivors)
    lost = {p for p, (leader, _) in before.items() if leader == victim.number}
    history.add("fault", fault="kill", node=victim.number)
    victim.kill()
    killed = time.monotonic()

    def taken_over():
        views = [leaders(node, topic) for node in survivors]
        return views[0] == views[1] and all(
            leader in {node.number for node in survivors} and epoch > before[p][1]
            for p, (leader, epoch) in views[0].items() if p in lost
        ) and views[0]

    after = eventually(taken_over, "every partition is led again", 60)
    took = time.monotonic() - killed
    held = elections(survivors) - counted
    rises = [after[p][1] - before[p][1] for p in lost]
    say(f"{len(lost)} of {PARTITIONS} partitions had lost their leader; all are led after "
        f"{took:.2f} s, {held:.0f} elections were won, epochs rose by up to {max(rises)}")
    # Nobody but the groups that lost their leader (and the metadata, perhaps) elects.
    assert all(after[p] == before[p] for p in before if p not in lost)
    assert held <= len(lost) + 1 + sum(rise - 1 for rise in rises)
    assert max(rises) <= 4 and sum(rises) <= 1.2 * len(lost) + 2
    if IS_RELEASE:
        assert took < 3

    victim.start().wait_ready()
    cluster.wait_healthy()
    eventually(is_even, "every node leads its share again", 120)
    eventually(lambda: silent(cluster), "nothing is said any more", 60)
    again = idle_cost(cluster.nodes)
    say("after its return: " + ", ".join(f"{node} {100 * again[node]:.2f} %, "
                                         f"{resident_mib(node):.0f} MiB"
                                         for node in cluster.nodes))
    if IS_RELEASE and PARTITIONS == 1_000:
        assert max(again.values()) <= 0.05
