"""Admissions: each visit as it is now known, in document 000's fields."""

from collections.abc import Iterator, Sequence
from typing import Any

from schemas import sealing
from schemas.clock import instant
from schemas.events import Event, standing
from schemas.place import Place
from sinks.changes import Change, Put, Remove, Row
from sinks.projection import Load, Projection, Rows
from sinks.tables import admission_facts, admission_read_models
from streams.read_models import newest
from streams.read_models.newest import Details
from streams.trajectory.facts import JOINED, PATH_KINDS, PATIENT_CHANGED, READS, Fact, iso
from streams.trajectory.path import Path, path

_DETAILS = ("patient_id", "patient_class", "attending_id", "admission_type", "hospital_service")


_NOTHING: Row = {"facts": {"path": [], "details": {}}, "created_at": None}


def fold(events: Sequence[Event], rows: Rows) -> list[Change]:
    """Fold a visit's new events into what is known of it, and into its one row.

    ``admission_facts`` keeps what the row is made of: ``path``, the facts of the path, and
    ``details``, the newest value of each detail. The row is made once a fact makes it a visit:
    updates and cancellations that come first only wait there (rule I6).
    """
    kept: Row = next(iter(rows[admission_facts.name]), _NOTHING)
    facts = [Fact.of_json(fact) for fact in kept["facts"]["path"]]
    details: Details = dict(kept["facts"]["details"])
    counting = standing(events)
    for event in counting:
        if event["event_type"] in PATH_KINDS:
            facts.append(Fact.of_event(event))
        newest.keep(details, event, _said(event))
    last = events[-1]
    found = path(facts)
    gone: list[Change] = []
    if found.status is None and len(counting) < len(events):
        gone.append(Remove(admission_read_models, {"id": last["stream_id"]}))
    if not (kept["created_at"] or counting):
        return gone
    stands = {
        "id": last["stream_id"],
        "tenant_id": last["tenant_id"],
        "created_at": kept["created_at"] or instant(counting[0]["recorded_at"]),
        "partition": last["partition"],
        "partition_seq": last["partition_seq"],
    }
    known = {"path": [fact.to_json() for fact in facts], "details": details}
    changes: list[Change] = [Put(admission_facts, {**stands, "facts": known}), *gone]
    if found.status is not None:
        row = {
            **stands,
            "patient_id": _patient(details),
            "data": _data(last["stream_id"], found, details),
            "updated_at": instant(last["recorded_at"]),
        }
        changes.append(Put(admission_read_models, row))
    return changes


def _said(event: Event) -> Iterator[tuple[str, Any]]:
    data = event["data"]
    for name in _DETAILS:
        yield name, data.get(name)
    if event["event_type"] == PATIENT_CHANGED:
        yield "owner_id", data["patient_id"]
    if event["event_type"] == JOINED:
        yield "joined_into", data["into_admission_id"]
    number = event["sealed"].get("visit_number")
    yield "visit_number", None if number is None else sealing.text(number)


def _patient(details: Details) -> Any:  # noqa: ANN401  any JSON value
    """Whose visit it became (rule M5), else the one that the newest event names."""
    return newest.value(details, "owner_id") or newest.value(details, "patient_id")


def _data(admission_id: str, found: Path, details: Details) -> dict[str, Any]:
    current = found.current
    place = Place.parse(current.place) if current is not None else None
    return {
        "admission_id": admission_id,
        "patient_id": _patient(details),
        "visit_number": newest.value(details, "visit_number"),
        "specialty": newest.value(details, "hospital_service"),
        "attending_id": newest.value(details, "attending_id"),
        "admission_type": newest.value(details, "admission_type"),
        "patient_class": newest.value(details, "patient_class"),
        "status": found.status,
        "admit_date": iso(found.admitted_at),
        "discharge_date": iso(found.discharged_at),
        "current_location": current.place if current is not None else None,
        "current_bed": (place.bed or None) if place is not None else None,
        "unresolved": sorted(found.unresolved),
        **({"joined_into": details["joined_into"][3]} if "joined_into" in details else {}),
    }


PROJECTION = Projection(
    name="admissions",
    reads=READS,
    owns=(admission_read_models, admission_facts),
    loads=(Load(table=admission_facts, by="id"),),
    fold=fold,
    fold_version=3,
    unknown="park",  # a row is the whole of a visit
    again=frozenset({"admission"}),
)
