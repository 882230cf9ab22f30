"""What commands on departments, tasks and shifts become, told again without the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.ledger.commands import registers

VERBS: Mapping[str, tuple[str, ...]] = {
    "department": ("create", "update", "deactivate"),
    "task": ("create", "assign", "start", "complete", "cancel"),
    "shift": ("schedule", "assign", "unassign", "cancel"),
}
_FROM: Mapping[str, tuple[tuple[str, ...], str, str]] = {
    "start": (("pending",), "not_pending", "in_progress"),
    "complete": (("in_progress",), "not_in_progress", "completed"),
    "cancel": (("pending", "in_progress"), "not_open", "cancelled"),
}
CLOSED = ("completed", "cancelled")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A command as a client remembers it; ``arg`` is whom it assigns.

    ``place`` is the department that it would make a thing in, ``within`` are those in which its
    issuer asks (None: in all).
    """

    command_id: str
    kind: str
    verb: str
    stream: str
    expected: int | None
    arg: str
    place: str
    within: tuple[str, ...] | None
    data: Mapping[str, Any] = field(compare=False)

    @property
    def name(self) -> str:
        return f"{self.kind}.{self.verb}"


def became(state: Any, version: int, asked: Asked) -> tuple[str | None, Any]:
    """The rule that refuses the command there, or none, and the state after it.

    A state is the department that the thing belongs to (none: to all) and what it is like.
    """
    creates = asked.verb in ("create", "schedule")
    alone = None if asked.kind == "department" or not creates else asked.place
    place = alone if creates or state is None else state[0]
    if asked.within is not None and place not in asked.within:
        return "not_permitted", state
    if creates and state is not None:
        return "exists", state
    if not creates and state is None:
        return "not_found", state
    place, like = (alone, None) if state is None else state
    if asked.expected is not None and asked.expected != version:
        return "conflict", state
    kinds = {"department": _department, "task": _task, "shift": _shift}
    refused, after = kinds[asked.kind](like, asked)
    return (refused, state) if refused else (None, (place, after))


def shown(kind: str, state: Any) -> Any:
    """The ledger's own state, as the model has it, without its department."""
    if kind == "department":
        return "active" if state.is_active else "inactive"
    if kind == "task":
        known = state.registers
        return registers.shown(known, "status")["status"], registers.shown(known, "assigned_to")
    return state.is_cancelled, state.staff


def _department(state: Any, asked: Asked) -> tuple[str | None, Any]:
    if asked.verb == "deactivate":
        return ("not_active", state) if state == "inactive" else (None, "inactive")
    return None, "active"


def _task(state: Any, asked: Asked) -> tuple[str | None, Any]:
    if asked.verb == "create":
        return None, ("pending", None)
    status, whose = state
    if asked.verb == "assign":
        return ("not_open", state) if status in CLOSED else (None, (status, asked.arg))
    of, rule, to = _FROM[asked.verb]
    return (None, (to, whose)) if status in of else (rule, state)


def _shift(state: Any, asked: Asked) -> tuple[str | None, Any]:
    if asked.verb == "schedule":
        return None, (False, frozenset())
    cancelled, staff = state
    if cancelled:
        return "not_scheduled", state
    if asked.verb == "cancel":
        return None, (True, staff)
    if asked.verb == "assign":
        there = asked.arg in staff
        return ("already_assigned", state) if there else (None, (False, staff | {asked.arg}))
    if asked.arg not in staff:
        return "not_assigned", state
    return None, (False, staff - {asked.arg})
