"""Departments: created, updated, deactivated, never deleted."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """What is decided on: whether it is there for new work."""

    is_active: bool

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Department":
        """The state of a snapshot."""
        return cls(**kept)


def evolve(state: Department | None, event: Told) -> Department:
    """The department after an event."""
    if state is None:
        return Department(is_active=True)
    return replace(state, is_active=event.event_type != "department.deactivated")


def decide(state: Department | None, asked: Asked) -> list[Happened] | Rejection:
    """What a command on a department becomes, or the rule that refuses it.

    An update of one that was deactivated takes it back into use.
    """
    data = asked.data
    if asked.command_type == "department.create":
        assert state is None, FOUNDED
        return _content(data) or [
            Happened(
                event_type="department.created",
                data={"code": data["code"]},
                clear={"name": data["name"]},
            )
        ]
    assert state is not None, FOUND
    if asked.command_type == "department.deactivate":
        if not state.is_active:
            return Rejection(rule="not_active", said="the department is deactivated already")
        return fields.code(data["reason_code"]) or [
            Happened(event_type="department.deactivated", data={"reason_code": data["reason_code"]})
        ]
    named = {} if data["name"] is None else {"name": data["name"]}
    if data["code"] is None and not named and state.is_active:
        return Rejection(rule="nothing_to_change", said="the update names no field")
    return _content(data) or [
        Happened(event_type="department.updated", data={"code": data["code"]}, clear=named)
    ]


def _content(data: Mapping[str, Any]) -> Rejection | None:
    return fields.first(fields.code(data["code"]), fields.line("name", data["name"]))


AGGREGATE: Final = Aggregate(
    stream_type="department",
    evolve=evolve,
    decide=decide,
    to_json=asdict,
    of_json=Department.of_json,
)
