"""Admissions: each visit as it is now known, in document 000's fields."""

from collections.abc import Iterator, Sequence
from itertools import dropwhile
from typing import Any

from schemas import sealing
from schemas.clock import instant
from schemas.events import Event
from schemas.place import Place
from sinks.changes import Change, Put
from sinks.projection import Load, Projection, Rows
from sinks.tables import admission_read_models
from streams.read_models import newest
from streams.read_models.newest import Details
from streams.trajectory.facts import CANCELLED, DISCHARGED, KINDS, PATH_KINDS, UPDATED, Fact, iso
from streams.trajectory.path import path

_DETAILS = ("patient_id", "patient_class", "attending_id", "admission_type", "hospital_service")


def fold(events: Sequence[Event], rows: Rows) -> list[Change]:
    """Fold a visit's new events into its one row.

    Column ``facts`` keeps what the row is made of: ``path``, the facts of the path, and
    ``details``, the newest value of each detail. An update alone makes no row (rule I6); its
    details come again with the next snapshot.
    """
    loaded = rows[admission_read_models.name]
    if loaded:
        kept, created = loaded[0]["facts"], loaded[0]["created_at"]
        facts = [Fact.of_json(fact) for fact in kept["path"]]
        details: Details = dict(kept["details"])
    else:
        events = list(dropwhile(_updates, events))
        if not events:
            return []
        facts, details, created = [], {}, instant(events[0]["recorded_at"])
    for event in events:
        if event["event_type"] in PATH_KINDS:
            facts.append(Fact.of_event(event))
        newest.keep(details, event, _said(event))
    last = events[-1]
    return [
        Put(
            admission_read_models,
            {
                "id": last["stream_id"],
                "tenant_id": last["tenant_id"],
                "patient_id": newest.value(details, "patient_id"),
                "data": _data(last["stream_id"], facts, details),
                "facts": {"path": [fact.to_json() for fact in facts], "details": details},
                "created_at": created,
                "updated_at": instant(last["recorded_at"]),
                "partition": last["partition"],
                "partition_seq": last["partition_seq"],
            },
        )
    ]


def _updates(event: Event) -> bool:
    return event["event_type"] == UPDATED


def _said(event: Event) -> Iterator[tuple[str, Any]]:
    data = event["data"]
    for name in _DETAILS:
        yield name, data.get(name)
    number = event["sealed"].get("visit_number")
    yield "visit_number", None if number is None else sealing.text(number)


def _data(admission_id: str, facts: Sequence[Fact], details: Details) -> dict[str, Any]:
    found = path(facts)
    current = found.current
    place = Place.parse(current.place) if current is not None else None
    return {
        "admission_id": admission_id,
        "patient_id": newest.value(details, "patient_id"),
        "visit_number": newest.value(details, "visit_number"),
        "specialty": newest.value(details, "hospital_service"),
        "attending_id": newest.value(details, "attending_id"),
        "admission_type": newest.value(details, "admission_type"),
        "patient_class": newest.value(details, "patient_class"),
        "status": found.status or _unvisited(facts),
        "admit_date": iso(found.admitted_at),
        "discharge_date": iso(found.discharged_at),
        "current_location": current.place if current is not None else None,
        "current_bed": (place.bed or None) if place is not None else None,
        "unresolved": sorted(found.unresolved),
    }


def _unvisited(facts: Sequence[Fact]) -> str:
    """The status of a visit of which only its end or a cancellation is known so far."""
    kinds = {fact.kind for fact in facts}
    if CANCELLED in kinds:
        return "cancelled"
    return "discharged" if DISCHARGED in kinds else "active"


PROJECTION = Projection(
    name="admissions",
    reads=KINDS,
    owns=(admission_read_models,),
    loads=(Load(table=admission_read_models, by="id"),),
    fold=fold,
)
