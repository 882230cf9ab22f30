"""The declarations of topics, event types and feeds, quantified over each."""

import dataclasses
import re
from uuid import UUID

import pytest

from schemas import commands, events, topics
from schemas.feeds import Feed

TOPICS = topics.TOPICS.values()
TOLD = {"patient", "admission", "evidence"}  # of what is told by feeds; the others are asked for
ASKED = {declared.stream_type for declared in commands.TYPES.values()}


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topics_name_ends_in_its_version(topic):
    assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.v[1-9][0-9]*", topic.name)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_every_topic_has_records_a_key_an_owner_and_bounds(topic):
    assert topic.records
    assert topic.key
    assert topic.owner
    assert topic.owner not in topic.consumers
    assert topic.retention_ms == topics.FOREVER_MS or topic.retention_ms >= topics.DAY_MS
    assert topic.by_record or len(topic.records) == 1


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_no_topic_is_compacted(topic):
    assert topic.cleanup_policy == "delete"


def test_no_record_is_carried_by_two_topics():
    records = [record for topic in TOPICS for record in topic.records]
    assert len(records) == len(set(records))


def test_subjects_are_by_record_only_where_one_topic_carries_many():
    assert topics.EVENTS.subject("a.B") == "clinical.events.v1-a.B"
    assert topics.HL7V2.subject("a.B") == "emr.hl7v2.v1-value"


STREAMS = {
    "admission",
    "appointment",
    "department",
    "dispense",
    "document",
    "evidence",
    "financial",
    "flightplan",
    "handover",
    "order",
    "participation",
    "patient",
    "problem",
    "shift",
    "task",
    "user",
    "verification",
    "verification_rule",
}


@pytest.mark.parametrize("kind", events.TYPES.values(), ids=lambda kind: kind.name)
def test_every_event_type_is_named_after_a_thing_and_what_happened_to_it(kind):
    assert events.TYPES[kind.name] is kind
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", kind.name)
    assert kind.stream_type in STREAMS
    words = re.split(r"[._]", kind.name)
    assert kind.record == "".join(word.capitalize() for word in words)
    assert kind.schema_version >= 1


def test_no_two_event_types_share_a_record():
    records = [kind.record for kind in events.TYPES.values()]
    assert len(records) == len(set(records))


@pytest.mark.parametrize("kind", events.TYPES.values(), ids=lambda kind: kind.name)
def test_every_sealed_fields_name_fits_an_envelope(kind):
    assert all(0 < len(name.encode()) <= 64 for name in kind.sealed)


def test_a_feed_takes_production_messages_only_unless_told_otherwise():
    feed = Feed(feed_id=UUID(int=1), tenant_id=UUID(int=2), name="ward")
    assert feed.processing_ids == {"P"}
    assert feed.zone.key == "UTC"
    assert feed.active


def test_a_feed_never_changes():
    feed = Feed(feed_id=UUID(int=1), tenant_id=UUID(int=2), name="ward")
    with pytest.raises(dataclasses.FrozenInstanceError):
        feed.name = "other"
