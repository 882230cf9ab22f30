"""Facts: what each admission event says about a visit's path, apart from when it came."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from schemas.clock import instant, micros
from schemas.events import Event
from schemas.place import Place
from sinks.changes import Row

CREATED = "admission.created"
MOVED = "admission.location_changed"
DISCHARGED = "admission.discharged"
CANCELLED = "admission.cancelled"
MOVE_CANCELLED = "admission.location_change_cancelled"
DISCHARGE_CANCELLED = "admission.discharge_cancelled"
UPDATED = "admission.updated"

PATH_KINDS = frozenset((CREATED, MOVED, DISCHARGED, CANCELLED, MOVE_CANCELLED, DISCHARGE_CANCELLED))
KINDS = PATH_KINDS | {UPDATED}

Identity = tuple[str, ...]
Order = tuple[datetime, bool, datetime, int, str]

_FURTHER = (
    "temporary_place", "prior_temporary_place", "pending_place", "planned_place", "plan",
    "patient_class", "movement_id", "original_trigger",
)  # fmt: skip

UNKNOWN: Identity = ()  # said to be unknown (rule T21)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_RANK = {CREATED: 0, MOVED: 1, DISCHARGE_CANCELLED: 2, DISCHARGED: 3}
_PLACES_CACHED = 65_536  # more beds than a hospital group has; about 20 MB when full


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One event as the path sees it; ``kind`` is its event type.

    ``effective_at`` is when it happened, as ``effective_field`` gave it (rule T1); for a
    cancellation with EVN-6 the time of what is taken back (rule T2). ``reported_at`` is EVN-2,
    else MSH-7, else unknown. ``place`` and ``prior_place`` are PV1-3 and PV1-6: None is not
    said, empty is said to be unknown.
    """

    event_id: str
    kind: str
    patient_id: str
    effective_at: datetime
    effective_field: str
    reported_at: datetime | None
    place: str | None
    prior_place: str | None

    @property
    def order(self) -> Order:
        """What sorts facts: content alone, never arrival.

        At one instant whoever is placed is placed before the discharge of that instant, so
        that a discharge reported early never leaves the visit open for good.
        """
        return (
            self.effective_at,
            self.kind == DISCHARGED,
            self.reported_at or _EARLIEST,
            _RANK.get(self.kind, 9),
            self.event_id,
        )

    @property
    def exact(self) -> bool:
        """Whether this cancellation names the time of what it takes back (rule T2)."""
        return self.effective_field == "EVN-6"

    @property
    def at(self) -> Identity | None:
        """Where the patient is by this fact: None is not said, UNKNOWN is unknown."""
        return identity(self.place)

    @property
    def prior(self) -> Identity | None:
        """Where the patient was before, by this fact; None if it names no place."""
        return identity(self.prior_place) or None

    @classmethod
    def of_event(cls, event: Event) -> "Fact":
        """The fact in an admission event."""
        data = event["data"]
        reported = data["reported_at"]
        return cls(
            event_id=event["event_id"],
            kind=event["event_type"],
            patient_id=data["patient_id"],
            effective_at=instant(event["occurred_at"]),
            effective_field=event["occurred_field"],
            reported_at=None if reported is None else instant(reported),
            place=data["place"],
            prior_place=data["prior_place"],
        )

    @classmethod
    def of_row(cls, row: Row) -> "Fact":
        """The fact in a loaded row of ``trajectory_facts``."""
        return cls(
            event_id=row["event_id"],
            kind=row["event_type"],
            patient_id=row["patient_id"],
            effective_at=row["effective_at"],
            effective_field=row["effective_field"],
            reported_at=row["reported_at"],
            place=row["place"],
            prior_place=row["prior_place"],
        )

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> "Fact":
        """The fact that :meth:`to_json` wrote."""
        reported = value["reported_at"]
        return cls(
            event_id=value["event_id"],
            kind=value["kind"],
            patient_id=value["patient_id"],
            effective_at=instant(value["effective_at"]),
            effective_field=value["effective_field"],
            reported_at=None if reported is None else instant(reported),
            place=value["place"],
            prior_place=value["prior_place"],
        )

    def to_json(self) -> dict[str, Any]:
        """The fact as JSON holds it; times as microseconds."""
        return {
            "event_id": self.event_id,
            "kind": self.kind,
            "patient_id": self.patient_id,
            "effective_at": micros(self.effective_at),
            "effective_field": self.effective_field,
            "reported_at": None if self.reported_at is None else micros(self.reported_at),
            "place": self.place,
            "prior_place": self.prior_place,
        }


def row(event: Event) -> dict[str, Any]:
    """The row of ``trajectory_facts`` for an admission event."""
    data = event["data"]
    reported, expected = data["reported_at"], data.get("expected_at")
    return {
        "event_id": event["event_id"],
        "tenant_id": event["tenant_id"],
        "admission_id": event["stream_id"],
        "patient_id": data["patient_id"],
        "feed_id": event["feed_id"],
        "message_id": event["message_id"],
        "event_type": event["event_type"],
        "effective_at": instant(event["occurred_at"]),
        "effective_field": event["occurred_field"],
        "reported_at": None if reported is None else instant(reported),
        "recorded_at": instant(event["recorded_at"]),
        "place": data["place"],
        "prior_place": data["prior_place"],
        **{name: data.get(name) for name in _FURTHER},
        "expected_at": None if expected is None else instant(expected),
        "movement_historic": data.get("movement_historic", False),
        "partition": event["partition"],
        "partition_seq": event["partition_seq"],
    }


@lru_cache(maxsize=_PLACES_CACHED)
def identity(place: str | None) -> Identity | None:
    """What makes a place this one (rule T20); UNKNOWN for empty, None where nothing is said.

    A text that names no component of the identity, such as a bed status alone, says nothing.
    """
    if place is None:
        return None
    if not place:
        return UNKNOWN
    parsed = Place.parse(place)
    return parsed.identity if parsed.known else None


def recency(fact: Fact) -> tuple[datetime, datetime, str]:
    """What sorts snapshots: the newest was reported last, then happened last."""
    return (fact.reported_at or _EARLIEST, fact.effective_at, fact.event_id)


def iso(at: datetime | None) -> str | None:
    """An instant as JSON holds it: ISO 8601 in UTC, whatever the session's zone was."""
    if at is None:
        return None
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat()
