"""Rows of trajectories for tests that ask questions of them."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from schemas.place import Place
from tests.sinks.provisioned import FEED, OURS, Store

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
PARTS = ("facility", "building", "floor", "point_of_care", "room", "bed")


def hour(number: float) -> datetime:
    return START + number * HOUR


def visit(number: int) -> uuid.UUID:
    return uuid.UUID(int=0x1000 + number)


def person(number: int) -> uuid.UUID:
    return uuid.UUID(int=0x2000 + number)


def insert(store: Store, table: str, **row: Any) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    places = ", ".join(["%s"] * len(row))
    values = [Jsonb(value) if isinstance(value, dict) else value for value in row.values()]
    store.run(f"INSERT INTO {table} ({names}) VALUES ({places})", *values)


def stay(
    store: Store, number: int, place: str, start: float, end: float | None = None, **changed: Any
) -> uuid.UUID:
    """A current census stay of visit and patient `number`, in hours; returns its event's id."""
    parsed = Place.parse(place)
    row = {
        "id": uuid.uuid4(), "point_id": uuid.uuid4(), "tenant_id": OURS,
        "admission_id": visit(number), "patient_id": person(number), "track": "census",
        "location": place, **{name: getattr(parsed, name) for name in PARTS},
        "effective_at": hour(start), "ended_at": None if end is None else hour(end),
        "known_from": hour(start), "known_to": None, "retracted_at": None,
        "start_inferred": False, "end_inferred": False, "start_field": "EVN-6",
        "reported_at": hour(start), "start_event_id": uuid.uuid4(), "fold_version": 1,
        "partition": 0, "partition_seq": 1, "data": {}, **changed,
    }  # fmt: skip
    insert(store, "trajectory_points", **row)
    return row["start_event_id"]


def fact(store: Store, number: int, kind: str, at: float, **changed: Any) -> uuid.UUID:
    """A fact of visit `number`, recorded when it happened; returns its event's id."""
    row = {
        "event_id": uuid.uuid4(), "tenant_id": OURS, "admission_id": visit(number),
        "patient_id": person(number), "feed_id": FEED, "message_id": uuid.uuid4(),
        "event_type": f"admission.{kind}", "effective_at": hour(at), "effective_field": "EVN-6",
        "reported_at": hour(at), "recorded_at": hour(at), "place": None, "prior_place": None,
        "movement_historic": False, "partition": 0, "partition_seq": 1, **changed,
    }  # fmt: skip
    insert(store, "trajectory_facts", **row)
    return row["event_id"]


def alias(store: Store, number: int, into: int, known: float, **changed: Any) -> None:
    """Patient `number` is patient `into` from hour `known` on."""
    row = {
        "tenant_id": OURS, "patient_id": person(number), "into_patient_id": person(into),
        "event_id": uuid.uuid4(), "kind": "merge", "recorded_at": hour(known),
        "undone_at": None, **changed,
    }  # fmt: skip
    insert(store, "patient_aliases", **row)


def joined(store: Store, number: int, into: int, known: float, **changed: Any) -> None:
    """Visit `number` goes on as visit `into` from hour `known` on."""
    row = {
        "tenant_id": OURS, "admission_id": visit(number), "into_admission_id": visit(into),
        "event_id": uuid.uuid4(), "recorded_at": hour(known), **changed,
    }  # fmt: skip
    insert(store, "admission_aliases", **row)
