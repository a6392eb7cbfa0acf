"""What the cluster knows of itself survives what happens to its nodes."""

import random

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from cluster import eventually, say
from load import create_topic, list_topics, setting

# 2,000 take a few minutes.
TOPICS = setting("CHRONIK_CLUSTER_TOPICS", 200)
BATCH = max(20, TOPICS // 20)
SECONDS = 60
# Of one attempt to create topics.
ATTEMPT = 5


class Only:
    def __init__(self, node):
        self.bootstrap = node.address


def retention(name):
    """A configuration that no other topic of a test has."""
    return str(10**9 + int(name.rsplit("-", 1)[1]))


def image(node, names):
    """What a node has of topics, apart from who leads: ids, replicas and configuration."""
    client = AdminClient({"bootstrap.servers": node.address, "log_level": 0})
    known = {}
    for begin in range(0, len(names), 500):
        some = names[begin : begin + 500]
        described = client.describe_topics(TopicCollection(some), request_timeout=SECONDS)
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in some]
        configs = client.describe_configs(resources, request_timeout=SECONDS)
        for name, resource in zip(some, resources):
            topic = described[name].result(SECONDS)
            known[name] = (
                str(topic.topic_id),
                [[replica.id for replica in partition.replicas] for partition in topic.partitions],
                configs[resource].result(SECONDS)["retention.ms"].value,
            )
    return known


def create_batch(cluster, history, names):
    """Asks for these topics until each is there; an answer that was lost is no error.

    A client for each attempt: this library's keeps to the controller it knew, and does not ask who
    came after it.
    """
    missing = list(names)

    def created():
        client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
        new = [NewTopic(name, 1, 3, config={"retention.ms": retention(name)}) for name in missing]
        futures = client.create_topics(new, operation_timeout=ATTEMPT, request_timeout=ATTEMPT)
        for name, future in futures.items():
            try:
                future.result(2 * ATTEMPT)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    history.add("create_topic", event="unknown", topic=name, partitions=1)
                    continue
            history.add("create_topic", event="ok", topic=name, partitions=1)
            missing.remove(name)
        return not missing

    eventually(created, f"topics {missing[0]} and on are created", SECONDS)


def test_topics_created_while_nodes_restart_are_all_there(cluster, history, topic, verify):
    seed = setting("CHRONIK_SEED", random.randrange(2**32))
    say(f"CHRONIK_SEED={seed}")
    rng = random.Random(seed)
    names = [f"{topic}-{number}" for number in range(TOPICS)]
    for number, begin in enumerate(range(0, TOPICS, BATCH)):
        victim = rng.choice(cluster.nodes)
        if number % 2:
            history.add("fault", fault="kill", node=victim.number)
            victim.kill()
        else:
            history.add("fault", fault="restart", node=victim.number)
            victim.signal(15)
        create_batch(cluster, history, names[begin : begin + BATCH])
        victim.wait_exit()
        victim.start().wait_ready()
    cluster.wait_healthy(120)
    for node in cluster.nodes:
        found = list_topics(Only(node))
        history.add("topics", node=node.number, topics=found)
        assert not set(names) - found.keys(), f"{node} lacks topics"
    # Every node's image says the same of every topic, and so it does once they have all crashed and
    # read their logs again.
    before = [image(node, names) for node in cluster.nodes]
    assert {name: known[2] for name, known in before[0].items()} == {
        name: retention(name) for name in names
    }
    assert before[0] == before[1] == before[2]
    cluster.kill_all()
    cluster.start()
    cluster.wait_healthy(120)
    assert [image(node, names) for node in cluster.nodes] == before
    create_topic(cluster, history, topic, 1)
    verify(cluster, topic, 1)


def test_a_new_topic_can_be_used_at_once_through_any_node(cluster, history, topic):
    """No client has to handle an error for having been too quick."""
    errors = []
    producers = {
        node: Producer({"bootstrap.servers": node.address, "acks": "all", "log_level": 0,
                        "error_cb": lambda error: errors.append(str(error))})
        for node in cluster.nodes
    }
    for producer in producers.values():
        producer.list_topics(timeout=SECONDS)
    delivered = []
    for number in range(10):
        for maker in cluster.nodes:
            name = f"{topic}-{number}-by-{maker.number}"
            create_topic(Only(maker), history, name, 3)
            for producer in producers.values():
                producer.produce(name, b"at once", on_delivery=lambda e, m: delivered.append(e))
            for producer in producers.values():
                assert producer.flush(SECONDS) == 0, name
    assert delivered == [None] * 90
    assert errors == []


def test_metadata_written_at_any_node_is_known_to_all(cluster, history, topic):
    for node in cluster.nodes:
        create_topic(Only(node), history, f"{topic}-by-{node.number}", 2)
    for node in cluster.nodes:
        eventually(lambda: all(f"{topic}-by-{n}" in list_topics(Only(node)) for n in (1, 2, 3)),
                   f"{node} knows all topics")


def test_metadata_survives_a_power_cut(cluster, history, topic):
    create_topic(cluster, history, topic, 5, config={"retention.ms": "123456789"})
    client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    before = cluster.node(1).metadata().cluster_id
    cluster.kill_all()
    cluster.start()
    cluster.wait_leader()
    for node in cluster.nodes:
        assert list_topics(Only(node))[topic] == 5
        assert node.metadata().cluster_id == before
    resource = ConfigResource(ResourceType.TOPIC, topic)
    config = client.describe_configs([resource])[resource].result(SECONDS)
    assert config["retention.ms"].value == "123456789"


def test_a_deleted_topic_stays_deleted_and_leaves_no_files(cluster, history, topic):
    create_topic(cluster, history, topic, 3)
    client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
    away = cluster.others(cluster.wait_leader())[0]
    away.kill()
    client.delete_topics([topic], operation_timeout=SECONDS)[topic].result(SECONDS)
    away.start().wait_ready()
    for node in cluster.nodes:
        eventually(lambda: topic not in list_topics(Only(node)), f"{node} knows of the deletion")
        eventually(lambda: not list(node.data_dir.glob(f"topics/{topic}-*")),
                   f"{node} has deleted the files")


@pytest.mark.parametrize("replicas", [4])
def test_more_replicas_than_nodes_are_refused(cluster, history, topic, replicas):
    with pytest.raises(KafkaException) as refused:
        create_topic(cluster, history, topic, 1, replicas)
    assert refused.value.args[0].code() == KafkaError.INVALID_REPLICATION_FACTOR
