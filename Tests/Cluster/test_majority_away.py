"""A topic whose majority is gone is its own trouble, and nobody else's."""

from confluent_kafka.admin import AdminClient, NewTopic

import record_batches
from cluster import eventually
from load import ProducerLoad, create_topic

REQUEST_TIMED_OUT = 7
LOG = 8 << 20


def test_a_topic_without_a_majority_does_not_fill_the_log(cluster_factory, history, topic):
    cluster = cluster_factory(options=[
        "--set", f"wal.total.bytes={LOG}", "--set", "wal.file.bytes=1MiB",
        "--set", "log.segment.bytes=4MiB",
    ]).start()
    cluster.wait_leader()
    pair = f"{topic}-pair"
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    made = NewTopic(pair, num_partitions=1, replica_assignment=[[1, 2]])
    admin.create_topics([made])[pair].result(30)
    node = cluster.wait_leader(pair, 0)
    (away,) = cluster.others(node, cluster.node(3))

    raw = record_batches.encode(0, [b"x"], key=b"k")
    away.pause()
    with node.reader() as reader:
        # It is in the leader's log, and nobody is there to commit it.
        assert reader.produce(pair, 0, raw, timeout_ms=100)[0] == REQUEST_TIMED_OUT
    away.kill()

    create_topic(cluster, history, topic, 1)
    eventually(lambda: node.transfer(topic, 0, node)[0] == 200 and
               cluster.wait_leader(topic, 0) is node, "who has the entry leads")
    load = ProducerLoad(cluster, history, topic, 1, rate=1_000, sizes=(20_000,)).start()
    load.wait_acknowledged(3 * LOG // 20_000, seconds=90)
    load.finish()
    # Files are given back long before that; followers' logs would go beyond it.
    assert node.metric("chronik_wal_live_bytes") <= LOG

    away.start().wait_ready()

    def produces():
        with cluster.wait_leader(pair, 0).reader() as reader:
            return reader.produce(pair, 0, raw)[0] == 0

    eventually(produces, "the topic has its majority again")
