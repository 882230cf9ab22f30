"""Results on their topic: each revision once, in order, and a lost database is seen."""

import uuid
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.codec import Codec, Ids
from schemas.topics import VERIFICATIONS
from sinks import judged
from streams import publications
from streams.relay import HistoryLost, Relay
from tests.sinks.inbound import PARTITIONS
from tests.streams.verification import told
from tests.streams.verification.cases import uid
from tests.streams.verification.told import Line
from tests.topics import make_topic

pytestmark = pytest.mark.stack

CODEC = Codec(Ids.in_order())


@pytest.fixture
def topic(stack, monkeypatch):
    """A topic of this test's own, under which results are numbered, too."""
    name = f"results-{uuid.uuid4().hex[:12]}"
    make_topic(stack.bootstrap_servers, name, PARTITIONS, {})
    monkeypatch.setattr(judged, "VERIFICATIONS", replace(VERIFICATIONS, name=name))
    return name


@pytest.fixture
def relay(store, stack, topic):
    """Makes a relay; each is another owner."""

    def make(owner="one"):
        plain = publications.verification_results(CODEC)
        return Relay(
            publication=replace(plain, source=replace(plain.source, topic=topic)),
            database=store.database, bootstrap_servers=stack.bootstrap_servers,
            partitions=PARTITIONS, owner=owner,
        )  # fmt: skip

    return make


def published(stack, topic):
    """The records of partition 0."""
    consumer = Consumer({"bootstrap.servers": stack.bootstrap_servers, "group.id": "test"})
    place = TopicPartition(topic, 0, 0)
    _, high = consumer.get_watermark_offsets(place, timeout=20)
    consumer.assign([place])
    messages = [consumer.poll(20) for _ in range(high)]
    consumer.close()
    return [(message.key(), CODEC.decode(message.value())[1]) for message in messages]


def test_each_revision_is_published_with_all_that_it_stands_on(store, stack, topic, relay):
    line = Line(store)
    line.tell(told.rule(), told.task())
    line.tell(told.evidence(reported="10:05"))
    one = relay()
    one._renew()
    assert one.round() == 2
    found = published(stack, topic)
    assert [key for key, _ in found] == [uid("t").encode()] * 2
    assert [(value["revision"], value["partition_seq"]) for _, value in found] == [(1, 1), (2, 2)]
    [first, second] = [value for _, value in found]
    assert (first["outcome"], second["outcome"]) == ("pending", "verified")
    assert [each["evidence_id"] for each in second["evidence"]] == [uid("e")]
    assert second["vector_clock"] == {"emr": 1}
    one._close()


def test_a_topic_that_is_ahead_of_the_database_is_history_lost(store, topic, relay):
    line = Line(store)
    line.tell(told.rule(), told.task())
    one = relay()
    one._renew()
    assert one.round() == 1
    one._close()
    store.run("UPDATE partitions SET next_seq = 1 WHERE topic = %s", topic)
    with pytest.raises(HistoryLost):
        relay("two")._renew()
