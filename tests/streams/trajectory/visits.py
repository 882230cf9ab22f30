"""Events of one visit, and its tables in memory."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any
from uuid import UUID, uuid5

from schemas import catalogue
from schemas.clock import instant, micros
from schemas.events import TYPES as TYPES_DECLARED
from schemas.events import Event
from sinks.changes import Append, Change, Remove, Row
from sinks.projection import Projection

NAMES = UUID(int=7)
TENANT, FEED = str(uuid5(NAMES, "tenant")), str(uuid5(NAMES, "feed"))
VISIT, PATIENT = str(uuid5(NAMES, "visit")), str(uuid5(NAMES, "patient"))
TYPES = {
    "A01": "admission.created",
    "A02": "admission.location_changed",
    "A03": "admission.discharged",
    "A04": "admission.created",
    "A05": "admission.planned",
    "A06": "admission.class_changed",
    "A07": "admission.class_changed",
    "A08": "admission.updated",
    "A09": "admission.departed",
    "A10": "admission.arrived",
    "A11": "admission.cancelled",
    "A12": "admission.location_change_cancelled",
    "A13": "admission.discharge_cancelled",
    "A14": "admission.planned",
    "A15": "admission.planned",
    "A16": "admission.planned",
    "A17": "admission.location_changed",
    "A21": "admission.leave_started",
    "A22": "admission.leave_ended",
    "A23": "admission.deleted",
    "A25": "admission.plan_cancelled",
    "A26": "admission.plan_cancelled",
    "A27": "admission.plan_cancelled",
    "A32": "admission.arrival_cancelled",
    "A33": "admission.departure_cancelled",
    "A38": "admission.plan_cancelled",
    "A45": "admission.patient_changed",
    "A50": "admission.joined",
    "A52": "admission.leave_cancelled",
    "A53": "admission.return_cancelled",
    "Encounter": "admission.encounter_stated",
    "Z99": "admission.movement_updated",
}
PLANS = {
    "A05": "preadmit", "A38": "preadmit", "A14": "admit", "A27": "admit",
    "A15": "transfer", "A26": "transfer", "A16": "discharge", "A25": "discharge",
}  # fmt: skip
CANCELS = ("A11", "A12", "A13", "A32", "A33", "A52", "A53")
FIELDS = {"A01": "PV1-44", "A04": "PV1-44", "A03": "PV1-45", "Z99": "ZBE-2"}


def movement(number: int) -> str:
    """The id of a movement (ZBE-1)."""
    return str(uuid5(NAMES, f"movement {number}"))


@cache
def said(event_type: str) -> Mapping[str, Any]:
    """The fields of an event's data, each with its default."""
    full = catalogue.schema(f"{catalogue.EVENTS_NAMESPACE}.{TYPES_DECLARED[event_type].record}")
    (data,) = (field for field in full["fields"] if field["name"] == "data")
    return {field["name"]: field.get("default") for field in data["type"]["fields"]}


def clock(text: str) -> datetime:
    """``08:00`` or ``08:00:30`` of one day."""
    parts = [int(part) for part in text.split(":")]
    return datetime(2026, 3, 1, *parts, tzinfo=UTC)


def adt(
    trigger: str,
    at: str,
    place: str | None = None,
    *,
    prior: str | None = None,
    reported: str | None = "",
    by: str | None = None,
    name: str = "",
    precision: str = "second",
    **more: Any,
) -> Event:
    """What one message says of the visit; ``reported`` is ``at`` if not given.

    ``by`` is the field that gave ``at``: EVN-6 for a cancellation, if not given. ``precision``
    is that of ``at``. ``more`` are further fields of the event's data.
    """
    told = at if reported == "" else reported
    if by is None:
        by = "EVN-6" if trigger in CANCELS else FIELDS.get(trigger, "EVN-2")
    key = f"{trigger}|{at}|{place}|{prior}|{told}|{by}|{name}"
    number = more.pop("visit_number", b"sealed " + key.encode())
    key += "".join(f"|{field}={value}" for field, value in sorted(more.items()))
    key += "" if precision == "second" else precision
    event_id = str(uuid5(NAMES, key))
    if trigger in PLANS:
        more = {"plan": PLANS[trigger], **more}
    places = {"place": place, "prior_place": prior}
    data = dict(said(TYPES[trigger]))
    data.update((name, value) for name, value in places.items() if name in data)
    assert more.keys() <= data.keys(), "an event says what its record has"
    return Event(
        event_id=event_id, stream_type="admission", stream_id=VISIT, event_version=1,
        event_type=TYPES[trigger], schema_version=1, tenant_id=TENANT, feed_id=FEED,
        message_id=str(uuid5(NAMES, "message " + key)), person_id=PATIENT,
        occurred_at=micros(clock(at)), occurred_precision=precision, occurred_field=by,
        occurred_text=at, recorded_at=0, partition=3, partition_seq=0, global_position=0,
        correlation_id=event_id, causation_id=event_id, mapper_version=1, trace=None,
        created_by=FEED, sealed={"visit_number": number},
        data={
            **data, "patient_id": PATIENT, "trigger": trigger,
            "reported_at": None if told is None else micros(clock(told)), **more,
        },
    )  # fmt: skip


def double(event: Event, suffix: str = "dddd") -> Event:
    """The same said again in another message (rule T9)."""
    event_id = event["event_id"][: -len(suffix)] + suffix
    return Event(**{**event, "event_id": event_id})


def arrive(events: Iterable[Event]) -> list[Event]:
    """The events as the ledger records them in this order."""
    start = micros(datetime(2026, 3, 2, tzinfo=UTC))
    return [
        Event(**{**event, "partition_seq": seq, "event_version": seq, "recorded_at": start + seq})
        for seq, event in enumerate(events, start=1)
    ]


@dataclass
class Tables:
    """A projection's tables in memory, written and loaded as the sink does."""

    projection: Projection
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)

    def apply(self, events: Sequence[Event]) -> Sequence[Change]:
        """Fold one batch of one stream."""
        loaded = {
            load.table.name: [
                row for row in self.table(load.table.name).values() if _wanted(load.where, row)
            ]
            for load in self.projection.loads
        }
        changes = self.projection.fold(events, loaded)
        for change in changes:
            assert change.table in self.projection.owns
            key = "/".join(str(change.row[column.name]) for column in change.table.primary_key)
            table = self.table(change.table.name)
            assert not (isinstance(change, Append) and key in table), "appended twice"
            if isinstance(change, Remove):
                table.pop(key, None)
            else:
                table[key] = change.row
        return changes

    def table(self, name: str) -> dict[str, Row]:
        """Rows of a table by primary key."""
        return self.rows.setdefault(name, {})


def _wanted(where: str, row: Row) -> bool:
    if where == "true":
        return True
    if where == "known_to IS NULL":
        return row["known_to"] is None
    assert where == "event_type <> 'admission.updated' AND superseded_at IS NULL"
    return row["event_type"] != "admission.updated" and row["superseded_at"] is None


def batches(events: Sequence[Event], cuts: int) -> list[Sequence[Event]]:
    """The events split where the bits of ``cuts`` are set."""
    found: list[list[Event]] = [[]]
    for number, event in enumerate(events):
        if number and cuts >> (number - 1) & 1:
            found.append([])
        found[-1].append(event)
    return found


def orders(events: Sequence[Event]) -> Iterable[tuple[Event, ...]]:
    """Every order in which the events can come."""
    return itertools.permutations(events)


def shape(stays: Iterable[Any]) -> list[str]:
    """Stays as short text: ``A 08:00-10:00``, ``~`` before a time that is inferred."""
    found = []
    for stay in stays:
        start = ("~" if stay.start_inferred else "") + _short(stay.start)
        end = "" if stay.end is None else ("~" if stay.end_inferred else "") + _short(stay.end)
        found.append(f"{stay.place} {start}-{end}")
    return found


def _short(at: datetime) -> str:
    return f"{at:%H:%M}" if not at.second and not at.microsecond else f"{at:%H:%M:%S}"


def seconds(event: Event) -> datetime:
    """When the event was recorded."""
    return instant(event["recorded_at"])


def without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """A row without some columns."""
    return {name: value for name, value in row.items() if name not in names}
