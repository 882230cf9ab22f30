"""Topics that tests make for themselves."""

import time
from collections.abc import Mapping

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from schemas.topics import ERASURES, Topic

LED_SECONDS = 20.0
PARTITIONS = 4


def make_erasures(bootstrap_servers: str, *beside: Topic) -> None:
    """The log of erasures, unless it is there: whatever opens something reads it first."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    there = admin.list_topics(timeout=LED_SECONDS).topics
    for topic in (ERASURES, *beside):
        if topic.name not in there:
            make_topic(
                bootstrap_servers, topic.name, PARTITIONS,
                {"retention.ms": str(topic.retention_ms), "max.message.bytes": "9000000"},
            )  # fmt: skip


def make_topic(
    bootstrap_servers: str, name: str, partitions: int, config: Mapping[str, str] | None = None
) -> None:
    """Create a topic, and wait until each partition has a broker that answers for it.

    A broker says that a topic is made before it leads its partitions.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    new = NewTopic(name, partitions, 1, config=dict(config or {}))
    admin.create_topics([new])[name].result(LED_SECONDS)
    wanted = {TopicPartition(name, number): OffsetSpec.latest() for number in range(partitions)}
    deadline = time.monotonic() + LED_SECONDS
    while True:
        try:
            for found in admin.list_offsets(wanted).values():
                found.result(LED_SECONDS)
        except KafkaException:
            assert time.monotonic() < deadline, f"no broker leads the topic: {name}"
            time.sleep(0.05)
        else:
            return
