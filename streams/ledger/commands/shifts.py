"""Shifts: scheduled in a department under a supervisor, staffed, or cancelled."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from streams.ledger.commands import fields
from streams.ledger.commands.aggregate import (
    FOUND,
    FOUNDED,
    Aggregate,
    Asked,
    Happened,
    Rejection,
    Told,
)

HOURS_MAX = 48  # what is longer is a roster, or a wrong date
STAFF_MAX = 200
_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What is decided on: whether it will be, and who works in it."""

    is_cancelled: bool
    staff: frozenset[str]

    def to_json(self) -> dict[str, Any]:
        """For snapshots."""
        return {"is_cancelled": self.is_cancelled, "staff": sorted(self.staff)}

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Shift":
        """The state of a snapshot."""
        return cls(is_cancelled=kept["is_cancelled"], staff=frozenset(kept["staff"]))


def evolve(state: Shift | None, event: Told) -> Shift:
    """The shift after an event."""
    if state is None:
        return Shift(is_cancelled=False, staff=frozenset())
    if event.event_type == "shift.assigned":
        return replace(state, staff=state.staff | {event.data["user_id"]})
    if event.event_type == "shift.unassigned":
        return replace(state, staff=state.staff - {event.data["user_id"]})
    return replace(state, is_cancelled=True)


def decide(state: Shift | None, asked: Asked) -> list[Happened] | Rejection:
    """What a command on a shift becomes, or the rule that refuses it."""
    data = asked.data
    if asked.command_type == "shift.schedule":
        assert state is None, FOUNDED
        names = ("department_id", "supervisor_id", "starts_at", "ends_at")
        said = Happened(
            event_type="shift.scheduled",
            data={name: data[name] for name in names},
        )
        return _times(data) or [said]
    assert state is not None, FOUND
    if state.is_cancelled:
        return Rejection(rule="not_scheduled", said="the shift is cancelled")
    if asked.command_type == "shift.cancel":
        return fields.code(asked.data["reason_code"]) or [
            Happened(event_type="shift.cancelled", data={"reason_code": asked.data["reason_code"]})
        ]
    return _staffed(state, asked)


def _staffed(state: Shift, asked: Asked) -> list[Happened] | Rejection:
    user = asked.data["user_id"]
    if asked.command_type == "shift.assign":
        if user in state.staff:
            return Rejection(rule="already_assigned", said="the user works in this shift already")
        if len(state.staff) >= STAFF_MAX:
            return Rejection(
                rule="too_many_staff", said=f"a shift has people, at most: {STAFF_MAX}"
            )
        return [Happened(event_type="shift.assigned", data={"user_id": user})]
    if user not in state.staff:
        return Rejection(rule="not_assigned", said="the user doesn't work in this shift")
    return [Happened(event_type="shift.unassigned", data={"user_id": user})]


def _times(data: Mapping[str, Any]) -> Rejection | None:
    refused = fields.rising("starts_at", data["starts_at"], "ends_at", data["ends_at"])
    if refused is None and data["ends_at"] - data["starts_at"] > HOURS_MAX * _HOUR:
        return Rejection(rule="too_long", said=f"a shift lasts hours, at most: {HOURS_MAX}")
    return refused


AGGREGATE: Final = Aggregate(
    stream_type="shift",
    evolve=evolve,
    decide=decide,
    to_json=Shift.to_json,
    of_json=Shift.of_json,
)
