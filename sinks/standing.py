"""Streams as a command meets them, and the rules that hold for every command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from schemas.commands import TYPES, Scope
from sinks.asked import Command, Rejected
from sinks.database import Row

NOT_PERMITTED = "not_permitted"  # the rule for who may not ask there
_OF_DEPARTMENTS = {each.stream_type for each in TYPES.values() if each.scope is Scope.DEPARTMENT}
DEPARTMENT = "department_id"  # in a stream's first event: whose it is
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """A stream as it stands before a command.

    ``department`` is the one that its first event names: it never moves to another.
    """

    stream_type: str
    tenant_id: str
    version: int
    recorded_at: datetime | None
    department: str | None = None

    def after(self, event: Mapping[str, Any], now: datetime) -> "Standing":
        """With this event too, numbered as the ledger will number it."""
        last = self.recorded_at
        at = now if last is None else max(now, last + _TICK)
        department = self.department if self.version else event["data"].get(DEPARTMENT)
        return replace(self, version=self.version + 1, recorded_at=at, department=department)


def standing_of(connection: Connection[Row], commands: Sequence[Command]) -> dict[str, Standing]:
    """The streams that the commands ask something of, and those that they name."""
    ids = {command.stream_id for command in commands}
    ids.update(each for command in commands for _, _, each in command.references)
    rows = connection.execute(_STANDING, (sorted(ids),)).fetchall()
    owners = {command.owner for command in commands} - {None}
    for command in commands:
        if command.departments is not None:
            owners.update(each for _, _, each in command.references)
    owned = connection.execute(_OWNED, (DEPARTMENT, list(owners))).fetchall() if owners else []
    departments = {row["stream_id"]: row["department"] for row in owned}
    return {
        row["stream_id"]: Standing(
            row["stream_type"], row["tenant_id"], row["version"], row["recorded_at"],
            departments.get(row["stream_id"]),
        )
        for row in rows
    }  # fmt: skip


def rejected(
    command: Command,
    stream: Standing | None,
    ours: Standing | None,
    standing: Mapping[str, Standing],
) -> Rejected | None:
    """The rules that hold for every command; another's stream is as good as none.

    Who may not ask in all departments is told the same of a thing that is another's and of one
    that is nowhere: so whether they may ask comes before whether it is there.
    """
    if not _permitted(command, standing):
        said = "its issuer may not ask it, or not in this department, or there is no such thing"
        return Rejected(rule=NOT_PERMITTED, said=said)
    if command.creates and (stream is not None or command.taken):
        return Rejected(rule="exists", said="the stream that it would create exists")
    founding = command.founds and stream is None and not command.taken
    if not command.creates and ours is None and not founding:
        return Rejected(rule="not_found", said=f"there is no such stream: {command.stream_type}")
    version = ours.version if ours else 0
    if command.expected_version is not None and command.expected_version != version:
        return Rejected(rule="conflict", said=f"the stream stands at version: {version}")
    for field, stream_type, stream_id in command.references:
        named = standing.get(stream_id)
        of_ours = named is not None and named.tenant_id == command.tenant_id
        known = of_ours and named is not None and named.stream_type == stream_type
        if not known and (command.departments is None or stream_type not in _OF_DEPARTMENTS):
            rule = f"unknown_reference: {field}"
            return Rejected(rule=rule, said=f"there is no such {stream_type}: {field}")
        if not _nameable(command, stream_id, named if known else None):
            said = f"there is no such {stream_type}, or it is another department's: {field}"
            return Rejected(rule=NOT_PERMITTED, said=said)
    return None


def _nameable(command: Command, stream_id: str, named: Standing | None) -> bool:
    """Whether what a command names is of no department, or of one in which its issuer asks."""
    if command.departments is None:
        return True
    return named is not None and _department(stream_id, named) in {None, *command.departments}


def _permitted(command: Command, standing: Mapping[str, Standing]) -> bool:
    """Whether its issuer may ask it, in the department that it is about."""
    if command.departments is None:
        return True
    return owner_of(command, standing) in command.departments


def owner_of(command: Command, standing: Mapping[str, Standing]) -> str | None:
    """The department that a command is about, of its tenant's; None where it is about all."""
    owner = None if command.owner is None else standing.get(command.owner)
    if command.owner is None or owner is None or owner.tenant_id != command.tenant_id:
        return None
    return _department(command.owner, owner)


def _department(stream_id: str, stream: Standing) -> str | None:
    """The department that a stream is, or belongs to; None where it is of none."""
    return stream_id if stream.stream_type == "department" else stream.department


def is_of(stream: Standing, command: Command) -> bool:
    """Whether a stream is of the command's tenant and type."""
    return (stream.tenant_id, stream.stream_type) == (command.tenant_id, command.stream_type)


_STANDING = """
SELECT stream_id, stream_type, tenant_id, version, recorded_at FROM streams
WHERE stream_id = ANY(%s::uuid[])
"""
_OWNED = """
SELECT stream_id, data ->> %s AS department FROM events
WHERE stream_id = ANY(%s::uuid[]) AND event_version = 1
"""
