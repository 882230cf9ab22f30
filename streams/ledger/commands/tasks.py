"""Tasks: created, edited, assigned, started, completed or cancelled, also by devices apart.

pending → in_progress → completed | cancelled, and pending → cancelled. A write that knew the
task to be closed is refused; one that didn't is kept, as a conflict to be resolved.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from streams.ledger.commands import clocks, fields, registers, shared
from streams.ledger.commands.aggregate import Aggregate, Asked, Happened, Rejection, Told
from streams.ledger.commands.registers import Stamp
from streams.ledger.commands.shared import Kind, Shared, Write

PENDING, IN_PROGRESS, COMPLETED, CANCELLED = "pending", "in_progress", "completed", "cancelled"
KIND: Final = Kind(
    name="task",
    facts=("patient_id", "admission_id", "department_id", "rule_id", "order_id", "recurrence"),
    plain=("priority", "due_at", "shift_id", "assigned_to", "window_starts_at", "window_ends_at"),
    sealed=("title", "description"),
    told=("due_at", "window_starts_at", "window_ends_at"),
    closed=frozenset((COMPLETED, CANCELLED)),
    person="patient_id",
)
_WINDOW = ("window_starts_at", "window_ends_at")
_EDITED = tuple(name for name in KIND.plain if name != "assigned_to")
_CLEARABLE = ("description", "due_at", "shift_id", "window_starts_at", "window_ends_at")
# What the writer must have seen the task to be in, if nobody moved it on meanwhile.
_FROM: Mapping[str, tuple[frozenset[str], str]] = {
    IN_PROGRESS: (frozenset((PENDING,)), "not_pending"),
    COMPLETED: (frozenset((IN_PROGRESS,)), "not_in_progress"),
    CANCELLED: (frozenset((PENDING, IN_PROGRESS)), "not_open"),
}


def evolve(state: Shared | None, event: Told) -> Shared:
    """The task after an event."""
    return shared.evolve(KIND, state, event)


def decide(state: Shared | None, asked: Asked) -> list[Happened] | Rejection:
    """What a command on a task becomes, or the rule that refuses it."""
    begun = shared.begun("task.create", state, asked, _create, _WRITES)
    if not isinstance(begun, shared.Begun):
        return begun
    state, stamp, write = begun.state, begun.stamp, begun.write
    if asked.command_type == "task.resolve":
        write = shared.settled(state, write)
        refused = shared.unsettled(KIND, state, stamp, write)
    else:
        refused = (
            _not_from(state, stamp, write)
            or shared.refused(KIND, state, stamp, write)
            or _half_window(stamp, write)
        )
    write = _with_window(state, write)
    refused = refused or _times(write.plain)
    answer = refused or shared.happened(KIND, state, state.facts, stamp, write)
    if isinstance(answer, Rejection):
        return answer
    # Two writes under one stamp may be shown mixed: one's start, the other's end.
    return _times(answer[0].data) or answer


def _create(asked: Asked, stamp: Stamp) -> list[Happened] | Rejection:
    data = asked.data
    refused = fields.first(
        fields.line("title", data["title"]),
        fields.prose("description", data["description"]),
        _times(data),
        _recurrence(data),
    )
    write = Write(
        event_type="task.created",
        plain={name: data[name] for name in KIND.plain},
        sealed={name: data[name] for name in KIND.sealed},
        status=PENDING,
        status_at=None,
        status_by=asked.issued_by,
    )
    facts = {name: data[name] for name in KIND.facts}
    return refused or shared.happened(KIND, None, facts, stamp, write)


def _edit(asked: Asked) -> Write | Rejection:
    data = asked.data
    plain, sealed = fields.given(data, _EDITED), fields.given(data, KIND.sealed)
    refused = fields.first(
        fields.cleared(data, _CLEARABLE),
        fields.line("title", data["title"]),
        fields.prose("description", data["description"]),
    )
    if not plain and not sealed:
        refused = refused or Rejection(rule="nothing_to_change", said="the edit names no field")
    return refused or Write(event_type="task.edited", plain=plain, sealed=sealed)


def _assign(asked: Asked) -> Write:
    """To somebody, or to nobody."""
    return Write(event_type="task.assigned", plain={"assigned_to": asked.data["assigned_to"]})


def _start(asked: Asked) -> Write | Rejection:
    return _moved(asked, "task.started", IN_PROGRESS, "started")


def _complete(asked: Asked) -> Write | Rejection:
    return _moved(asked, "task.completed", COMPLETED, "completed")


def _cancel(asked: Asked) -> Write | Rejection:
    return _moved(asked, "task.cancelled", CANCELLED, "cancelled")


def _moved(asked: Asked, event_type: str, status: str, done: str) -> Write | Rejection:
    """A change of the status, when its writer says it was; else when it was asked for."""
    at = asked.data[f"{done}_at"]
    at = asked.issued_at if at is None else at
    if at > asked.issued_at + registers.AHEAD_MAX_S * 1_000_000:
        return Rejection(rule="in_future", said=f"it can't have been yet: {done}_at")
    reason = asked.data["reason"] if status == CANCELLED else None
    refused = fields.prose("reason", reason)
    return refused or Write(
        event_type=event_type, status=status, status_at=at, status_by=asked.issued_by,
        more={f"{done}_at": at, f"{done}_by": asked.issued_by}, reason=reason, occurred_at=at,
    )  # fmt: skip


def _resolve(asked: Asked) -> Write | Rejection:
    data = asked.data
    plain, sealed = fields.given(data, KIND.plain), fields.given(data, KIND.sealed)
    refused = fields.first(
        fields.cleared(data, (*_CLEARABLE, "assigned_to")),
        fields.line("title", data["title"]),
        fields.prose("description", data["description"]),
    )
    return refused or Write(
        event_type="task.resolved", plain=plain, sealed=sealed, status=data["status"],
        status_at=asked.issued_at if data["status"] else None,
        status_by=asked.issued_by if data["status"] else None,
    )  # fmt: skip


_WRITES: Mapping[str, Callable[[Asked], Write | Rejection]] = {
    "task.edit": _edit,
    "task.assign": _assign,
    "task.start": _start,
    "task.complete": _complete,
    "task.cancel": _cancel,
    "task.resolve": _resolve,
}


def _not_from(state: Shared, stamp: Stamp, write: Write) -> Rejection | None:
    """Refuse a status that doesn't follow from the one that the writer knew of."""
    if write.status is None:
        return None
    known = state.statuses(stamp)
    of, rule = _FROM[write.status]
    if not known or known & of:
        return None
    return Rejection(rule=rule, said=f"the task is {' and '.join(sorted(known))}")


def _with_window(state: Shared, write: Write) -> Write:
    """Both ends of the window are written at once, so that no two writes make one between them.

    Who is online knew the other end; :func:`_half_window` refuses who may not have.
    """
    if not write.plain.keys() & set(_WINDOW):
        return write
    both = {name: write.plain.get(name, registers.shown(state.registers, name)) for name in _WINDOW}
    return replace(write, plain={**write.plain, **both})


def _half_window(stamp: Stamp, write: Write) -> Rejection | None:
    """Refuse one end of the window from a device.

    The other would be as others left it meanwhile, and what is in conflict would depend on
    whose edit came first.
    """
    if stamp.hlc.node == clocks.LEDGER or len(write.plain.keys() & set(_WINDOW)) != 1:
        return None
    said = f"a device writes both ends of a window, or clears them: {', '.join(_WINDOW)}"
    return Rejection(rule="window_incomplete", said=said)


def _times(data: Mapping[str, Any]) -> Rejection | None:
    """Refuse times that nothing can be reckoned from, and a window that ends before it starts."""
    starts, ends = _WINDOW
    known = (fields.known_time(name, data.get(name)) for name in ("due_at", starts, ends))
    return fields.first(*known, fields.rising(starts, data.get(starts), ends, data.get(ends)))


def _recurrence(data: Mapping[str, Any]) -> Rejection | None:
    if data["recurrence"] is None or data["recurrence"] >= 0:
        return None
    return Rejection(rule="recurrence_invalid", said="recurrences are counted from 0")


AGGREGATE: Final = Aggregate(
    stream_type="task",
    evolve=evolve,
    decide=decide,
    to_json=Shared.to_json,
    of_json=Shared.of_json,
)
