"""Facts: what each admission event says about a visit's path, apart from when it came."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from schemas.clock import instant, micros
from schemas.events import Event
from schemas.place import Place
from sinks.changes import Row
from streams.trajectory import statements
from streams.trajectory.statements import Statement

CREATED = "admission.created"
MOVED = "admission.location_changed"
CLASS_CHANGED = "admission.class_changed"
DISCHARGED = "admission.discharged"
DEPARTED = "admission.departed"
ARRIVED = "admission.arrived"
LEAVE_STARTED = "admission.leave_started"
LEAVE_ENDED = "admission.leave_ended"
PLANNED = "admission.planned"
CANCELLED = "admission.cancelled"
MOVE_CANCELLED = "admission.location_change_cancelled"
DISCHARGE_CANCELLED = "admission.discharge_cancelled"
DEPARTURE_CANCELLED = "admission.departure_cancelled"
ARRIVAL_CANCELLED = "admission.arrival_cancelled"
LEAVE_CANCELLED = "admission.leave_cancelled"
RETURN_CANCELLED = "admission.return_cancelled"
PLAN_CANCELLED = "admission.plan_cancelled"
MOVEMENT_UPDATED = "admission.movement_updated"
PATIENT_CHANGED = "admission.patient_changed"
DELETED = "admission.deleted"
JOINED = "admission.joined"
UPDATED = "admission.updated"
ENCOUNTER_STATED = "admission.encounter_stated"
SUPERSEDED = "admission.superseded"

TAKES = {
    CANCELLED: CREATED,
    MOVE_CANCELLED: MOVED,
    DISCHARGE_CANCELLED: DISCHARGED,
    DEPARTURE_CANCELLED: DEPARTED,
    ARRIVAL_CANCELLED: ARRIVED,
    LEAVE_CANCELLED: LEAVE_STARTED,
    RETURN_CANCELLED: LEAVE_ENDED,
}  # fmt: skip
"""What each cancellation takes back. A plan that is cancelled was one until then."""

ARRIVALS = frozenset((CREATED, MOVED, CLASS_CHANGED))
MOVES = frozenset((MOVED, CLASS_CHANGED))
ABSENCES = frozenset((DEPARTED, ARRIVED, LEAVE_STARTED, LEAVE_ENDED))
STANDING = ARRIVALS | ABSENCES | {DISCHARGED}
PATH_KINDS = (
    STANDING | TAKES.keys()
    | {PLANNED, PLAN_CANCELLED, MOVEMENT_UPDATED, PATIENT_CHANGED, DELETED, JOINED}
    | {ENCOUNTER_STATED}
)  # fmt: skip
KINDS = PATH_KINDS | {UPDATED}
READS = KINDS | {SUPERSEDED}

Identity = tuple[str, ...]
Order = tuple[datetime, bool, datetime, int, str]

UNKNOWN: Identity = ()  # said to be unknown (rule T21)
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_RANK = {
    CREATED: 0, MOVED: 1, CLASS_CHANGED: 1, DISCHARGE_CANCELLED: 2, DISCHARGED: 3,
    LEAVE_STARTED: 4, DEPARTED: 5, ARRIVED: 6, LEAVE_ENDED: 7,
}  # fmt: skip
_EXACT = frozenset(("EVN-6", "ZBE-2"))
PRECISE = "second"  # of times as most feeds give them
_FINE = frozenset((PRECISE, "fraction"))
_NONE, _SECOND = timedelta(0), timedelta(seconds=1)
_NAMES = {
    "year": timedelta(days=366), "month": timedelta(days=31), "day": timedelta(days=1),
    "hour": timedelta(hours=1), "minute": timedelta(minutes=1), "second": _SECOND,
    "fraction": _NONE,
}  # fmt: skip
"""How long at most what a time of this precision names is."""
_PLACES_CACHED = 65_536  # more beds than a hospital group has; about 20 MB when full

# What only some events say; the columns of the same names in trajectory_facts.
_SAID = (
    "place", "prior_place", "temporary_place", "prior_temporary_place", "pending_place",
    "planned_place", "plan", "patient_class", "movement_id",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One event as the path sees it; ``kind`` is its event type.

    ``effective_at`` is when it happened, as ``effective_field`` gave it (rule T1); for a
    cancellation with EVN-6 the time of what is taken back (rule T2). ``precision`` says how much
    of a time that is: from a year to a fraction of a second. ``reported_at`` is EVN-2,
    else MSH-7, else unknown. The places are PV1-3, PV1-6, PV1-11, PV1-43, PV1-42 and a plan's:
    None is not said, empty is said to be unknown. ``movement_id`` is ZBE-1,
    ``movement_historic`` ZBE-5 (rule T23). ``statement`` is what an Encounter says (rule T27).
    """

    event_id: str
    kind: str
    patient_id: str
    effective_at: datetime
    effective_field: str
    reported_at: datetime | None
    place: str | None = None
    prior_place: str | None = None
    temporary_place: str | None = None
    prior_temporary_place: str | None = None
    pending_place: str | None = None
    planned_place: str | None = None
    plan: str | None = None
    patient_class: str | None = None
    movement_id: str | None = None
    movement_historic: bool = False
    precision: str = PRECISE
    statement: Statement | None = None

    @property
    def order(self) -> Order:
        """What sorts facts: content alone, never arrival.

        At one instant whoever is placed is placed before the discharge of that instant, so
        that a discharge reported early never leaves the visit open for good; who leaves and
        comes back at one instant is back.
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
        """Whether this cancellation names the time of what it takes back (rules T2, T23)."""
        return self.effective_field in _EXACT

    @property
    def until(self) -> datetime:
        """The last second that the time may mean: 20260301 ends at 23:59:59."""
        return self.effective_at + max(_NAMES[self.precision] - _SECOND, _NONE)

    @property
    def at(self) -> Identity | None:
        """Where the patient is by this fact: None is not said, UNKNOWN is unknown."""
        return identity(self.place)

    @property
    def prior(self) -> Identity | None:
        """Where the patient was before, by this fact; None if it names no place."""
        return identity(self.prior_place) or None

    @property
    def told_at(self) -> datetime:
        """When it was told, as far as we know."""
        return self.reported_at or self.effective_at

    @classmethod
    def of_event(cls, event: Event) -> "Fact":
        """The fact in an admission event."""
        data = event["data"]
        get = data.get
        reported = data["reported_at"]
        return cls(
            event_id=event["event_id"],
            kind=event["event_type"],
            patient_id=data["patient_id"],
            effective_at=instant(event["occurred_at"]),
            effective_field=event["occurred_field"],
            reported_at=None if reported is None else instant(reported),
            place=get("place"),
            prior_place=get("prior_place"),
            temporary_place=get("temporary_place"),
            prior_temporary_place=get("prior_temporary_place"),
            pending_place=get("pending_place"),
            planned_place=get("planned_place"),
            plan=get("plan"),
            patient_class=get("patient_class"),
            movement_id=get("movement_id"),
            movement_historic=get("movement_historic", False),
            precision=event["occurred_precision"],
            statement=(
                Statement.of(event["feed_id"], data)
                if event["event_type"] == ENCOUNTER_STATED
                else None
            ),
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
            temporary_place=row["temporary_place"],
            prior_temporary_place=row["prior_temporary_place"],
            pending_place=row["pending_place"],
            planned_place=row["planned_place"],
            plan=row["plan"],
            patient_class=row["patient_class"],
            movement_id=row["movement_id"],
            movement_historic=row["movement_historic"],
            precision=row["effective_precision"] or PRECISE,
            statement=row["stays"] and Statement.of(row["feed_id"], row["stays"]),
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
            movement_historic=value.get("movement_historic", False),
            precision=value.get("precision", PRECISE),
            statement=(
                Statement.of(value["feed_id"], value["stays"]) if "stays" in value else None
            ),
            **{name: value[name] for name in _SAID if name in value},
        )

    def to_json(self) -> dict[str, Any]:
        """The fact as JSON holds it, without what isn't said; times as microseconds."""
        found: dict[str, Any] = {
            "event_id": self.event_id,
            "kind": self.kind,
            "patient_id": self.patient_id,
            "effective_at": micros(self.effective_at),
            "effective_field": self.effective_field,
            "reported_at": None if self.reported_at is None else micros(self.reported_at),
        }
        for name in _SAID:
            said = getattr(self, name)
            if said is not None:
                found[name] = said
        if self.movement_historic:
            found["movement_historic"] = True
        if self.precision != PRECISE:
            found["precision"] = self.precision
        if self.statement is not None:
            found["feed_id"] = self.statement.feed_id
            found["stays"] = self.statement.to_json()
        return found


def row(event: Event) -> dict[str, Any]:
    """The row of ``trajectory_facts`` for an admission event."""
    data = event["data"]
    get = data.get
    reported, expected = data["reported_at"], get("expected_at")
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
        **{name: get(name) for name in _SAID},
        "expected_at": None if expected is None else instant(expected),
        "movement_historic": get("movement_historic", False),
        "original_trigger": get("original_trigger"),
        "effective_precision": event["occurred_precision"],
        "stays": statements.kept(data) if event["event_type"] == ENCOUNTER_STATED else None,
        "superseded_at": None,
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


def places(fact: Fact) -> bool:
    """Whether the fact puts the patient somewhere, or says that nobody knows where.

    A move from a place to itself is none (rule T10).
    """
    at = fact.at
    return at is not None and not (fact.kind in MOVES and at == fact.prior)


def at_once(fact: Fact, other: Fact) -> bool:
    """Whether both may be of one instant: one's time lies in what the other's names."""
    apart = other.effective_at - fact.effective_at
    if not apart:
        return True
    return apart < _NAMES[fact.precision] if apart > _NONE else -apart < _NAMES[other.precision]


def alike(fact: Fact, other: Fact) -> bool:
    """Whether both say the same time, not one that only may be the other's."""
    return fact.effective_at == other.effective_at and (
        fact.precision == other.precision or (fact.precision in _FINE and other.precision in _FINE)
    )


def before(fact: Fact, other: Fact) -> bool:
    """Whether the fact was reported no later than the other; unknown counts as before."""
    if fact.reported_at is None or other.reported_at is None:
        return True
    return fact.reported_at <= other.reported_at


def told(fact: Fact) -> datetime:
    """What sorts facts by their reports; those without one come first."""
    return fact.reported_at or _EARLIEST


def recency(fact: Fact) -> tuple[datetime, datetime, str]:
    """What sorts snapshots: the newest was reported last, then happened last."""
    return (told(fact), fact.effective_at, fact.event_id)


def iso(at: datetime | None) -> str | None:
    """An instant as JSON holds it: ISO 8601 in UTC, whatever the session's zone was."""
    if at is None:
        return None
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat()
