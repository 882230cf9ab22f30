"""Flight plans as rows: what an admission is to come to, and how far it has come (document 000).

Names and texts stand in ``data`` as the sealed envelopes that their events carried, in base64.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas import events, sealing
from schemas.clock import instant
from schemas.events import Event
from sinks.changes import Change, Put
from sinks.projection import Load, Projection, Rows
from sinks.tables import flightplan_read_models
from streams.ledger.commands.flightplans import ACTIVE, COMPLETED, DRAFT
from streams.trajectory.facts import iso

_LISTS: Mapping[str, str] = {"goal": "goals", "task": "tasks", "milestone": "milestones"}
_DONE: Mapping[str, str] = {"goal": "achieved", "task": "completed", "milestone": "completed"}
_STATUSES: Mapping[str, str] = {
    "flightplan.activated": ACTIVE, "flightplan.completed": COMPLETED,
}  # fmt: skip


def fold(events: Sequence[Event], rows: Rows) -> list[Change]:
    """One row per plan: the whole of it, as it is after the events."""
    row: dict[str, Any] = dict(next(iter(rows[flightplan_read_models.name]), {}))
    plan: dict[str, Any] = row.get("data", {})
    for event in events:
        plan = {**_changed(plan, event), "version": event["event_version"]}
        recorded = instant(event["recorded_at"])
        row = {
            "id": event["stream_id"],
            "tenant_id": event["tenant_id"],
            "admission_id": event["data"]["admission_id"],
            "data": plan,
            "created_at": row.get("created_at", recorded),
            "updated_at": recorded,
            "partition": event["partition"],
            "partition_seq": event["partition_seq"],
        }
    return [Put(flightplan_read_models, row)]


def _changed(plan: Mapping[str, Any], event: Event) -> dict[str, Any]:
    """The plan after an event; lists keep the order in which their items were added."""
    kind, data = event["event_type"], event["data"]
    if kind == "flightplan.created":
        return _begun(event)
    if kind in _STATUSES:
        return {**plan, "status": _STATUSES[kind]}
    if kind == "flightplan.risk_set":
        return {**plan, "risk_score": data["score"]}
    if kind == "flightplan.alert_raised":
        alert = {
            "alert_id": data["alert_id"], "severity": data["severity"],
            "text": _text(event, "text"), "raised_at": _at(event),
        }  # fmt: skip
        return {**plan, "alerts": [*plan["alerts"], alert]}
    if kind == "flightplan.alert_cleared":
        left = [each for each in plan["alerts"] if each["alert_id"] != data["alert_id"]]
        return {**plan, "alerts": left}
    thing, _, change = kind.removeprefix("flightplan.").partition("_")
    return {**plan, _LISTS[thing]: _items(plan[_LISTS[thing]], thing, change, event)}


def _begun(event: Event) -> dict[str, Any]:
    return {
        "flightplan_id": event["stream_id"],
        "admission_id": event["data"]["admission_id"],
        "patient_id": event["data"]["patient_id"],
        "title": _text(event, "title"),
        "status": DRAFT,
        "goals": [], "tasks": [], "milestones": [], "risk_score": None, "alerts": [],
    }  # fmt: skip


def _items(
    items: Sequence[Mapping[str, Any]], thing: str, change: str, event: Event
) -> list[Mapping[str, Any]]:
    """The list with one item more, or one of them changed."""
    data, name, done = event["data"], f"{thing}_id", _DONE[thing]
    if change == "added":
        item = {name: data[name], "name": _text(event, "name"), done: False, f"{done}_at": None}
        return [*items, {**item, **_scheduled(data)}]
    reached = {done: True, f"{done}_at": _at(event)} if change == done else _scheduled(data)
    return [{**each, **reached} if each[name] == data[name] else each for each in items]


def _scheduled(data: Mapping[str, Any]) -> dict[str, str | None]:
    at = data.get("scheduled_at")
    return {} if at is None else {"scheduled_date": iso(instant(at))}


def _at(event: Event) -> str | None:
    return iso(instant(event["occurred_at"]))


def _text(event: Event, field: str) -> str | None:
    envelope = event["sealed"].get(field)
    return None if envelope is None else sealing.text(envelope)


PROJECTION = Projection(
    name="flightplans",
    reads=frozenset(
        declared.name for declared in events.TYPES.values() if declared.stream_type == "flightplan"
    ),
    owns=(flightplan_read_models,),
    loads=(Load(table=flightplan_read_models, by="id"),),
    fold=fold,
    unknown="park",  # a plan is all that was decided about it
)
