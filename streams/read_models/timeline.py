"""The timeline: one line per admission event, in words that name nobody."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.clock import instant
from schemas.events import Event
from sinks.changes import Append, Change
from sinks.projection import Projection, Rows
from sinks.tables import timeline_events
from streams.trajectory.facts import (
    CANCELLED,
    CREATED,
    DISCHARGE_CANCELLED,
    DISCHARGED,
    MOVE_CANCELLED,
    MOVED,
    UPDATED,
    iso,
)

_TITLES: Mapping[str, str] = {
    CREATED: "Admitted",
    MOVED: "Moved",
    DISCHARGED: "Discharged",
    UPDATED: "Details updated",
    CANCELLED: "Admission cancelled",
    MOVE_CANCELLED: "Move cancelled",
    DISCHARGE_CANCELLED: "Discharge cancelled",
}
_DETAILS = ("trigger", "place", "prior_place", "patient_class", "attending_id",
            "admission_type", "hospital_service")  # fmt: skip


def fold(events: Sequence[Event], rows: Rows) -> list[Change]:  # noqa: ARG001  loads nothing
    """One row per event, as it was reported: what was taken back stays on the line."""
    return [Append(timeline_events, _row(event)) for event in events]


def _row(event: Event) -> dict[str, Any]:
    return {
        "id": event["event_id"],
        "tenant_id": event["tenant_id"],
        "admission_id": event["stream_id"],
        "event_type": event["event_type"],
        "occurred_at": instant(event["occurred_at"]),
        "data": _line(event),
        "partition": event["partition"],
        "partition_seq": event["partition_seq"],
    }


def _line(event: Event) -> dict[str, Any]:
    data = event["data"]
    reported = data["reported_at"]
    kind = event["event_type"]
    registered = kind == CREATED and data["trigger"] == "A04"
    return {
        "title": "Registered" if registered else _TITLES[kind],
        "description": _description(kind, data),
        "details": {
            **{name: data[name] for name in _DETAILS if data.get(name) is not None},
            "patient_id": data["patient_id"],
            "reported_at": None if reported is None else iso(instant(reported)),
            "recorded_at": iso(instant(event["recorded_at"])),
            "occurred_field": event["occurred_field"],
            "occurred_precision": event["occurred_precision"],
        },
    }


def _description(kind: str, data: Mapping[str, Any]) -> str:
    """Where to, where from: places as they were sent, and nothing of the patient."""
    place, prior = data["place"], data["prior_place"]
    there = "a place not known" if place == "" else place
    if kind == MOVED:
        return " ".join(filter(None, (prior and f"from {prior}", there and f"to {there}")))
    if kind == MOVE_CANCELLED:
        return " ".join(filter(None, (prior and f"not to {prior}", there and f"again at {there}")))
    if there is None:
        return ""
    return f"from {there}" if kind == DISCHARGED else f"at {there}"


PROJECTION = Projection(
    name="timeline",
    reads=frozenset(_TITLES),
    owns=(timeline_events,),
    loads=(),
    fold=fold,
)
