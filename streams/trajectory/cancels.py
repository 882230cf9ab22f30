"""Cancellations: which facts they take back, as a function of the set of facts.

A cancellation takes back only what was reported no later than itself, so that what is really
new lives; one that finds nothing stays and waits, so that a late original is suppressed (T4).
Each is judged by itself: the same cancellation twice takes back the same facts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from streams.trajectory.facts import (
    ARRIVALS,
    CANCELLED,
    DISCHARGE_CANCELLED,
    MOVE_CANCELLED,
    MOVED,
    MOVEMENT_UPDATED,
    STANDING,
    TAKES,
    Fact,
    Identity,
    before,
    identity,
    places,
    recency,
)
from streams.trajectory.movements import current, updated
from streams.trajectory.walk import walk

Taken = dict[str, set[str]]  # by cancellation, the event ids of what it takes back


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What stands after the cancellations.

    ``standing`` also holds what a cancelled discharge says of the place (rule T7), dated at
    its report. ``cancels`` have the time and place of what they took back, if anything.
    ``unresolved`` are the event ids of cancellations that take nothing back, and of updates of
    movements that nobody told us of. ``updates`` are those of past movements.
    """

    standing: tuple[Fact, ...]
    cancels: tuple[Fact, ...] = ()
    updates: tuple[Fact, ...] = ()
    unresolved: tuple[str, ...] = ()
    admission_taken: bool = False


def resolve(facts: Sequence[Fact]) -> Resolved:
    """Apply the cancellations and updates among ``facts``, in any order (rules T2 to T7, T23).

    Kinds that are neither these nor say where the patient is are passed over.
    """
    stated = [fact for fact in facts if fact.kind in STANDING]
    if len(stated) == len(facts):
        return Resolved(standing=tuple(stated))
    updates = [fact for fact in facts if fact.kind == MOVEMENT_UPDATED]
    unknown: tuple[str, ...] = ()
    if updates:
        stated, unknown = updated(stated, [fact for fact in updates if not fact.movement_historic])
    cancels = [fact for fact in facts if fact.kind in TAKES]
    cancels.sort(key=lambda fact: fact.order)
    vague = [fact for fact in cancels if fact.kind == CANCELLED and _vague(fact)]
    clear = [fact for fact in cancels if fact.kind != CANCELLED or not _vague(fact)]
    taken = _admissions(vague, clear, stated)
    taken |= _clear(clear, stated)
    nothing = (fact.event_id for fact in cancels if not taken[fact.event_id])
    return Resolved(
        standing=tuple(_standing(taken, clear, stated)),
        cancels=tuple(_dated(cancels, taken, stated)),
        updates=tuple(fact for fact in updates if fact.movement_historic),
        unresolved=(*nothing, *unknown),
        admission_taken=any(taken[fact.event_id] for fact in cancels if fact.kind == CANCELLED),
    )


def _dated(cancels: Iterable[Fact], taken: Taken, stated: Sequence[Fact]) -> Iterator[Fact]:
    """The cancellations, each with the time and place of what it took back, if it did."""
    for cancel in cancels:
        ours = taken[cancel.event_id]
        if not ours:
            yield cancel
            continue
        for fact in stated:
            if fact.event_id in ours:
                place = cancel.place if fact.place is None else fact.place
                yield replace(
                    cancel, effective_at=fact.effective_at, place=place, prior_place=fact.place
                )


def _clear(cancels: Iterable[Fact], stated: Sequence[Fact]) -> Taken:
    """What each cancellation takes back, but those of admissions that don't say which."""
    taken: Taken = {}
    named, vague_moves = [], []
    numbers = {fact.movement_id for fact in stated if not fact.movement_historic}
    for cancel in cancels:
        if cancel.movement_historic:
            taken[cancel.event_id] = set()  # of the past nothing is cancelled (rule T23)
            continue
        if cancel.movement_id is not None and cancel.movement_id in numbers:
            named.append(cancel)
            continue
        # A feed may begin to number its movements in the midst of a visit.
        unnumbered = cancel.movement_id is not None
        known = [
            fact for fact in stated
            if before(fact, cancel) and not (unnumbered and fact.movement_id is not None)
        ]  # fmt: skip
        if cancel.kind == MOVE_CANCELLED and not cancel.exact:
            vague_moves.append((cancel, known))
            continue
        found = _move(cancel, known) if cancel.kind == MOVE_CANCELLED else _simple(cancel, known)
        taken[cancel.event_id] = {fact.event_id for fact in found}
    gone = set[str]().union(*taken.values())
    for cancel, known in vague_moves:
        found = _latest_move(cancel, known, gone)
        taken[cancel.event_id] = {fact.event_id for fact in found}
    gone = set[str]().union(*taken.values())
    return taken | _by_id(named, [fact for fact in stated if fact.event_id not in gone])


def _by_id(cancels: Iterable[Fact], stated: Sequence[Fact]) -> Taken:
    """The movement that each cancellation names, if it is the current one then (rule T23).

    One after the other as they were reported; the same one twice counts once.
    """
    taken: Taken = {}
    same: dict[str | None, set[str]] = {}
    gone: set[str] = set()
    for cancel in sorted(cancels, key=recency):
        known = [f for f in stated if before(f, cancel) and f.event_id not in gone]
        ours = same.setdefault(cancel.movement_id, set())
        if current(known) == cancel.movement_id:
            ours |= {fact.event_id for fact in known if fact.movement_id == cancel.movement_id}
            gone |= ours
        taken[cancel.event_id] = ours
    return taken


def _standing(taken: Taken, clear: Iterable[Fact], stated: Sequence[Fact]) -> list[Fact]:
    """The facts left over, with the places that cancelled discharges name."""
    gone = set[str]().union(*taken.values())
    standing = [fact for fact in stated if fact.event_id not in gone]
    arrivals = [fact for fact in standing if fact.kind in ARRIVALS and places(fact)]
    by_id = {fact.event_id: fact for fact in stated}
    for cancel in clear:
        found = taken[cancel.event_id]
        reported = cancel.reported_at
        if cancel.kind != DISCHARGE_CANCELLED or not found or reported is None or not cancel.at:
            continue
        left = max(by_id[event_id].effective_at for event_id in found)
        # A move between the discharge and this report knows better where the patient is.
        if reported >= left and not any(left < fact.effective_at <= reported for fact in arrivals):
            standing.append(replace(cancel, effective_at=reported))
    return standing


def _move(cancel: Fact, known: Iterable[Fact]) -> list[Fact]:
    """The moves at the time that an A12 names, to its PV1-6 (T3); one alone by time only."""
    moves = [fact for fact in known if fact.kind == MOVED and _at_once(fact, cancel)]
    named = [fact for fact in moves if cancel.prior in (None, fact.at)]
    return named or (moves if len({fact.at for fact in moves}) == 1 else [])


def _latest_move(cancel: Fact, known: Iterable[Fact], gone: set[str]) -> list[Fact]:
    """The last move to an A12's PV1-6, or from its PV1-3, where it names no time."""
    arrivals = sorted(
        (fact for fact in known if fact.kind in ARRIVALS and places(fact)),
        key=lambda fact: fact.order,
    )
    named: list[Fact] = []
    here: Identity | None = None
    for fact in arrivals:
        if fact.kind == MOVED and fact.effective_at <= cancel.effective_at:
            matches = fact.at == cancel.prior if cancel.prior else (fact.prior or here) == cancel.at
            if matches and (cancel.prior or cancel.at):
                named.append(fact)
        if fact.event_id not in gone:
            here = fact.at
    return [fact for fact in named if _at_once(fact, named[-1]) and fact.at == named[-1].at]


def _simple(cancel: Fact, known: Iterable[Fact]) -> list[Fact]:
    """What happened at the time that a cancellation names, else the last of its kind (T6, T7)."""
    of_kind = [fact for fact in known if fact.kind == TAKES[cancel.kind]]
    if cancel.exact:
        return [fact for fact in of_kind if _at_once(fact, cancel)]
    last = max((fact.effective_at for fact in of_kind), default=None)
    return [fact for fact in of_kind if fact.effective_at == last]


def _admissions(vague: Iterable[Fact], clear: Sequence[Fact], stated: Sequence[Fact]) -> Taken:
    """What A11 without EVN-6 takes back: the visit, if it has one stay, at its PV1-3 (T6).

    One after the other as they were reported; the same one twice counts once.
    """
    taken: Taken = {}
    same: dict[object, set[str]] = {}
    gone: set[str] = set()
    for cancel in sorted(vague, key=recency):
        content = (cancel.reported_at, cancel.at)
        if content not in same:
            known = [f for f in stated if before(f, cancel) and f.event_id not in gone]
            earlier = [fact for fact in clear if before(fact, cancel)]
            same[content] = _only_stay(cancel, known, earlier)
            gone |= same[content]
        taken[cancel.event_id] = same[content]
    return taken


def _only_stay(cancel: Fact, stated: Sequence[Fact], clear: Sequence[Fact]) -> set[str]:
    standing = _standing(_clear(clear, stated), clear, stated)
    stays = walk(standing, clear).stays
    if len(stays) != 1 or not cancel.at or identity(stays[0].place) != cancel.at:
        return set()
    return {fact.event_id for fact in standing if fact.kind in ARRIVALS}


def _vague(cancel: Fact) -> bool:
    """Whether a cancellation names neither a time nor a movement."""
    return not cancel.exact and cancel.movement_id is None


def _at_once(fact: Fact, other: Fact) -> bool:
    return fact.effective_at == other.effective_at
