"""From drafts to events that lack only their numbers: ids made, people named, PHI sealed. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from schemas import events, identity, sealing
from schemas.feeds import Feed
from schemas.sealing import Keys
from streams.ledger.identities import Person
from streams.ledger.mapping.facts import Draft, Facts

Message = Mapping[str, Any]  # the record wardtrail.raw.Hl7v2Message
EventRow = dict[str, Any]


def decide(
    facts: Facts, person: Person, message: Message, *, feed: Feed, keys: Keys, mapper_version: int
) -> list[EventRow]:
    """The rows of ``events`` that a message becomes, without version, partition and times."""
    if person.conflict:
        drafts: Sequence[Draft] = [_conflict(facts, person)]
    else:
        drafts = facts.drafts
    visit = facts.claim.visit
    admission = None if visit is None else str(identity.admission(keys.identity, visit))
    return [
        _event(
            draft,
            message,
            stream_id=person.patient_id if draft.stream_type == "patient" else str(admission),
            person=person,
            feed=feed,
            keys=keys,
            mapper_version=mapper_version,
        )
        for draft in drafts
    ]


def _event(
    draft: Draft,
    message: Message,
    *,
    stream_id: str,
    person: Person,
    feed: Feed,
    keys: Keys,
    mapper_version: int,
) -> EventRow:
    declared = events.TYPES[draft.event_type]
    assert declared.stream_type == draft.stream_type, f"a draft of no stream: {draft.event_type}"
    event_id = identity.event(
        UUID(message["message_id"]), draft.event_type, draft.ordinal, draft.role
    )
    return {
        "event_id": event_id,
        "stream_id": stream_id,
        "stream_type": declared.stream_type,
        "event_type": declared.name,
        "schema_version": declared.schema_version,
        "tenant_id": message["tenant_id"],
        "feed_id": message["feed_id"],
        "message_id": message["message_id"],
        "person_id": person.patient_id,
        "occurred_at": draft.occurred.at,
        "occurred_precision": draft.occurred.precision,
        "occurred_field": draft.occurred_field,
        "occurred_text": draft.occurred.text,
        "data": _data(draft, person, feed, keys),
        "sealed": _sealed(draft.clear, UUID(person.patient_id), event_id, keys),
        "metadata": {
            "correlation_id": message["message_id"],
            "causation_id": message["message_id"],
            "mapper_version": mapper_version,
            "trace": message["trace"],
        },
        "created_by": message["feed_id"],
    }


def _data(draft: Draft, person: Person, feed: Feed, keys: Keys) -> dict[str, Any]:
    data = dict(draft.data)
    if draft.stream_type == "admission":
        data["patient_id"] = person.patient_id
    if draft.attending is not None:
        authority = draft.attending.authority or feed.authority
        data["attending_id"] = str(identity.staff(keys.identity, authority, draft.attending.value))
    return data


def _sealed(clear: Mapping[str, Any], person: UUID, event_id: UUID, keys: Keys) -> dict[str, str]:
    return {
        field: sealing.text(
            keys.seal(orjson.dumps(value), person=person, record=event_id, field=field)
        )
        for field, value in clear.items()
    }


def _conflict(facts: Facts, person: Person) -> Draft:
    first = facts.drafts[0]
    return Draft(
        event_type="identity.conflict",
        stream_type="patient",
        occurred=first.occurred,
        occurred_field=first.occurred_field,
        data={
            "trigger": facts.trigger,
            "reported_at": first.data["reported_at"],
            "patients": list(person.patients),
        },
        clear={},
        role="conflict",
    )
