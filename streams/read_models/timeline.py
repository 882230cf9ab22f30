"""The timeline: a line per event of an admission or its flight plan, in words naming nobody."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas import sealing
from schemas.clock import instant, iso
from schemas.events import Event
from sinks.changes import Append, Change, Remove
from sinks.projection import Projection, Rows
from sinks.tables import timeline_events
from streams.trajectory.encounters import OCCUPIED
from streams.trajectory.facts import (
    ARRIVAL_CANCELLED,
    ARRIVED,
    CANCELLED,
    CLASS_CHANGED,
    CREATED,
    DELETED,
    DEPARTED,
    DEPARTURE_CANCELLED,
    DISCHARGE_CANCELLED,
    DISCHARGED,
    ENCOUNTER_STATED,
    JOINED,
    LEAVE_CANCELLED,
    LEAVE_ENDED,
    LEAVE_STARTED,
    MOVE_CANCELLED,
    MOVED,
    MOVEMENT_UPDATED,
    MOVES,
    PATIENT_CHANGED,
    PLAN_CANCELLED,
    PLANNED,
    RETURN_CANCELLED,
    SUPERSEDED,
    UPDATED,
)

_TITLES: Mapping[str, str] = {
    CREATED: "Admitted",
    MOVED: "Moved",
    CLASS_CHANGED: "Class changed",
    DISCHARGED: "Discharged",
    DEPARTED: "Left the bed for a while",
    ARRIVED: "Arrived",
    LEAVE_STARTED: "On leave",
    LEAVE_ENDED: "Back from leave",
    PLANNED: "Planned",
    UPDATED: "Details updated",
    CANCELLED: "Admission cancelled",
    MOVE_CANCELLED: "Move cancelled",
    DISCHARGE_CANCELLED: "Discharge cancelled",
    DEPARTURE_CANCELLED: "Departure cancelled",
    ARRIVAL_CANCELLED: "Arrival cancelled",
    LEAVE_CANCELLED: "Leave cancelled",
    RETURN_CANCELLED: "Return from leave cancelled",
    PLAN_CANCELLED: "Plan cancelled",
    MOVEMENT_UPDATED: "Movement corrected",
    PATIENT_CHANGED: "Patient changed",
    DELETED: "Visit deleted",
    JOINED: "Visit number changed",
    ENCOUNTER_STATED: "Encounter stated",
}
_OF_FLIGHTPLANS: Mapping[str, str] = {
    "flightplan.created": "Flight plan drafted",
    "flightplan.activated": "Flight plan activated",
    "flightplan.completed": "Flight plan completed",
    "flightplan.goal_added": "Goal added",
    "flightplan.goal_achieved": "Goal achieved",
    "flightplan.task_added": "Task added",
    "flightplan.task_completed": "Task completed",
    "flightplan.milestone_added": "Milestone added",
    "flightplan.milestone_completed": "Milestone completed",
    "flightplan.milestone_rescheduled": "Milestone rescheduled",
    "flightplan.risk_set": "Risk judged",
    "flightplan.alert_raised": "Alert raised",
    "flightplan.alert_cleared": "Alert cleared",
}
_PLANS: Mapping[str, str] = {
    "preadmit": "Preadmission", "admit": "Admission",
    "transfer": "Transfer", "discharge": "Discharge",
}  # fmt: skip
_PLAN_TITLES: Mapping[str, str] = {PLANNED: "planned", PLAN_CANCELLED: "plan cancelled"}
_DETAILS = frozenset((
    "trigger", "place", "prior_place", "temporary_place", "prior_temporary_place",
    "pending_place", "planned_place", "plan", "patient_class", "attending_id", "admission_type",
    "hospital_service", "movement_id", "original_trigger", "from_patient_id", "into_admission_id",
    "version", "status", "stays",
))  # fmt: skip


def fold(events: Sequence[Event], rows: Rows) -> list[Change]:  # noqa: ARG001  loads nothing
    """One row per event, as it was reported: what was taken back stays on the line.

    What was mapped by mistake, and counts no more, was never reported: its line goes.
    """
    return [
        Remove(timeline_events, {"id": event["data"]["event_id"]})
        if event["event_type"] == SUPERSEDED
        else Append(timeline_events, row(event))
        for event in events
    ]


def row(event: Event) -> dict[str, Any]:
    """The event's line: a row of ``timeline_events``."""
    planned = event["event_type"] in _OF_FLIGHTPLANS
    return {
        "id": event["event_id"],
        "tenant_id": event["tenant_id"],
        "admission_id": event["data"]["admission_id"] if planned else event["stream_id"],
        "event_type": event["event_type"],
        "occurred_at": instant(event["occurred_at"]),
        "data": _planned(event) if planned else _line(event),
        "partition": event["partition"],
        "partition_seq": event["partition_seq"],
    }


def _planned(event: Event) -> dict[str, Any]:
    """The line of a flight plan's event; what names or tells something stands sealed."""
    kind, data = event["event_type"], dict(event["data"])
    del data["admission_id"]
    scheduled = data.pop("scheduled_at", None)
    return {
        "title": _OF_FLIGHTPLANS[kind],
        "description": "" if scheduled is None else f"for {_time(scheduled)}",
        "details": {
            "flightplan_id": event["stream_id"],
            **data,
            **({} if scheduled is None else {"scheduled_date": _time(scheduled)}),
            **{name: sealing.text(event["sealed"][name]) for name in sorted(event["sealed"])},
            "recorded_at": iso(event["recorded_at"]),
            "occurred_field": event["occurred_field"],
            "occurred_precision": event["occurred_precision"],
        },
    }


def _line(event: Event) -> dict[str, Any]:
    data, kind = event["data"], event["event_type"]
    details = {name: said for name, said in data.items() if said is not None and name in _DETAILS}
    if data.get("expected_at") is not None:
        details["expected_at"] = iso(data["expected_at"])
    if data.get("movement_historic"):
        details["movement_historic"] = True
    details |= {
        "patient_id": data["patient_id"],
        "reported_at": _time(data["reported_at"]),
        "recorded_at": iso(event["recorded_at"]),
        "occurred_field": event["occurred_field"],
        "occurred_precision": event["occurred_precision"],
    }
    return {
        "title": _title(kind, data), "description": _description(kind, data), "details": details
    }  # fmt: skip


def _time(micros: int | None) -> str | None:
    return None if micros is None else iso(micros)


def _title(kind: str, data: Mapping[str, Any]) -> str:
    if kind == CREATED and data["trigger"] == "A04":
        return "Registered"
    if kind in _PLAN_TITLES and data.get("plan") in _PLANS:
        return f"{_PLANS[data['plan']]} {_PLAN_TITLES[kind]}"
    return _TITLES[kind]


def _description(kind: str, data: Mapping[str, Any]) -> str:
    """Where to, where from: places as they were sent, and nothing of the patient."""
    place, prior = data.get("place"), data.get("prior_place")
    there = "a place not known" if place == "" else place
    if kind in MOVES or kind == MOVEMENT_UPDATED:
        return _joined(("from", prior), ("to", there))
    if kind == MOVE_CANCELLED:
        return _joined(("not to", prior), ("again at", there))
    temporary, left = data.get("temporary_place"), data.get("prior_temporary_place")
    if kind in (DEPARTED, DEPARTURE_CANCELLED):
        return _joined(
            ("from", left or prior or there),
            ("to", temporary),
            ("on the way to", data.get("pending_place")),
        )
    if kind in (ARRIVED, ARRIVAL_CANCELLED):
        return _joined(("from", left), ("at", temporary or there))
    if kind in (PLANNED, PLAN_CANCELLED):
        return _joined(("to", data.get("planned_place")))
    if kind == ENCOUNTER_STATED:
        return _stated(data)
    return _joined(("from" if kind == DISCHARGED else "at", there))


def _stated(data: Mapping[str, Any]) -> str:
    """Its status, and the last place that it says the patient came to."""
    said = [stay["place"] for stay in data["stays"] if stay["status"] in OCCUPIED]
    places = [place for place in said if place]
    return " ".join(filter(None, (data["status"], _joined(("at", places[-1] if places else None)))))


def _joined(*parts: tuple[str, str | None]) -> str:
    return " ".join([f"{word} {place}" for word, place in parts if place])


PROJECTION = Projection(
    name="timeline",
    reads=frozenset(_TITLES) | frozenset(_OF_FLIGHTPLANS) | {SUPERSEDED},
    owns=(timeline_events,),
    loads=(),
    fold=fold,
    fold_version=2,
    unknown="skip",  # each line stands by itself; a rebuild by the newer release adds the others
)
