"""Topics whose batches more replicas must have than commit them."""

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource,
                                   NewTopic, ResourceType)

import record_batches
from cluster import eventually
from load import ProducerLoad, create_topic

NOT_ENOUGH_REPLICAS = 19
KEY = "min.insync.replicas"
SECONDS = 60


def set_least(cluster, topic, value):
    entry = ConfigEntry(KEY, str(value), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    (answer,) = admin.incremental_alter_configs([resource]).values()
    answer.result(SECONDS)


def test_all_three_replicas_are_asked_for(cluster, history, topic):
    create_topic(cluster, history, topic, 1)
    set_least(cluster, topic, 3)
    leader = cluster.wait_leader(topic, 0)
    away = cluster.others(leader)[1]
    raw = record_batches.encode(0, [b"x"], key=b"k")

    def produce(**settings):
        with cluster.wait_leader(topic, 0, among=cluster.up).reader() as reader:
            return reader.produce(topic, 0, raw, **settings)[0]

    assert produce() == 0
    away.kill()
    eventually(lambda: produce(timeout_ms=500) == NOT_ENOUGH_REPLICAS, "one is missed", SECONDS)
    # One disk is enough for this one.
    assert produce(acks=1) == 0
    away.start().wait_ready()
    eventually(lambda: produce(timeout_ms=500) == 0, "all are there again", SECONDS)
    set_least(cluster, topic, 2)
    away.kill()
    eventually(lambda: produce(timeout_ms=500) == 0, "a majority is enough again", SECONDS)


def test_a_load_goes_on_when_the_third_is_back(cluster, history, topic, verify):
    create_topic(cluster, history, topic, 3)
    set_least(cluster, topic, 3)
    load = ProducerLoad(cluster, history, topic, 3).start()
    load.wait_acknowledged(200)
    for node in cluster.nodes:
        node.kill()
        node.start().wait_ready()
        load.wait_acknowledged(200)
    total = load.finish()
    assert sum(cluster.wait_equal(topic, 3)) == total
    verify(cluster, topic, 3)


def test_more_than_there_are_is_refused(cluster, history, topic):
    create_topic(cluster, history, topic, 1, replicas=2)
    for value in (0, 3):
        with pytest.raises(KafkaException, match=KEY):
            set_least(cluster, topic, value)
    set_least(cluster, topic, 2)
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    name = topic + "-other"
    new = NewTopic(name, 1, 3, config={KEY: "4"})
    with pytest.raises(KafkaException, match="expected at most 3"):
        admin.create_topics([new])[name].result(SECONDS)


def test_every_topic_may_ask_for_all(cluster_factory, transport, history, topic):
    cluster = cluster_factory(transport=transport, options=["--set", f"{KEY}=3"]).start()
    cluster.wait_leader()
    create_topic(cluster, history, topic, 1)
    leader = cluster.wait_leader(topic, 0)
    raw = record_batches.encode(0, [b"x"], key=b"k")
    with leader.reader() as reader:
        eventually(lambda: reader.produce(topic, 0, raw)[0] == 0, "all have it")
        cluster.others(leader)[0].kill()
        eventually(lambda: reader.produce(topic, 0, raw, timeout_ms=500)[0] == NOT_ENOUGH_REPLICAS,
                   "one is missed", SECONDS)
