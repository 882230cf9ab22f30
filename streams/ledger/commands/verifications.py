"""Decisions on whether a task was done, which stand beside what the feeds say (rule V11).

All decisions on a task are in one stream, whose id follows from the task's. A task that an order
makes has no stream of its own: its id follows from the order's and the rule's, so that it can be
decided on whatever else is known by then. Its number says nothing of when it is due, which the
decision therefore says too. None is ever lost:
which ones stand is read from their clocks, in which ``emr`` counts the versions of evidence that
the decider had seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from schemas import identity
from streams.ledger.commands import clocks, fields, registers
from streams.ledger.commands.aggregate import Aggregate, Asked, Happened, Rejection, Told
from streams.ledger.commands.clocks import Hlc, VectorClock
from streams.ledger.commands.registers import Stamp
from streams.verification import asked as orders

STREAMS = UUID("5a1c2a0e-9f0d-5c55-8a43-7f1f0a6d2c4b")  # namespace of stream ids; never changes
EMR: Final = "emr"
"""The replica that the feeds are in vector clocks."""
DUE: Final = ("due_at", "window_starts_at", "window_ends_at")
"""When an order's task was due, as the decider was shown it."""
_NAMED = ("task_id", "order_id", "rule_id", "patient_id", "outcome", *DUE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """What is decided on: what all decisions so far knew."""

    clock: VectorClock
    hlc: Hlc

    def to_json(self) -> dict[str, Any]:
        """For snapshots."""
        return {
            "clock": dict(self.clock),
            "hlc": [self.hlc.micros, self.hlc.counter, self.hlc.node],
        }

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Decisions":
        """The state of a snapshot."""
        return cls(clock=kept["clock"], hlc=Hlc(*kept["hlc"]))


def stream_of(task_id: str) -> str:
    """The stream of the decisions on a task."""
    return identity.following(STREAMS, task_id)


def evolve(state: Decisions | None, event: Told) -> Decisions:
    """What is known after one more decision."""
    stamp = Stamp.of_data(event.data)
    if state is None:
        return Decisions(clock=stamp.clock, hlc=stamp.hlc)
    return Decisions(clock=clocks.merged(state.clock, stamp.clock), hlc=max(state.hlc, stamp.hlc))


def decide(state: Decisions | None, asked: Asked) -> list[Happened] | Rejection:
    """Take the decision down; to resolve takes one that came before, or evidence seen."""
    data = asked.data
    stream = stream_of(data["task_id"])
    if asked.stream_id != stream:
        return Rejection(rule="wrong_stream", said=f"decisions on that task stand in: {stream}")
    unknown = _of_order(data)
    if unknown is not None:
        return unknown
    resolves = asked.command_type == "verification.resolve"
    # Of an order's they may have decided about the same time under another number.
    if resolves and state is None and data["order_id"] is None:
        return Rejection(rule="no_conflict", said="nobody has decided on the task yet")
    if data["evidence_seen"] is not None and not 0 <= data["evidence_seen"] <= clocks.COUNTER_MAX:
        return Rejection(rule="clock_invalid", said="evidence_seen is counted from 0")
    stamp = registers.stamped(asked, _seen(state, data["clock"]), state.hlc if state else Hlc())
    refused = fields.prose("reason", data["reason"])
    if isinstance(stamp, Rejection) or refused is not None:
        return stamp if isinstance(stamp, Rejection) else refused or []
    seen = {EMR: data["evidence_seen"]} if data["evidence_seen"] else {}
    said = {**stamp.to_data(), "clock": clocks.merged(stamp.clock, seen)}
    named = {name: data[name] for name in _NAMED}
    return [
        Happened(
            event_type="verification.resolved" if resolves else "verification.decided",
            data={**named, **said},
            clear={} if data["reason"] is None else {"reason": data["reason"]},
            person_id=data["patient_id"],
        )
    ]


def _of_order(data: Mapping[str, Any]) -> Rejection | None:
    """Why a task isn't the order's that the command says makes it."""
    order, rule = data["order_id"], data["rule_id"]
    if (order is None) != (rule is None):
        return Rejection(
            rule="order_and_rule", said="a task of an order is named by its order_id and rule_id"
        )
    timed = any(data[name] is not None for name in DUE)
    if timed != (order is not None):
        said = f"when it is due is said of a task of an order, and of no other: {', '.join(DUE)}"
        return Rejection(rule="due_time", said=said)
    if order is None or orders.is_asked(data["task_id"], order, rule):
        return None
    return Rejection(rule="not_of_order", said="that order makes no such task by that rule")


def _seen(state: Decisions | None, given: VectorClock | None) -> VectorClock:
    """What a clock may count of others; how much the feeds told, the ledger leaves to the judge."""
    ours = _ours(state.clock) if state else {}
    return {**ours, EMR: given[EMR]} if given and EMR in given else ours


def _ours(clock: VectorClock) -> VectorClock:
    """What decisions knew of each other: what one saw of the feeds, the next need not have."""
    return {replica: count for replica, count in clock.items() if replica != EMR}


AGGREGATE: Final = Aggregate(
    stream_type="verification",
    evolve=evolve,
    decide=decide,
    to_json=Decisions.to_json,
    of_json=Decisions.of_json,
)
