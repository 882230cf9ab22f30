"""Flight plans: what an admission is to come to: goals, tasks, milestones, its risk and alerts.

draft → active → completed. An admission has one plan: the stream's id follows from its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from uuid import UUID

from schemas import identity
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

STREAMS = UUID("0c0a6f3e-6f0e-5b8e-9b60-0f5f6f3a7d19")  # namespace of stream ids; never changes
DRAFT, ACTIVE, COMPLETED = "draft", "active", "completed"
ITEMS_MAX = 200  # goals, tasks, milestones or open alerts: more is no plan that a ward follows
GOAL, TASK, MILESTONE = "goal", "task", "milestone"
Answer: TypeAlias = list[Happened] | Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A goal, task or milestone: whether it is done; when it is planned, if it is (µs)."""

    done: bool = False
    scheduled_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is decided on; ``items`` by kind and id, ``alerts`` are those not cleared."""

    admission_id: str
    patient_id: str
    status: str
    items: Mapping[str, Mapping[str, Item]]
    risk: float | None
    alerts: frozenset[str]

    def to_json(self) -> dict[str, Any]:
        """For snapshots."""
        return {
            "admission_id": self.admission_id, "patient_id": self.patient_id,
            "status": self.status, "risk": self.risk, "alerts": sorted(self.alerts),
            "items": {
                kind: {item_id: [each.done, each.scheduled_at] for item_id, each in known.items()}
                for kind, known in self.items.items()
            },
        }  # fmt: skip

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Plan":
        """The state of a snapshot."""
        items = {
            kind: {
                item_id: Item(done=done, scheduled_at=at) for item_id, (done, at) in known.items()
            }
            for kind, known in kept["items"].items()
        }
        return cls(**{**kept, "items": items, "alerts": frozenset(kept["alerts"])})


def stream_of(admission_id: str) -> str:
    """The stream of an admission's plan."""
    return identity.following(STREAMS, admission_id)


def evolve(state: Plan | None, event: Told) -> Plan:
    """The plan after an event."""
    data, what = event.data, event.event_type.removeprefix("flightplan.")
    if state is None:
        return Plan(
            admission_id=data["admission_id"], patient_id=data["patient_id"], status=DRAFT,
            items={GOAL: {}, TASK: {}, MILESTONE: {}}, risk=None, alerts=frozenset(),
        )  # fmt: skip
    if what in _STATUSES:
        return replace(state, status=_STATUSES[what])
    if what == "risk_set":
        return replace(state, risk=data["score"])
    if what == "alert_raised":
        return replace(state, alerts=state.alerts | {data["alert_id"]})
    if what == "alert_cleared":
        return replace(state, alerts=state.alerts - {data["alert_id"]})
    kind, _, change = what.partition("_")
    known, item_id = state.items[kind], data[f"{kind}_id"]
    item = known.get(item_id, Item())
    if "scheduled_at" in data:
        item = replace(item, scheduled_at=data["scheduled_at"])
    if change in ("achieved", "completed"):
        item = replace(item, done=True)
    return replace(state, items={**state.items, kind: {**known, item_id: item}})


def decide(state: Plan | None, asked: Asked) -> Answer:
    """What a command on a plan becomes, or the rule that refuses it."""
    if asked.command_type == "flightplan.create":
        assert state is None, FOUNDED
        return _create(asked)
    assert state is not None, FOUND
    if state.status == COMPLETED:
        return Rejection(rule="completed", said="the plan is over, and changes no more")
    return _DECIDES[asked.command_type](state, asked)


def _create(asked: Asked) -> Answer:
    data, stream = asked.data, stream_of(asked.data["admission_id"])
    if asked.stream_id != stream:
        return Rejection(rule="wrong_stream", said=f"that admission's plan stands in: {stream}")
    named = {} if data["title"] is None else {"title": data["title"]}
    return fields.line("title", data["title"]) or [
        Happened(
            event_type="flightplan.created",
            data={name: data[name] for name in ("admission_id", "patient_id")},
            clear=named,
            person_id=data["patient_id"],
        )
    ]


def _activate(state: Plan, asked: Asked) -> Answer:
    if state.status == ACTIVE:
        return Rejection(rule="not_draft", said="the plan is active already")
    return _told(state, "activated", at=asked.data["activated_at"])


def _complete(state: Plan, asked: Asked) -> Answer:
    return _inactive(state) or _told(state, "completed", at=asked.data["completed_at"])


def _add(kind: str, state: Plan, asked: Asked) -> Answer:
    data, known, name = asked.data, state.items[kind], f"{kind}_id"
    if data[name] in known:
        return Rejection(rule="known", said=f"the plan has such a {kind} already")
    if len(known) >= ITEMS_MAX:
        return Rejection(rule="too_many", said=f"a plan has, of {kind}s, at most: {ITEMS_MAX}")
    said = {each: data[each] for each in (name, "scheduled_at") if each in data}
    return fields.line("name", data["name"]) or _told(
        state, f"{kind}_added", said, clear={"name": data["name"]}
    )


def _finish(kind: str, change: str, at: str, state: Plan, asked: Asked) -> Answer:
    name = f"{kind}_id"
    refused = _inactive(state) or _undone(kind, state, asked)
    said = {name: asked.data[name]}
    return refused or _told(state, f"{kind}_{change}", said, at=asked.data[at])


def _reschedule(state: Plan, asked: Asked) -> Answer:
    data = asked.data
    refused = _undone(MILESTONE, state, asked)
    if refused is not None:
        return refused
    if state.items[MILESTONE][data["milestone_id"]].scheduled_at == data["scheduled_at"]:
        return Rejection(rule="nothing_to_change", said="the milestone is planned for then already")
    said = {name: data[name] for name in ("milestone_id", "scheduled_at")}
    return _told(state, "milestone_rescheduled", said)


def _risk(state: Plan, asked: Asked) -> Answer:
    score = asked.data["score"]
    if not 0 <= score <= 1:  # nor is what isn't a number
        return Rejection(rule="risk_invalid", said="a risk is from 0 to 1")
    if score == state.risk:
        return Rejection(rule="nothing_to_change", said="the risk is judged so already")
    return _told(state, "risk_set", {"score": score}, at=asked.data["judged_at"])


def _raise(state: Plan, asked: Asked) -> Answer:
    data = asked.data
    if data["alert_id"] in state.alerts:
        return Rejection(rule="known", said="the plan has such an alert already")
    if len(state.alerts) >= ITEMS_MAX:
        return Rejection(rule="too_many", said=f"a plan has, of open alerts, at most: {ITEMS_MAX}")
    said = {name: data[name] for name in ("alert_id", "severity")}
    return fields.prose("text", data["text"]) or _told(
        state, "alert_raised", said, clear={"text": data["text"]}
    )


def _clear(state: Plan, asked: Asked) -> Answer:
    alert = asked.data["alert_id"]
    if alert not in state.alerts:
        return Rejection(rule="not_raised", said="the plan has no such alert")
    return _told(state, "alert_cleared", {"alert_id": alert})


def _inactive(state: Plan) -> Rejection | None:
    if state.status == ACTIVE:
        return None
    return Rejection(rule="not_active", said="the plan is a draft: activate it first")


def _undone(kind: str, state: Plan, asked: Asked) -> Rejection | None:
    """Refuse what the plan doesn't have, and what is done."""
    item = state.items[kind].get(asked.data[f"{kind}_id"])
    if item is None:
        return Rejection(rule="not_planned", said=f"the plan has no such {kind}")
    if item.done:
        return Rejection(rule="done", said=f"it is done already: {kind}")
    return None


def _told(
    state: Plan,
    what: str,
    said: Mapping[str, Any] = MappingProxyType({}),
    *,
    clear: Mapping[str, Any] = MappingProxyType({}),
    at: int | None = None,
) -> list[Happened]:
    """The event, with whose plan it is; ``at`` is when it happened, if somebody says so."""
    whose = {"admission_id": state.admission_id, "patient_id": state.patient_id}
    return [
        Happened(
            event_type=f"flightplan.{what}", data={**whose, **said}, clear=clear,
            person_id=state.patient_id, occurred_at=at,
        )
    ]  # fmt: skip


_STATUSES: Mapping[str, str] = {"activated": ACTIVE, "completed": COMPLETED}
_DECIDES: Mapping[str, Callable[[Plan, Asked], Answer]] = {
    "flightplan.activate": _activate,
    "flightplan.complete": _complete,
    "flightplan.add_goal": partial(_add, GOAL),
    "flightplan.achieve_goal": partial(_finish, GOAL, "achieved", "achieved_at"),
    "flightplan.add_task": partial(_add, TASK),
    "flightplan.complete_task": partial(_finish, TASK, "completed", "completed_at"),
    "flightplan.add_milestone": partial(_add, MILESTONE),
    "flightplan.complete_milestone": partial(_finish, MILESTONE, "completed", "completed_at"),
    "flightplan.reschedule_milestone": _reschedule,
    "flightplan.set_risk": _risk,
    "flightplan.raise_alert": _raise,
    "flightplan.clear_alert": _clear,
}

AGGREGATE: Final = Aggregate(
    stream_type="flightplan",
    evolve=evolve,
    decide=decide,
    to_json=Plan.to_json,
    of_json=Plan.of_json,
)
