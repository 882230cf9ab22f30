"""Handovers: from one shift to the next, initiated, edited, accepted or cancelled."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from streams.ledger.commands import fields, shared
from streams.ledger.commands.aggregate import Aggregate, Asked, Happened, Rejection, Told
from streams.ledger.commands.registers import Stamp
from streams.ledger.commands.shared import Kind, Shared, Write

INITIATED, ACCEPTED, CANCELLED = "initiated", "accepted", "cancelled"
TASKS_MAX = 500  # a ward's open tasks; a handover is read, not searched
KIND: Final = Kind(
    name="handover",
    facts=("from_shift_id", "to_shift_id", "department_id", "patient_id"),
    plain=("task_ids",),
    sealed=("summary",),
    told=(),
    closed=frozenset((ACCEPTED, CANCELLED)),
    person="patient_id",
)


def evolve(state: Shared | None, event: Told) -> Shared:
    """The handover after an event."""
    return shared.evolve(KIND, state, event)


def decide(state: Shared | None, asked: Asked) -> list[Happened] | Rejection:
    """What a command on a handover becomes, or the rule that refuses it."""
    begun = shared.begun("handover.initiate", state, asked, _initiate, _WRITES)
    if not isinstance(begun, shared.Begun):
        return begun
    state, stamp, write = begun.state, begun.stamp, begun.write
    if asked.command_type == "handover.resolve":
        write = shared.settled(state, write)
        refused = shared.unsettled(KIND, state, stamp, write)
    else:
        refused = shared.refused(KIND, state, stamp, write)
    return refused or shared.happened(KIND, state, state.facts, stamp, write)


def _initiate(asked: Asked, stamp: Stamp) -> list[Happened] | Rejection:
    data = asked.data
    refused = fields.first(
        fields.prose("summary", data["summary"]),
        _tasks(data),
        _one_shift(data),
    )
    write = Write(
        event_type="handover.initiated",
        plain={"task_ids": sorted(data["task_ids"] or ())},
        sealed={"summary": data["summary"]},
        status=INITIATED,
        status_at=None,
        status_by=asked.issued_by,
    )
    facts = {name: data[name] for name in KIND.facts}
    return refused or shared.happened(KIND, None, facts, stamp, write)


def _edit(asked: Asked) -> Write | Rejection:
    write = _content(asked, "handover.edited", None)
    if isinstance(write, Rejection) or write.plain or write.sealed:
        return write
    return Rejection(rule="nothing_to_change", said="the edit names no field")


def _resolve(asked: Asked) -> Write | Rejection:
    return _content(asked, "handover.resolved", asked.data["status"])


def _content(asked: Asked, event_type: str, status: str | None) -> Write | Rejection:
    data = asked.data
    refused = fields.first(fields.prose("summary", data["summary"]), _tasks(data))
    named = data["task_ids"] is not None
    return refused or Write(
        event_type=event_type,
        plain={"task_ids": sorted(data["task_ids"])} if named else {},
        sealed={"summary": data["summary"]} if data["summary"] is not None else {},
        status=status,
        status_at=asked.issued_at if status else None,
        status_by=asked.issued_by if status else None,
    )


def _accept(asked: Asked) -> Write:
    return _closed(asked, "handover.accepted", ACCEPTED)


def _cancel(asked: Asked) -> Write | Rejection:
    reason = asked.data["reason"]
    return fields.prose("reason", reason) or _closed(asked, "handover.cancelled", CANCELLED, reason)


def _closed(asked: Asked, event_type: str, status: str, reason: str | None = None) -> Write:
    at, by = asked.issued_at, asked.issued_by
    return Write(
        event_type=event_type, status=status, status_at=at, status_by=by,
        more={f"{status}_at": at, f"{status}_by": by}, reason=reason,
    )  # fmt: skip


_WRITES: Mapping[str, Callable[[Asked], Write | Rejection]] = {
    "handover.edit": _edit,
    "handover.accept": _accept,
    "handover.cancel": _cancel,
    "handover.resolve": _resolve,
}


def _one_shift(data: Mapping[str, Any]) -> Rejection | None:
    if data["from_shift_id"] != data["to_shift_id"]:
        return None
    return Rejection(rule="same_shift", said="a handover goes from one shift to another")


def _tasks(data: Mapping[str, Any]) -> Rejection | None:
    if len(data["task_ids"] or ()) <= TASKS_MAX:
        return None
    return Rejection(rule="too_many_tasks", said=f"a handover names at most: {TASKS_MAX}")


AGGREGATE: Final = Aggregate(
    stream_type="handover",
    evolve=evolve,
    decide=decide,
    to_json=Shared.to_json,
    of_json=Shared.of_json,
)
