"""What the cluster knows of itself survives what happens to its nodes."""

import random

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from cluster import eventually, say
from load import create_topic, list_topics, setting

TOPICS = setting("CHRONIK_CLUSTER_TOPICS", 200)
BATCH = 20
SECONDS = 60
# Of one attempt to create topics.
ATTEMPT = 5


class Only:
    def __init__(self, node):
        self.bootstrap = node.address


def create_batch(cluster, history, names):
    """Asks for these topics until each is there; an answer that was lost is no error.

    A client for each attempt: this library's keeps to the controller it knew, and does not ask who
    came after it.
    """
    missing = list(names)

    def created():
        client = AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
        futures = client.create_topics([NewTopic(name, 1, 3) for name in missing],
                                       operation_timeout=ATTEMPT, request_timeout=ATTEMPT)
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
    # Every node's image says the same of every partition.
    images = [
        {place: known for place, known in node.metadata().partitions.items() if place[0] in names}
        for node in cluster.nodes
    ]
    assert len(images[0]) == TOPICS
    assert images[0] == images[1] == images[2]
    create_topic(cluster, history, topic, 1)
    verify(cluster, topic, 1)


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
