"""Encounters: the facts that follow from what FHIR feeds state of a visit (rule T27).

A statement is a whole version of the visit. Of each feed the newest version stands and all
others are superseded, in whatever order they came; what it says becomes facts of the same kinds
that HL7 v2 tells, so that the path of both is one.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Literal

from streams.trajectory.facts import (
    CREATED,
    DELETED,
    DISCHARGED,
    ENCOUNTER_STATED,
    MOVED,
    PLANNED,
    PRECISE,
    Fact,
    Identity,
    identity,
    recency,
)
from streams.trajectory.plans import PREADMITTED
from streams.trajectory.statements import StatedStay, Statement
from streams.trajectory.stays import Stay
from streams.trajectory.walk import within

LEFT = "encounter.left"  # no event's kind: a fact that the patient is at a place no more
TRANSFER = "transfer"  # the plan of a place that is to come within a visit
OCCUPIED = frozenset((None, "active", "completed"))
AHEAD = frozenset(("planned", "reserved"))
ERROR, CANCELLED, FINISHED, TO_COME = "entered-in-error", "cancelled", "finished", "planned"
GONE = frozenset((ERROR, CANCELLED))
PERIOD, LOCATION = "Encounter.period", "location.period"

_MARK = "#"  # parts an event's id from the number of the fact that follows from it
_STATEMENTS_CACHED = 4_096  # versions of the visits of a batch; some 10 MB when full

Standing = Literal["planned", "active", "discharged", "cancelled", "deleted"]


@dataclass(frozen=True, slots=True)
class Step:
    """A fact to be; ``at`` is None for a plan, which dates from when it was told."""

    kind: str
    at: datetime | None
    place: str | None
    field: str
    plan: str | None = None
    precision: str = PRECISE


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """The facts with the statements resolved, and what these alone say of how the visit stands.

    ``status`` is that of the statement reported last; ``gone`` how the visit ended that was
    none, where a statement says so. ``visits`` says whether any makes it a visit.
    """

    facts: tuple[Fact, ...]
    status: Standing | None = None
    gone: Standing | None = None
    visits: bool = False


def resolve(known: Sequence[Fact]) -> Stated:
    """Put what follows from the statements in their place, in any order.

    A version that says ``entered-in-error`` or ``cancelled`` takes back, while it is its feed's
    newest, all that was reported no later than itself, by whomever: as a deletion does.
    """
    told: dict[str, list[tuple[Statement, Fact]]] = {}
    for fact in known:
        if fact.statement is not None:
            told.setdefault(fact.statement.feed_id, []).append((fact.statement, fact))
    if not told:
        return Stated(facts=tuple(known))
    versions = [_newest_first(each) for each in told.values()]
    newest = [each[0] for each in versions]
    status, _ = max(newest, key=lambda each: recency(each[1]))
    ended = {said.status for said, _ in newest} & GONE
    gone: Standing | None = None
    if ended:
        gone = "deleted" if ERROR in ended else "cancelled"
    return Stated(
        facts=(
            *(fact for fact in known if fact.kind != ENCOUNTER_STATED),
            *(fact for each in versions for fact in _facts(each)),
        ),
        status=_STATUS.get(status.status or "", "active"),
        gone=gone,
        visits=any(said.status != ERROR for each in versions for said, _ in each),
    )


def departures(facts: Iterable[Fact], stays: Sequence[Stay]) -> tuple[Fact, ...]:
    """The ends of stated stays that leave the patient nowhere known, as moves to there.

    Those at which we still have the patient in that place; else somebody knows better.
    """
    return tuple(
        replace(fact, kind=MOVED, place="")
        for fact in facts
        if fact.kind == LEFT and any(_amid(fact, stay) for stay in stays)
    )


def origin(event_id: str) -> str:
    """The event from which a fact follows; of an event's own fact that event."""
    return event_id.partition(_MARK)[0]


def _amid(left: Fact, stay: Stay) -> bool:
    place, there = left.at, identity(stay.place)
    at = left.effective_at
    return (
        stay.start < at
        and (stay.end is None or at < stay.end)
        and bool(place and there and within(there, place))
    )


def _newest_first(versions: list[tuple[Statement, Fact]]) -> list[tuple[Statement, Fact]]:
    """By version number where all have one, then by when they were reported."""
    numbered = all(said.number is not None for said, _ in versions)
    return sorted(
        versions,
        key=lambda each: (each[0].number or 0 if numbered else 0, *recency(each[1])),
        reverse=True,
    )


def _facts(versions: Sequence[tuple[Statement, Fact]]) -> Iterator[Fact]:
    """What follows from a feed's newest version.

    Each fact names the first version since which it was said without a break, so that a version
    that changes nothing changes no point; but it was reported by the newest.
    """
    said, newest = versions[0]
    if said.status in GONE:
        yield replace(newest, kind=DELETED, event_id=f"{newest.event_id}{_MARK}", statement=None)
        return
    first = _first_told(versions)
    for number, step in enumerate(_steps(said)):
        teller = first[step]
        planned = step.kind == PLANNED
        yield Fact(
            event_id=f"{teller.event_id}{_MARK}{number:04}",
            kind=step.kind,
            patient_id=newest.patient_id,
            effective_at=step.at or teller.effective_at,
            effective_field=step.field or teller.effective_field,
            reported_at=teller.reported_at if planned else newest.reported_at,
            place=None if planned else step.place,
            planned_place=step.place if planned else None,
            plan=step.plan,
            precision=step.precision,
        )


def _first_told(versions: Sequence[tuple[Statement, Fact]]) -> Mapping[Step, Fact]:
    said, newest = versions[0]
    first = dict.fromkeys(_steps(said), newest)
    still = set(first)
    for older, fact in versions[1:]:
        if not still or older.status in GONE or fact.patient_id != newest.patient_id:
            break
        still &= set(_steps(older))
        first.update(dict.fromkeys(still, fact))
    return first


@lru_cache(maxsize=_STATEMENTS_CACHED)
def _steps(said: Statement) -> tuple[Step, ...]:
    """The admission, moves, discharge and plan that a version states."""
    plan = _plan(said)
    if said.status == TO_COME:
        return plan
    counted = [stay for stay in said.stays if _occupies(stay)]
    over = _over(said, counted)
    moves = list(_moves(counted, over))
    begun = said.started_at
    admission: tuple[Step, ...] = ()
    if moves and begun in (None, moves[0].at):
        begun = moves[0].at
        field = LOCATION if said.started_at is None else PERIOD
        admission = (replace(moves.pop(0), kind=CREATED, field=field),)
    elif begun is not None:
        admission = (Step(CREATED, begun, None, PERIOD),)
    end: tuple[Step, ...] = ()
    if over is not None and begun is not None and begun <= over:
        end = (Step(DISCHARGED, over, None, PERIOD if said.ended_at else LOCATION),)
    return (*admission, *moves, *end, *(() if over is not None else plan))


def _occupies(stay: StatedStay) -> bool:
    """Whether it becomes an interval: active or completed, at a place, from a time on."""
    return stay.status in OCCUPIED and bool(identity(stay.place)) and stay.started_at is not None


def _over(said: Statement, counted: Sequence[StatedStay]) -> datetime | None:
    """When a finished visit ended: its period's end, else that of its last stay if all ended."""
    if said.status != FINISHED:
        return None
    ends = [stay.ended_at for stay in counted if stay.ended_at is not None]
    end = said.ended_at or (max(ends) if ends and len(ends) == len(counted) else None)
    return end if said.started_at is None or end is None or said.started_at <= end else None


def _moves(counted: Sequence[StatedStay], over: datetime | None) -> Iterator[Step]:
    """Where the patient is from each bound on, as far as that changes."""
    precision = {stay.ended_at: PRECISE for stay in counted if stay.ended_at is not None}
    precision |= {stay.started_at: stay.precision or PRECISE for stay in counted if stay.started_at}
    inside = _inside({identity(stay.place) or () for stay in counted})
    here: str | None = None
    for at in sorted(precision):
        if over is not None and at >= over:
            return
        place = _place(counted, at, inside)
        if place is None:
            if here is not None:
                yield Step(LEFT, at, here, LOCATION)
        elif identity(place) != identity(here):
            yield Step(MOVED, at, place, LOCATION, precision=precision[at])
        here = place


def _inside(places: Collection[Identity]) -> Mapping[Identity, frozenset[Identity]]:
    """Which of the places lie in each; asked once, since every bound of a visit asks again."""
    return {
        whole: frozenset(place for place in places if place != whole and within(place, whole))
        for whole in places
    }


def _place(
    counted: Sequence[StatedStay],
    at: datetime,
    inside: Mapping[Identity, frozenset[Identity]],
) -> str | None:
    """Of the stays at an instant the most exact one's place, else that of the last to begin."""
    covering = [
        (stay.started_at, number, stay.place, identity(stay.place) or ())
        for number, stay in enumerate(counted)
        if stay.started_at is not None
        and stay.started_at <= at
        and (stay.ended_at is None or at < stay.ended_at)
    ]
    there = {whole for *_, whole in covering}
    exact = [
        (start, number, place)
        for start, number, place, whole in covering
        if inside[whole].isdisjoint(there)
    ]
    return max(exact, key=lambda each: each[:2])[2] if exact else None


def _plan(said: Statement) -> tuple[Step, ...]:
    """The place that is planned or reserved, the first of several; a visit that is to come."""
    if said.status == FINISHED:
        return ()
    to_come = said.status == TO_COME
    ahead = [
        (stay.started_at is None, stay.started_at, number, stay.place)
        for number, stay in enumerate(said.stays)
        if identity(stay.place)
        and (stay.status in AHEAD or (to_come and stay.status != "completed"))
    ]
    ahead.sort(key=lambda each: (each[0], each[1] if each[1] else 0, each[2]))
    if not ahead and not to_come:
        return ()
    place = ahead[0][3] if ahead else None
    return (Step(PLANNED, None, place, "", PREADMITTED if to_come else TRANSFER),)


_STATUS: Mapping[str, Standing] = {
    TO_COME: "planned", FINISHED: "discharged", CANCELLED: "cancelled", ERROR: "deleted",
}  # fmt: skip
