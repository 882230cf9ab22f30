"""Things that devices edit while apart: their state, their conflicts, what a write becomes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from streams.ledger.commands import clocks, registers
from streams.ledger.commands.aggregate import FOUND, FOUNDED, Asked, Happened, Rejection, Told
from streams.ledger.commands.clocks import Hlc, VectorClock
from streams.ledger.commands.registers import Registers, Stamp

STATUS, EDITS, STARTED = "status", "edits", "started"
"""The register of the status; that of edits, so that one of a closed thing shows; and that of
when it was started, which later statuses don't take back. Nobody settles the last two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of thing: its fixed facts, what may be edited in clear and sealed, when it's closed.

    ``told`` are edited fields that each event repeats as they stand after it.
    """

    name: str
    facts: tuple[str, ...]
    plain: tuple[str, ...]
    sealed: tuple[str, ...]
    told: tuple[str, ...]
    closed: frozenset[str]
    person: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the ledger knows of such a thing."""

    facts: Mapping[str, Any]
    registers: Registers
    clock: VectorClock
    hlc: Hlc

    def to_json(self) -> dict[str, Any]:
        """For snapshots."""
        return {
            "facts": dict(self.facts),
            "registers": registers.to_json(self.registers),
            "clock": dict(self.clock),
            "hlc": [self.hlc.micros, self.hlc.counter, self.hlc.node],
        }

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Shared":
        """The state that :meth:`to_json` gave."""
        return cls(
            facts=kept["facts"],
            registers=registers.of_json(kept["registers"]),
            clock=kept["clock"],
            hlc=Hlc(*kept["hlc"]),
        )

    def conflicts(self, kind: Kind) -> dict[str, list[dict[str, Any]]]:
        """See :func:`conflicts`."""
        return conflicts(self.registers, kind.closed)

    def statuses(self, stamp: Stamp) -> set[str]:
        """The statuses that the writer knew of; none if all there are were set meanwhile."""
        return {
            sibling.value["status"]
            for sibling in self.registers[STATUS]
            if clocks.compare(sibling.stamp.clock, stamp.clock) in ("before", "equal")
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """What a command writes: fields in clear and sealed (None: emptied), perhaps a status."""

    event_type: str
    plain: Mapping[str, Any] = field(default_factory=dict)
    sealed: Mapping[str, str | None] = field(default_factory=dict)
    status: str | None = None
    status_at: int | None = None
    status_by: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)  # further fields of the event's data
    reason: str | None = None  # sealed
    occurred_at: int | None = None  # None: when it was asked for


def evolve(kind: Kind, state: Shared | None, event: Told) -> Shared:
    """The state after an event; sealed values stand in it as the version that wrote them."""
    stamp = Stamp.of_data(event.data)
    marked = dict.fromkeys((*kind.sealed, "reason"), f"version {event.version}")
    values = written(event.data, marked)
    if state is None:
        return Shared(
            facts={name: event.data[name] for name in kind.facts},
            registers=registers.put({}, stamp, values),
            clock=stamp.clock,
            hlc=stamp.hlc,
        )
    return Shared(
        facts=state.facts,
        registers=registers.put(state.registers, stamp, values),
        clock=clocks.merged(state.clock, stamp.clock),
        hlc=max(state.hlc, stamp.hlc),
    )


def written(data: Mapping[str, Any], sealed: Mapping[str, Any]) -> dict[str, Any]:
    """The values that an event writes, by field; ``sealed`` has those that aren't in clear."""
    values: dict[str, Any] = {}
    for name in data["fields"]:
        value = data["edit"][name] if name in data["edit"] else sealed.get(name)
        values[name] = None if name in data["cleared"] else value
    if values:
        values[EDITS] = None
    if data[STATUS] == "in_progress":
        values[STARTED] = {"at": data["status_at"], "by": data["status_by"]}
    if data[STATUS] is not None:
        values[STATUS] = {
            "status": data["status"], "at": data["status_at"], "by": data["status_by"],
            "reason": sealed.get("reason") if data["status"] == "cancelled" else None,
        }  # fmt: skip
    return values


def conflicts(known: Registers, closed: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Each field that concurrent writes disagree on, with its siblings, the shown one last.

    A thing that was closed while another edited it is in conflict over its status: the edit
    stands among the siblings, with no status as its value.
    """
    found = {
        name: [sibling.to_json() for sibling in register]
        for name, register in sorted(known.items())
        if name not in (EDITS, STARTED) and registers.differ(register)
    }
    ends = [one.stamp.clock for one in known[STATUS] if one.value["status"] in frozenset(closed)]
    apart = [
        edit
        for edit in known.get(EDITS, ())
        if any(clocks.compare(edit.stamp.clock, end) == "concurrent" for end in ends)
    ]
    if apart:
        kept = found.get(STATUS) or [sibling.to_json() for sibling in known[STATUS]]
        found[STATUS] = [*(edit.to_json() for edit in apart), *kept]
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A command on a thing that is there: the thing, the stamp, what it would write."""

    state: Shared
    stamp: Stamp
    write: Write


def begun(
    creates: str,
    state: Shared | None,
    asked: Asked,
    create: Callable[[Asked, Stamp], list[Happened] | Rejection],
    writes: Mapping[str, Callable[[Asked], Write | Rejection]],
) -> Begun | list[Happened] | Rejection:
    """What a command would write, or what it becomes at once: it ``creates``, or is refused."""
    stamp = stamped(state, asked)
    if isinstance(stamp, Rejection):
        return stamp
    if asked.command_type == creates:
        assert state is None, FOUNDED
        return create(asked, stamp)
    assert state is not None, FOUND
    write = writes[asked.command_type](asked)
    if isinstance(write, Rejection):
        return write
    return Begun(state=state, stamp=stamp, write=write)


def stamped(state: Shared | None, asked: Asked) -> Stamp | Rejection:
    """The stamp of a command on the thing as it stands."""
    if state is None:
        return registers.stamped(asked, {}, Hlc())
    return registers.stamped(asked, state.clock, state.hlc)


def refused(kind: Kind, state: Shared, stamp: Stamp, write: Write) -> Rejection | None:
    """Refuse to edit what the writer knew to be closed, or to overwrite what is in conflict."""
    if state.statuses(stamp) & kind.closed:
        return Rejection(rule="not_open", said=f"the {kind.name} is closed")
    touched = {*write.plain, *write.sealed, *((STATUS,) if write.status else ())}
    open_conflicts = sorted(touched & state.conflicts(kind).keys())
    if stamp.hlc.node == clocks.LEDGER and open_conflicts:
        said = f"resolve first what is in conflict: {', '.join(open_conflicts)}"
        return Rejection(rule="conflicted", said=said)
    return None


def unsettled(kind: Kind, state: Shared, stamp: Stamp, write: Write) -> Rejection | None:
    """Refuse to resolve where nothing is in conflict, all isn't settled, or more came meanwhile."""
    open_conflicts = state.conflicts(kind).keys()
    settled = {*write.plain, *write.sealed, *((STATUS,) if write.status else ())}
    if not open_conflicts:
        return Rejection(rule="no_conflict", said=f"nothing of the {kind.name} is in conflict")
    if settled != open_conflicts:
        said = f"give a value to each of these and no other: {', '.join(sorted(open_conflicts))}"
        return Rejection(rule="unsettled", said=said)
    if clocks.compare(state.clock, stamp.clock) != "before":
        return Rejection(rule="stale", said="edits came that the clock doesn't know; look again")
    return None


def settled(state: Shared, write: Write) -> Write:
    """The write with a status that stands already as it was: when that was, and by whom."""
    for sibling in reversed(state.registers[STATUS]):
        if sibling.value["status"] == write.status:
            return replace(write, status_at=sibling.value["at"], status_by=sibling.value["by"])
    return write


def happened(
    kind: Kind, state: Shared | None, facts: Mapping[str, Any], stamp: Stamp, write: Write
) -> list[Happened] | Rejection:
    """The event that a write becomes, with the edited fields as they stand after it."""
    fields = {**write.plain, **write.sealed}
    sealed = {name: text for name, text in write.sealed.items() if text is not None}
    if write.reason is not None:
        sealed["reason"] = write.reason
    data = {
        **facts,
        **stamp.to_data(),
        "fields": sorted(fields),
        "cleared": sorted(name for name, value in fields.items() if value is None),
        "edit": {name: write.plain.get(name) for name in kind.plain},
        "status": write.status,
        "status_at": write.status_at,
        "status_by": write.status_by,
        **write.more,
    }
    after = registers.put(state.registers if state else {}, stamp, written(data, sealed))
    if any(len(register) > registers.SIBLINGS_MAX for register in after.values()):
        said = f"resolve first: more versions of one field than {registers.SIBLINGS_MAX}"
        return Rejection(rule="too_many_versions", said=said)
    told = {name: registers.shown(after, name) for name in kind.told}
    return [
        Happened(
            event_type=write.event_type,
            data={**data, **told},
            clear=sealed,
            person_id=facts[kind.person] if kind.person else None,
            occurred_at=write.occurred_at,
        )
    ]
