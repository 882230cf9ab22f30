"""People and work: departments, users, shifts, tasks and handovers as rows (document 004).

Where devices edited one thing while apart, the row shows of each field what is newest by the
hybrid clock, and ``conflicts`` all that disagree; the content doesn't depend on the order in
which concurrent edits came.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from schemas import events, sealing
from schemas.clock import instant
from schemas.events import Event
from sinks import tables
from sinks.changes import Change, Put, Row
from sinks.projection import Load, Projection, Rows
from streams.ledger.commands import clocks, handovers, registers, shared, tasks
from streams.ledger.commands.clocks import LEDGER, Hlc
from streams.ledger.commands.registers import Registers, Stamp
from streams.ledger.commands.shared import STATUS, Kind

Folded: TypeAlias = Callable[[Sequence[Event], Rows], list[Change]]


def fold(events: Sequence[Event], rows: Rows) -> list[Change]:
    """Fold one stream's new events into its rows."""
    return _FOLDS[events[0]["stream_type"]](events, rows)


def _departments(events: Sequence[Event], rows: Rows) -> list[Change]:
    row = _loaded(tables.departments.name, rows)
    for event in events:
        row = _lived(row, event)
        row["code"] = event["data"].get("code") or row["code"]
        row["name"] = event["sealed"].get("name", row.get("name"))
        row = _active(row, event, "department.deactivated")
    return [Put(tables.departments, row)]


def _users(events: Sequence[Event], rows: Rows) -> list[Change]:
    row = _loaded(tables.users.name, rows)
    departments = {str(one["department_id"]): one for one in rows[tables.user_departments.name]}
    identities = {
        (one["emr_system"], one["authority"]): one for one in rows[tables.emr_identities.name]
    }
    for event in events:
        row = _lived(row, event)
        row["role"] = event["data"].get("role") or row["role"]
        for name in ("name", "email"):
            row[name] = event["sealed"].get(name, row.get(name))
        if event["event_type"].startswith("user.emr_"):
            one = _identity(event, identities)
            identities[one["emr_system"], one["authority"]] = one
            continue
        row = _active(row, event, "user.deactivated")
        if event["data"].get("department_ids") is not None:
            departments.update(_works_in(event, departments))
    return [
        Put(tables.users, row),
        *(Put(tables.user_departments, departments[one]) for one in sorted(departments)),
        *(Put(tables.emr_identities, identities[one]) for one in sorted(identities)),
    ]


def _works_in(event: Event, known: Mapping[str, Row]) -> dict[str, Row]:
    """The departments that the user came to work in, or works in no more."""
    named, at = set(event["data"]["department_ids"]), instant(event["recorded_at"])
    changed: dict[str, Row] = {}
    for one in sorted(named | known.keys()):
        row = known.get(one)
        if one in named and (row is None or row["deleted_at"] is not None):
            ids = {"user_id": event["stream_id"], "department_id": one}
            changed[one] = {**_placed(event), **ids, "since": at, "deleted_at": None}
        elif one not in named and row is not None and row["deleted_at"] is None:
            changed[one] = {**row, **_placed(event), "deleted_at": at}
    return changed


def _identity(event: Event, known: Mapping[tuple[str, str], Row]) -> Row:
    data, at = event["data"], instant(event["recorded_at"])
    if event["event_type"] == "user.emr_unlinked":
        row = known[data["emr_system"], data["authority"]]
        return {**row, **_placed(event), "deleted_at": at}
    return {
        **_placed(event), "user_id": event["stream_id"], "emr_system": data["emr_system"],
        "authority": data["authority"], "emr_id": event["sealed"]["identity"],
        "linked_at": at, "deleted_at": None,
    }  # fmt: skip


def _shifts(events: Sequence[Event], rows: Rows) -> list[Change]:
    row = _loaded(tables.shifts.name, rows)
    for event in events:
        row = _lived(row, event)
        data, staff = event["data"], set(row.get("staff", ()))
        if event["event_type"] == "shift.scheduled":
            row |= {name: data[name] for name in ("department_id", "supervisor_id")}
            row |= {name: instant(data[name]) for name in ("starts_at", "ends_at")}
            row["deleted_at"] = None
        elif event["event_type"] == "shift.assigned":
            staff.add(data["user_id"])
        elif event["event_type"] == "shift.unassigned":
            staff.discard(data["user_id"])
        else:
            row["deleted_at"] = instant(event["recorded_at"])
        row["staff"] = sorted(staff)
    return [Put(tables.shifts, row)]


def _tasks(events: Sequence[Event], rows: Rows) -> list[Change]:
    row, known = _written(tasks.KIND, events, _loaded(tables.tasks.name, rows))
    status = registers.shown(known, STATUS)
    done = status if status["status"] == tasks.COMPLETED else None
    cancelled = status if status["status"] == tasks.CANCELLED else None
    started = registers.shown(known, shared.STARTED)
    names = ("shift_id", "assigned_to", "priority")
    row |= {name: registers.shown(known, name) for name in names}
    row |= {name: _envelope(registers.shown(known, name)) for name in tasks.KIND.sealed}
    row |= {
        "status": status["status"],
        "due_date": _time(registers.shown(known, "due_at")),
        "window_starts_at": _time(registers.shown(known, "window_starts_at")),
        "window_ends_at": _time(registers.shown(known, "window_ends_at")),
        "started_at": _time(started["at"]) if started else None,
        "completed_at": _time(done["at"]) if done else None,
        "completed_by": done["by"] if done else None,
        "deleted_at": _time(cancelled["at"]) if cancelled else None,
        "cancel_reason": _envelope(cancelled["reason"]) if cancelled else None,
    }
    return [Put(tables.tasks, row)]


def _handovers(events: Sequence[Event], rows: Rows) -> list[Change]:
    loaded = _loaded(tables.handovers.name, rows)
    row, known = _written(handovers.KIND, events, loaded)
    status = registers.shown(known, STATUS)
    accepted = status if status["status"] == handovers.ACCEPTED else None
    cancelled = status if status["status"] == handovers.CANCELLED else None
    row |= {
        "initiated_by": row["created_by"],
        "initiated_at": loaded.get("initiated_at") or instant(events[0]["occurred_at"]),
        "status": status["status"],
        "summary": _envelope(registers.shown(known, "summary")),
        "task_ids": registers.shown(known, "task_ids"),
        "accepted_by": accepted["by"] if accepted else None,
        "completed_at": _time(accepted["at"]) if accepted else None,
        "deleted_at": _time(cancelled["at"]) if cancelled else None,
        "cancel_reason": _envelope(cancelled["reason"]) if cancelled else None,
    }
    return [Put(tables.handovers, row)]


def _written(
    kind: Kind, events: Sequence[Event], row: dict[str, Any]
) -> tuple[dict[str, Any], Registers]:
    """The row with all that every shared thing has, and the registers after the events."""
    known: Registers = registers.of_json(row.get("registers", {}))
    clock = row.get("vector_clock", {})
    hlc = Hlc(row.get("hlc_micros", 0), row.get("hlc_counter", 0))
    synced = row.get("last_synced_at")
    for event in events:
        row = _lived(row, event)
        data, stamp = event["data"], Stamp.of_data(event["data"])
        sealed = {name: sealing.text(envelope) for name, envelope in event["sealed"].items()}
        known = registers.put(known, stamp, shared.written(data, sealed))
        clock = clocks.merged(clock, stamp.clock)
        hlc = max(hlc, Hlc(stamp.hlc.micros, stamp.hlc.counter))
        if stamp.hlc.node != LEDGER:
            synced = instant(event["recorded_at"])
        row |= {name: data[name] for name in kind.facts}
    return {
        **row,
        "registers": registers.to_json(known),
        "conflicts": shared.conflicts(known, kind.closed),
        "vector_clock": clock,
        "hlc_micros": hlc.micros,
        "hlc_counter": hlc.counter,
        "last_synced_at": synced,
    }, known


def _loaded(table: str, rows: Rows) -> dict[str, Any]:
    return dict(next(iter(rows[table]), {}))


def _placed(event: Event) -> dict[str, Any]:
    return {name: event[name] for name in ("tenant_id", "partition", "partition_seq")}


def _lived(row: Mapping[str, Any], event: Event) -> dict[str, Any]:
    """The row with what every thing has: whose, by whom, from when to when, where it stands."""
    recorded = instant(event["recorded_at"])
    return {
        **row, **_placed(event),
        "id": event["stream_id"],
        "created_by": row.get("created_by", event["created_by"]),
        "created_at": row.get("created_at", recorded),
        "updated_at": recorded,
        "version": event["event_version"],
    }  # fmt: skip


def _active(row: dict[str, Any], event: Event, ending: str) -> dict[str, Any]:
    ended = event["event_type"] == ending
    at = instant(event["recorded_at"]) if ended else None
    return {**row, "is_active": not ended, "deleted_at": at}


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else instant(micros)


def _envelope(text: str | None) -> bytes | None:
    return None if text is None else sealing.untext(text)


_FOLDS: Mapping[str, Folded] = {
    "department": _departments,
    "user": _users,
    "shift": _shifts,
    "task": _tasks,
    "handover": _handovers,
}

PROJECTION = Projection(
    name="work",
    reads=frozenset(
        declared.name for declared in events.TYPES.values() if declared.stream_type in _FOLDS
    ),
    owns=(
        tables.departments, tables.users, tables.user_departments, tables.emr_identities,
        tables.shifts, tables.tasks, tables.handovers,
    ),
    loads=(
        Load(table=tables.departments, by="id"),
        Load(table=tables.users, by="id"),
        Load(table=tables.user_departments, by="user_id"),
        Load(table=tables.emr_identities, by="user_id"),
        Load(table=tables.shifts, by="id"),
        Load(table=tables.tasks, by="id"),
        Load(table=tables.handovers, by="id"),
    ),
    fold=fold,
    unknown="park",  # a row is all that was decided about it
)  # fmt: skip
