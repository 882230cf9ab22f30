"""The facts' projection: events in, the facts that the judge reads, and what is due."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from schemas.clock import instant, micros
from schemas.events import SUPERSEDED, TYPES, Event, standing, superseded
from sinks.aliases import TELLING, UNDO
from sinks.changes import Change, Put, Raise, Row
from sinks.projection import Load, Projection, Rows
from sinks.tables import (
    feed_watermarks,
    verification_decisions,
    verification_due,
    verification_evidence,
    verification_links,
    verification_orders,
    verification_rules,
    verification_tasks,
    verification_visits,
)
from sinks.tables.verification import FACTS
from streams.ledger.commands.verifications import DUE
from streams.verification import orders, rules
from streams.verification.facts import recency

CHANNEL: Final = "wardtrail_due"
FOLD_VERSION: Final = 2
ADT: Final = "adt"
"""What a feed told that is neither evidence nor an order."""
ORDER: Final = "order"
# A clock that is wrong by more than any zone says nothing of how far a feed has told.
AHEAD_MAX = timedelta(days=1)
_CLINICAL = frozenset({"patient", "admission", "evidence", "order"})
_UNKNOWN = -(1 << 62)  # before any instant

READS: Final = frozenset(
    name
    for name, kind in TYPES.items()
    if kind.stream_type in {*_CLINICAL, "task", "verification_rule", "verification"}
)


def fold(events: Sequence[Event], rows: Rows) -> list[Change]:
    """Fold one stream's new events into facts; whoever they may concern becomes due.

    A due mark carries the place of the event that made it, so it is there as soon as the fact
    is, and no later fact hides behind an earlier mark.
    """
    kind = events[0]["stream_type"]
    changes: list[Change] = []
    if kind == "task":
        changes += _tasks(events, _one(rows, verification_tasks.name))
    elif kind == "evidence":
        changes += _evidence(events, _one(rows, verification_evidence.name))
    elif kind == "order":
        changes += _orders(events, _one(rows, verification_orders.name))
    elif kind == "verification_rule":
        changes += _rules(events, _one(rows, verification_rules.name))
    elif kind == "verification":
        for event in events:
            changes += _decision(event)
    elif kind == "patient":
        for event in events:
            changes += _link(event)
    else:
        changes += _visit(events, _one(rows, verification_visits.name))
    if kind in _CLINICAL:
        changes += [Raise(feed_watermarks, row) for event in events for row in _watermark(event)]
    return changes


def _tasks(events: Sequence[Event], known: Row | None) -> list[Change]:
    """The task as its last event says; whether it is cancelled, by the latest hybrid clock."""
    patients = {known["patient_id"]} if known else set()
    said = list(known["status_said"]) if known else []
    for event in events:
        data = event["data"]
        patients.add(data["patient_id"])
        place = [data["hlc_micros"], data["hlc_counter"], data["replica"], event["event_id"]]
        if data["status"] is not None and said[:4] < place:
            said = [*place, data["status"]]
    last = events[-1]
    data = last["data"]
    row = {
        "task_id": last["stream_id"],
        "tenant_id": last["tenant_id"],
        "version": last["event_version"],
        **{name: data[name] for name in ("patient_id", "admission_id", "rule_id", "order_id")},
        **{name: _time(data[name]) for name in ("window_starts_at", "window_ends_at", "due_at")},
        "cancelled": said[4:] == ["cancelled"],
        "status_said": said,
        "recorded_at": instant(last["recorded_at"]),
        **_origin(last),
    }
    return [
        Put(verification_tasks, row),
        _due(last, "task", last["stream_id"]),
        *(_due(last, "patient", each) for each in sorted(patients - {None})),
    ]


def _evidence(events: Sequence[Event], known: Row | None) -> list[Change]:
    """The newest version, by what it says of itself; all patients that any version named."""
    newest = dict(known) if known else None
    patients = {known["patient_id"]} if known else set()
    visits = {known["admission_id"]} if known else set()
    if superseded(events):  # whom that concerned which counts no more
        said = [event["data"] for event in events if "patient_id" in event["data"]]
        patients |= {each["patient_id"] for each in said}
        visits |= {each["admission_id"] for each in said}
    for event in standing(events):
        row = _version(event)
        patients.add(row["patient_id"])
        versions = 1 + (newest["versions"] if newest else 0)
        if newest is None or _recency(newest) < _recency(row):
            newest = row
        newest = {**newest, "versions": versions}
    last = events[-1]
    changes: list[Change] = []
    if newest is not None:
        visits.add(newest["admission_id"])
        changes.append(Put(verification_evidence, {**newest, **_origin(last)}))
    return [
        *changes,
        *(_due(last, "patient", each) for each in sorted(patients)),
        *(_due(last, "visit", each) for each in sorted(visits - {None})),
    ]


def _version(event: Event) -> dict[str, Any]:
    data = event["data"]
    return {
        "evidence_id": event["stream_id"],
        "tenant_id": event["tenant_id"],
        "event_id": event["event_id"],
        "feed_id": event["feed_id"],
        "evidence_kind": data["kind"],
        "evidence_state": data["state"],
        "raw_state": data["raw_state"],
        "codes": [[each["system"], each["code"]] for each in data["codes"]],
        "value_number": data["value_number"],
        "value_unit": data["value_unit"],
        "value_comparator": data["value_comparator"],
        "value_code": data["value_code"],
        "patient_id": data["patient_id"],
        "admission_id": data["admission_id"],
        "order_id": data["order_id"],
        "performed_at": instant(event["occurred_at"]),
        "reported_at": _time(data["reported_at"]),
        "version": data["version"],
        "versions": 1,
        "recorded_at": instant(event["recorded_at"]),
        **_origin(event),
    }


def _recency(row: Mapping[str, Any]) -> tuple[int, bool, Any, str]:
    return recency(row["version"], row["reported_at"], row["event_id"])


def _orders(events: Sequence[Event], known: Row | None) -> list[Change]:
    """The order by what was told last of each thing; all patients that were ever named."""
    last, counting = events[-1], standing(events)
    changes: list[Change] = []
    patients = {
        event["data"]["patient_id"]
        for event in events if superseded(events) and "patient_id" in event["data"]
    }  # fmt: skip
    if counting:
        row, named = orders.row(counting, known)
        patients |= named
        changes.append(Put(verification_orders, {**row, **_origin(last)}))
    return [
        *changes,
        *(_due(last, "patient", each) for each in sorted(patients)),
    ]


def _rules(events: Sequence[Event], known: Row | None) -> list[Change]:
    """The rule as it was defined last; one that is retired stands for the tasks that name it."""
    row = dict(known) if known else {"order_codes": [], "retired_at": None}
    for event in events:
        retired = event["event_type"] == "verification_rule.retired"
        if not retired:
            row |= {
                "rule_id": event["stream_id"],
                "tenant_id": event["tenant_id"],
                "version": event["event_version"],
                "name": event["data"]["name"],
                "rule": event["data"],
                "recorded_at": instant(event["recorded_at"]),
            }
            told = {tuple(code) for code in row["order_codes"]} | rules.order_codes(event["data"])
            row["order_codes"] = sorted(list(code) for code in told)
        row |= {"retired": retired, **_origin(event)}
        row["retired_at"] = instant(event["occurred_at"]) if retired else None
    return [Put(verification_rules, row), _due(events[-1], "rule", events[-1]["stream_id"])]


def _decision(event: Event) -> list[Change]:
    data = event["data"]
    row = {
        "event_id": event["event_id"],
        "tenant_id": event["tenant_id"],
        "verification_id": event["stream_id"],
        "task_id": data["task_id"],
        "version": event["event_version"],
        "decided": data["outcome"],
        "resolves": event["event_type"] == "verification.resolved",
        "decided_by": data["author_id"],
        "patient_id": data["patient_id"],
        "order_id": data.get("order_id"),
        # Events of before say neither: such a decision counts for no task of an order's.
        "rule_id": data.get("rule_id"),
        **{name: _time(data.get(name)) for name in DUE},
        "vector_clock": dict(data["clock"]),
        "hlc_micros": data["hlc_micros"],
        "hlc_counter": data["hlc_counter"],
        "hlc_node": data["replica"],
        "recorded_at": instant(event["recorded_at"]),
        **_origin(event),
    }
    due = [_due(event, "task", data["task_id"])]
    if data.get("order_id") is not None:  # whose task may not be there yet
        due.append(_due(event, "order", data["order_id"]))
    return [Put(verification_decisions, row), *due]


def _link(event: Event) -> list[Change]:
    """What ties two patients, or parts them: both are due."""
    other = TELLING.get(event["event_type"])
    if other is None:
        return []
    data = event["data"]
    patients = (event["stream_id"], data[other])
    if patients[0] == patients[1]:
        return []
    reported = data["reported_at"]
    row = {
        "event_id": event["event_id"],
        "tenant_id": event["tenant_id"],
        "patient_id": patients[0],
        "into_patient_id": patients[1],
        "link": data.get("kind", UNDO),
        "said_at": instant(event["occurred_at"] if reported is None else reported),
        **_origin(event),
    }
    return [
        Put(verification_links, row),
        *(_due(event, "patient", each) for each in sorted(patients)),
    ]


def _visit(events: Sequence[Event], known: Row | None) -> list[Change]:
    """Whose visit it became and as which one it goes on, by what was reported last (rule M5)."""
    said: dict[str, Any] = dict(known["said"]) if known else {}
    patients = {known["owner_id"]} if known else set()
    last = None
    for event in events:
        data, name = event["data"], ""
        if event["event_type"] == "admission.patient_changed":
            name, value = "owner_id", data["patient_id"]
            patients |= {value, data["from_patient_id"]}
        elif event["event_type"] == "admission.joined":
            name, value = "joined_into", data["into_admission_id"]
            patients.add(data["patient_id"])
        if not name:
            continue
        last = event
        reported = data["reported_at"]
        place = [_UNKNOWN if reported is None else reported, event["occurred_at"]]
        newest = [*place, event["event_id"], value]
        if name not in said or said[name][:3] < newest[:3]:
            said[name] = newest
    if last is None:
        return []
    row: dict[str, Any] = {
        "admission_id": last["stream_id"],
        "tenant_id": last["tenant_id"],
        "owner_id": said["owner_id"][3] if "owner_id" in said else None,
        "joined_into": said["joined_into"][3] if "joined_into" in said else None,
        "said": said,
        **_origin(last),
    }
    visits = {last["stream_id"], row["joined_into"], known["joined_into"] if known else None}
    return [
        Put(verification_visits, row),
        *(_due(last, "visit", each) for each in sorted(visits - {None})),
        *(_due(last, "patient", each) for each in sorted(patients - {None})),
    ]


def _watermark(event: Event) -> list[Row]:
    """The clinical time that the feed has come to, unless its clock can't be right."""
    reported = event["data"].get("reported_at")
    if event["event_type"] in SUPERSEDED:
        return []  # what it was told by stays told
    if reported is None or reported > micros(instant(event["recorded_at"]) + AHEAD_MAX):
        return []
    kind = event["stream_type"]
    told = event["data"]["kind"] if kind == "evidence" else ORDER if kind == "order" else ADT
    return [
        {
            "tenant_id": event["tenant_id"],
            "feed_id": event["feed_id"],
            "partition": event["partition"],
            "told": told,
            "clinical_at": instant(reported),
        }
    ]


def _due(event: Event, due: str, due_id: str) -> Put:
    row = {
        "tenant_id": event["tenant_id"], "due": due, "due_id": due_id, "failed": None,
        **_origin(event),
    }  # fmt: skip
    return Put(verification_due, row)


def _origin(event: Event) -> dict[str, int]:
    return {"partition": event["partition"], "partition_seq": event["partition_seq"]}


def _time(at: int | None) -> Any:  # noqa: ANN401  a datetime or none
    return None if at is None else instant(at)


def _one(rows: Rows, table: str) -> Row | None:
    return next(iter(rows[table]), None)


PROJECTION: Final = Projection(
    name="verification",
    reads=READS,
    owns=FACTS,
    loads=(
        Load(table=verification_tasks, by="task_id"),
        Load(table=verification_evidence, by="evidence_id"),
        Load(table=verification_orders, by="order_id"),
        Load(table=verification_rules, by="rule_id"),
        Load(table=verification_visits, by="admission_id"),
    ),
    fold=fold,
    fold_version=FOLD_VERSION,
    notify=CHANNEL,
    unknown="park",  # it may take back what a verified task rests on
    again=frozenset({"evidence", "order"}),
)
