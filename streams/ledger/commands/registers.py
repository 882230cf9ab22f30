"""Registers: a field's concurrent versions, kept side by side until someone settles them.

A register is the set of writes that no other write knew of: joining two keeps of all their
writes those that stand before none. So joining is commutative, associative and idempotent, and
what a field holds doesn't depend on the order in which writes come.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from streams.ledger.commands import clocks
from streams.ledger.commands.aggregate import Asked, Rejection
from streams.ledger.commands.clocks import LEDGER, Hlc, VectorClock

# Each replica has at most one write that none of its own knew of, if it counts at all.
SIBLINGS_MAX = clocks.REPLICAS_MAX
# A device's clock may run ahead of the server's; one that runs hours ahead would win every tie.
AHEAD_MAX_S = 300
STAMP = ("clock", "hlc_micros", "hlc_counter", "replica", "author_id")
"""The fields of an event's data that say when, as its writer's clocks had it, and who."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """When a write was, as its writer's clocks had it, and who wrote; the id is text."""

    clock: VectorClock
    hlc: Hlc
    author_id: str

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> "Stamp":
        """The stamp in an event's data."""
        hlc = Hlc(data["hlc_micros"], data["hlc_counter"], data["replica"])
        return cls(clock=dict(data["clock"]), hlc=hlc, author_id=data["author_id"])

    def to_data(self) -> dict[str, Any]:
        """The stamp as the fields :data:`STAMP` of an event's data."""
        return {
            "clock": dict(self.clock), "hlc_micros": self.hlc.micros,
            "hlc_counter": self.hlc.counter, "replica": self.hlc.node,
            "author_id": self.author_id,
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """One write of a field; ``value`` is any JSON value."""

    stamp: Stamp
    value: Any

    @property
    def place(self) -> tuple[Hlc, str, bytes]:
        """Its place among siblings, the same wherever they are looked at."""
        return self.stamp.hlc, self.stamp.author_id, orjson.dumps(self.to_json(), option=_SORTED)

    def to_json(self) -> dict[str, Any]:
        """For snapshots, rows, and those who are to settle a conflict."""
        hlc = self.stamp.hlc
        return {
            "clock": dict(sorted(self.stamp.clock.items())),
            "hlc": [hlc.micros, hlc.counter, hlc.node],
            "author_id": self.stamp.author_id,
            "value": self.value,
        }

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Sibling":
        """The sibling that :meth:`to_json` gave."""
        stamp = Stamp(clock=kept["clock"], hlc=Hlc(*kept["hlc"]), author_id=kept["author_id"])
        return cls(stamp=stamp, value=kept["value"])


Register: TypeAlias = tuple[Sibling, ...]  # never empty; sorted by place, the last one shown
Registers: TypeAlias = Mapping[str, Register]

_SORTED = orjson.OPT_SORT_KEYS


def joined(register: Register, writes: Iterable[Sibling]) -> Register:
    """Of a register's writes and further ones those that no other write knew of, each once.

    Each is compared with those kept alone, so one write costs as many looks as there are.
    """
    for write in writes:
        orders = [clocks.compare(there.stamp.clock, write.stamp.clock) for there in register]
        if "after" in orders:
            continue
        kept = [there for there, order in zip(register, orders, strict=True) if order != "before"]
        if all(there.place != write.place for there in kept):
            register = tuple(sorted((*kept, write), key=_place))
    return register


def put(registers: Registers, stamp: Stamp, values: Mapping[str, Any]) -> dict[str, Register]:
    """The registers after one write of some fields."""
    written = {
        field: joined(registers.get(field, ()), (Sibling(stamp=stamp, value=value),))
        for field, value in values.items()
    }
    return {**registers, **written}


def _place(sibling: Sibling) -> tuple[Hlc, str, bytes]:
    return sibling.place


def shown(registers: Registers, field: str) -> Any:  # noqa: ANN401  any JSON value
    """What a field shows: of concurrent writes the latest by the hybrid clock; None if unset."""
    register = registers.get(field)
    return register[-1].value if register else None


def differ(register: Register) -> bool:
    """Whether concurrent writes disagree."""
    return any(sibling.value != register[0].value for sibling in register)


def to_json(registers: Registers) -> dict[str, list[dict[str, Any]]]:
    """All registers, for snapshots and rows."""
    return {
        field: [sibling.to_json() for sibling in registers[field]] for field in sorted(registers)
    }


def of_json(kept: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, Register]:
    """The registers that :func:`to_json` gave."""
    return {
        field: tuple(Sibling.of_json(sibling) for sibling in siblings)
        for field, siblings in kept.items()
    }


def stamped(asked: Asked, clock: VectorClock, hlc: Hlc) -> Stamp | Rejection:
    """The stamp of a command on a stream that stands at ``clock`` and ``hlc``.

    Who was offline says what they knew (``clock``, ``hlc_micros``, ``hlc_counter``,
    ``replica``); who says nothing was online and knew all that the ledger holds.
    """
    data = asked.data
    if data["clock"] is None:
        next_clock = clocks.advanced(clock, LEDGER)
        ticked = Hlc(hlc.micros, hlc.counter, LEDGER).tick(asked.issued_at)
        stamp = Stamp(clock=next_clock, hlc=ticked, author_id=asked.issued_by)
        return _too_many(next_clock) or stamp
    refused = _refused(data, clock, asked.issued_at)
    if refused is not None:
        return refused
    given = Hlc(data["hlc_micros"], data["hlc_counter"], data["replica"])
    return Stamp(clock=dict(sorted(data["clock"].items())), hlc=given, author_id=asked.issued_by)


def _refused(data: Mapping[str, Any], clock: VectorClock, now: int) -> Rejection | None:
    given, replica = data["clock"], data["replica"]
    if replica is None or data["hlc_micros"] is None or data["hlc_counter"] is None:
        return Rejection(
            rule="clock_invalid", said="a clock comes with replica, hlc_micros and hlc_counter"
        )
    fault = clocks.fault(given)
    if fault is not None:
        return Rejection(rule="clock_invalid", said=fault)
    if replica == LEDGER or replica not in given:
        return Rejection(
            rule="clock_invalid", said="the replica counts its own edit, and isn't the ledger"
        )
    if not (data["hlc_micros"] >= 0 and 0 <= data["hlc_counter"] <= clocks.TIE_MAX):
        return Rejection(
            rule="clock_invalid", said=f"hlc_micros from 0, hlc_counter 0 to {clocks.TIE_MAX}"
        )
    if data["hlc_micros"] > now + AHEAD_MAX_S * 1_000_000:
        return Rejection(
            rule="clock_ahead", said=f"the device's clock is ahead, seconds: over {AHEAD_MAX_S}"
        )
    return _too_many(clocks.merged(clock, given)) or _unseen(given, clock, replica)


def _unseen(given: VectorClock, clock: VectorClock, replica: str) -> Rejection | None:
    """Refuse a clock that counts of others what hasn't come to the ledger.

    What a device knew of them it had from here; one that counts further would overrule what they
    have yet to say.
    """
    if all(count <= clock.get(each, 0) for each, count in given.items() if each != replica):
        return None
    said = "the clock counts another replica's edits that have not come to the ledger"
    return Rejection(rule="clock_unseen", said=said)


def _too_many(clock: VectorClock) -> Rejection | None:
    if len({*clock, LEDGER}) > clocks.REPLICAS_MAX:
        most = clocks.REPLICAS_MAX
        return Rejection(
            rule="too_many_replicas", said=f"one thing is edited by fewer replicas than: {most}"
        )
    return None
