"""Events of one visit, and its tables in memory."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from schemas.clock import instant, micros
from schemas.events import Event
from sinks.changes import Append, Change, Row
from sinks.projection import Projection

NAMES = UUID(int=7)
TENANT, FEED = str(uuid5(NAMES, "tenant")), str(uuid5(NAMES, "feed"))
VISIT, PATIENT = str(uuid5(NAMES, "visit")), str(uuid5(NAMES, "patient"))
TYPES = {
    "A01": "admission.created",
    "A04": "admission.created",
    "A02": "admission.location_changed",
    "A03": "admission.discharged",
    "A08": "admission.updated",
    "A11": "admission.cancelled",
    "A12": "admission.location_change_cancelled",
    "A13": "admission.discharge_cancelled",
}
FIELDS = {"A01": "PV1-44", "A04": "PV1-44", "A03": "PV1-45"}


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
    **more: Any,
) -> Event:
    """What one message says of the visit; ``reported`` is ``at`` if not given.

    ``by`` is the field that gave ``at``: EVN-6 for a cancellation, if not given.
    """
    said = at if reported == "" else reported
    if by is None:
        by = "EVN-6" if trigger in ("A11", "A12", "A13") else FIELDS.get(trigger, "EVN-2")
    key = f"{trigger}|{at}|{place}|{prior}|{said}|{by}|{name}"
    event_id = str(uuid5(NAMES, key))
    number = more.pop("visit_number", b"sealed " + key.encode())
    return Event(
        event_id=event_id, stream_type="admission", stream_id=VISIT, event_version=1,
        event_type=TYPES[trigger], schema_version=1, tenant_id=TENANT, feed_id=FEED,
        message_id=str(uuid5(NAMES, "message " + key)), person_id=PATIENT,
        occurred_at=micros(clock(at)), occurred_precision="second", occurred_field=by,
        occurred_text=at, recorded_at=0, partition=3, partition_seq=0, global_position=0,
        correlation_id=event_id, causation_id=event_id, mapper_version=1, trace=None,
        created_by=FEED, sealed={"visit_number": number},
        data={
            "patient_id": PATIENT, "trigger": trigger,
            "reported_at": None if said is None else micros(clock(said)),
            "place": place, "prior_place": prior, **more,
        },
    )  # fmt: skip


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
            (key,) = (str(change.row[column.name]) for column in change.table.primary_key)
            table = self.table(change.table.name)
            assert not (isinstance(change, Append) and key in table), "appended twice"
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
    assert where == "event_type <> 'admission.updated'"
    return row["event_type"] != "admission.updated"


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
