"""`/metrics` and `/admin/cluster/*` tell what is so: before, during and after a leader's end."""

import json

from cluster import METADATA, eventually
from load import ProducerLoad, create_topic

PARTITIONS = 3


def kinds(node):
    return {reason["kind"] for reason in node.health()["reasons"]}


def test_the_cluster_tells_the_truth_of_a_leader_killed(cluster, history, topic):
    create_topic(cluster, history, topic, PARTITIONS)
    load = ProducerLoad(cluster, history, topic, PARTITIONS).start()
    load.wait_acknowledged(100)
    load.finish()
    total = load.acknowledged
    cluster.wait_healthy()
    before = {
        node: node.metric("raft_leader_elections_total", node_id=str(node.number))
        for node in cluster.nodes
    }
    leaders = {p: cluster.wait_leader(topic, p) for p in range(PARTITIONS)}
    check_views(cluster, topic, leaders, total)
    proposals = sum(node.metric("raft_proposals_total", topic=topic) for node in cluster.nodes
                    if node in leaders.values())
    assert proposals >= 1

    victim = leaders[0]
    history.add("fault", fault="kill", node=victim.number)
    victim.kill()
    survivors = cluster.others(victim)
    during = {p: cluster.wait_leader(topic, p, among=survivors) for p in range(PARTITIONS)}
    assert victim not in during.values()
    for node in survivors:
        eventually(lambda: {"node_down", "under_replicated"} <= kinds(node),
                   f"{node} says that {victim} is down")
        health = node.health()
        assert not health["healthy"] and "leaderless" not in kinds(node)
        assert [r["node"] for r in health["reasons"] if r["kind"] == "node_down"] == [
            victim.number
        ]
        missing = [r for r in health["reasons"] if r["kind"] == "under_replicated"
                   and r["topic"] == topic]
        assert sorted(r["partition"] for r in missing) == list(range(PARTITIONS))
        assert all(r["missing"] == [victim.number] for r in missing)
        members = {m["id"]: m["alive"] for m in node.members()["members"]}
        assert members == {n.number: n is not victim for n in cluster.nodes}
        assert node.metric("chronik_leaderless_partitions") == 0
    gained = sum(
        node.metric("raft_leader_elections_total", node_id=str(node.number)) - before[node]
        for node in survivors
    )
    assert gained >= sum(1 for leader in leaders.values() if leader is victim)
    second = ProducerLoad(cluster, history, topic, PARTITIONS).start()
    second.wait_acknowledged(50)
    second.finish()
    total += second.acknowledged

    victim.start().wait_ready()
    cluster.wait_healthy()
    after = {p: cluster.wait_leader(topic, p) for p in range(PARTITIONS)}
    cluster.wait_equal(topic, PARTITIONS)
    check_views(cluster, topic, after, total)


def check_views(cluster, topic, leaders, total):
    """All nodes say the same, and that is what is so."""
    for node in cluster.nodes:
        assert node.ask("/livez") == (200, "live\n")
        assert node.ask("/readyz") == (200, "ready\n")
        assert kinds(node) == set()
        partitions = node.partitions()
        for number, leader in leaders.items():
            found = partitions[topic, number]
            assert found["leader"] == leader.number
            assert sorted(found["replicas"]) == sorted(found["in_sync_replicas"]) == [1, 2, 3]
            assert found["leader_epoch"] >= 1
        led = sum(1 for p in partitions.values() if p["leader"] == node.number
                  and p["topic"] != METADATA)
        assert node.metric("chronik_leader_partitions") in (led, led + 1)
        assert all(member["alive"] for member in node.members()["members"])
        for number in leaders:
            lag = node.metric("raft_log_replication_lag_seconds", topic=topic,
                              partition=str(number)) if leaders[number] is node else 0
            assert 0 <= lag < 60
    held = sum(leader.partitions()[topic, number]["high_watermark"]
               for number, leader in leaders.items())
    assert held == total


def test_every_node_answers_a_transfer_with_what_came_of_it(cluster, history, topic):
    create_topic(cluster, history, topic, 1)
    leader = cluster.wait_leader(topic, 0)
    target, third = cluster.others(leader)
    status, body = leader.transfer(topic, 0, leader)
    assert (status, json.loads(body)["changed"]) == (200, False)
    # Asked of a node that has no part in it.
    status, body = third.transfer(topic, 0, target)
    assert status == 200, body
    assert (json.loads(body)["changed"], json.loads(body)["leader"]) == (True, target.number)
    assert cluster.wait_leader(topic, 0) is target
    assert leader.transfer("nowhere", 0, target)[0] == 404
    assert leader.ask(f"/admin/cluster/transfer-leader/{topic}/0/9", "POST")[0] == 409
    third.kill()
    eventually(lambda: target.transfer(topic, 0, third)[0] == 409, "a dead node cannot lead")
