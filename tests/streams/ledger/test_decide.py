"""Drafts become events: each part's person for itself, every id apart from every other."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from schemas import identity, lookups, sealing
from schemas.feeds import Feed
from schemas.identity import Identifier
from schemas.sealing import Keys
from streams.ledger.decide import decide
from streams.ledger.identities import Person
from streams.ledger.mapping.facts import Claim, Draft, Facts, Part
from streams.ledger.mapping.times import Moment

TENANT, FEED_ID, MESSAGE = (UUID(int=number) for number in (1, 2, 3))
FEED = Feed(feed_id=FEED_ID, tenant_id=TENANT, name="north", authority="NORTH")
KEYS = Keys(
    tenant_id=TENANT,
    data={1: sealing.Key.of(bytes(32), version=1, scope=sealing.Scope.TENANT)},
    identity=bytes(range(32)),
    subjects={
        UUID(int=person): sealing.Subject(
            keys={1: sealing.Key.of(bytes([person]) * 32, version=1, scope=sealing.Scope.PERSON)}
        )
        for person in (0xA, 0xB)
    },
)
ROOK, FINCH = (Person(patients=(str(UUID(int=number)),)) for number in (0xA, 0xB))
AT = Moment(datetime(2026, 3, 2, 9, tzinfo=UTC), "minute", "202603020900")


def number(value):
    return Identifier(value=value, authority="NORTH")


def draft(event_type, *, role="visit", data=(), clear=(), **settings):
    return Draft(
        event_type=event_type, stream_type=event_type.partition(".")[0], occurred=AT,
        occurred_field="EVN-2", role=role, clear=dict(clear),
        data={"trigger": "A17", "reported_at": AT.micros, **dict(data)}, **settings,
    )  # fmt: skip


def part(ordinal=0, *, visit="V1", more=()):
    drafts = (
        draft("patient.updated", role="patient", ordinal=ordinal, clear={"demographics": {}}),
        draft("admission.location_changed", ordinal=ordinal, clear={"visit_number": visit}),
        *more,
    )
    claim = Claim(identifiers=(number(f"P{ordinal}"),), visit=number(visit))
    return Part(claim=claim, drafts=drafts)


def decided(people, *parts):
    facts = Facts(message_type="ADT^A17", trigger="A17", control_id="77", parts=parts)
    message = {
        "message_id": str(MESSAGE), "tenant_id": str(TENANT), "feed_id": str(FEED_ID),
        "trace": None,
    }  # fmt: skip
    return decide(facts, people, message, feed=FEED, keys=KEYS, mapper_version=2)


def admission(value):
    return str(identity.admission(KEYS.identity, number(value)))


def test_t18_each_part_is_about_its_own_person_and_visit():
    rows = decided([ROOK, FINCH], part(0, visit="V1"), part(1, visit="V2"))
    assert [row["person_id"] for row in rows] == [ROOK.patient_id] * 2 + [FINCH.patient_id] * 2
    visits = [row for row in rows if row["stream_type"] == "admission"]
    assert [row["stream_id"] for row in visits] == [admission("V1"), admission("V2")]
    assert [row["data"]["patient_id"] for row in visits] == [ROOK.patient_id, FINCH.patient_id]
    assert len({row["event_id"] for row in rows}) == len(rows)


def test_t18_a_conflict_in_one_part_is_a_conflict_of_that_part_alone():
    several = Person(patients=(ROOK.patient_id, FINCH.patient_id))
    rows = decided([ROOK, several], part(0), part(1, visit="V2"))
    assert [row["event_type"] for row in rows] == [
        "patient.updated", "admission.location_changed", "identity.conflict",
    ]  # fmt: skip
    assert rows[2]["data"]["patients"] == list(several.patients)
    both = decided([several, several], part(0), part(1, visit="V2"))
    assert len({row["event_id"] for row in both}) == 2


def test_t23_a_movement_is_a_keyed_id():
    moved = draft("admission.location_changed", role="move", movement=number("M1"))
    row = decided([ROOK], part(more=[moved]))[-1]
    assert row["data"]["movement_id"] == str(identity.movement(KEYS.identity, number("M1")))
    assert row["data"]["movement_id"] not in {admission("M1"), ROOK.patient_id}


def test_m5_a_draft_of_another_visit_belongs_to_that_visits_stream():
    joined = draft("admission.joined", role="visit.1", visit=number("V0"))
    row = decided([ROOK], part(visit="V1", more=[joined]))[-1]
    assert row["stream_id"] == admission("V0")
    assert row["data"]["into_admission_id"] == admission("V1")


def test_every_part_has_its_person():
    with pytest.raises(ValueError, match="shorter"):
        decided([ROOK], part(0), part(1))


def test_tokens_are_made_where_demographics_are_sealed_and_for_whom_they_are():
    said = {"names": [{"family": "Rook"}], "birth_date": "1970-01-31"}
    parts = [
        Part(
            claim=Claim(identifiers=(number(f"P{ordinal}"),), visit=None),
            drafts=(draft("patient.updated", ordinal=ordinal, clear={"demographics": said}),),
        )
        for ordinal in range(2)
    ]
    rook, finch = (row["data"]["tokens"] for row in decided([ROOK, FINCH], *parts))
    assert rook == lookups.tokens(KEYS.identity, said, UUID(ROOK.patient_id))
    shared = {*lookups.named(KEYS.identity, "rook"), *lookups.born(KEYS.identity, "1970-01-31")}
    assert shared <= set(rook) & set(finch)
    assert rook != finch, "what fills up is each one's own"
    assert [row["data"].get("tokens") for row in decided([ROOK], part())] == [[], None]
