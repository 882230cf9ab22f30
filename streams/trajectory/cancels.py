"""Cancellations: which facts they take back, as a function of the set of facts.

A cancellation takes back only what was reported no later than itself, so that what is really
new lives; one that finds nothing stays and waits, so that a late original is suppressed (T4).
Each is judged by itself: the same cancellation twice takes back the same facts.
"""

from bisect import bisect_right
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from streams.trajectory.facts import (
    ARRIVALS,
    CANCELLED,
    DISCHARGE_CANCELLED,
    MOVE_CANCELLED,
    MOVED,
    MOVEMENT_UPDATED,
    PRECISE,
    STANDING,
    TAKES,
    Fact,
    Identity,
    alike,
    at_once,
    before,
    identity,
    places,
    recency,
    told,
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
    movements that nobody told us of. ``updates`` are those of past movements. ``called_off``
    are the event ids of cancellations that took back an admission which none had before.
    """

    standing: tuple[Fact, ...]
    cancels: tuple[Fact, ...] = ()
    updates: tuple[Fact, ...] = ()
    unresolved: tuple[str, ...] = ()
    called_off: tuple[str, ...] = ()

    @property
    def admission_taken(self) -> bool:
        """Whether an admission was taken back."""
        return bool(self.called_off)


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
    # What is told of the past isn't cancelled, and says nothing of what was (rule T23).
    past = [fact for fact in stated if fact.movement_historic]
    stated = sorted((fact for fact in stated if not fact.movement_historic), key=told)
    cancels = [fact for fact in facts if fact.kind in TAKES]
    cancels.sort(key=lambda fact: fact.order)
    vague = [fact for fact in cancels if fact.kind == CANCELLED and _vague(fact)]
    clear = [fact for fact in cancels if fact.kind != CANCELLED or not _vague(fact)]
    taken = _admissions(vague, clear, stated)
    taken |= _clear(clear, stated)
    nothing = (fact.event_id for fact in cancels if not taken[fact.event_id])
    return Resolved(
        standing=(*_standing(taken, clear, stated), *past),
        cancels=tuple(_dated(cancels, taken, stated)),
        updates=tuple(fact for fact in updates if fact.movement_historic),
        unresolved=(*nothing, *unknown),
        called_off=tuple(_first(cancels, taken)),
    )


def _first(cancels: Iterable[Fact], taken: Taken) -> Iterator[str]:
    """The cancellations of admissions, without those that only say one again (rule T9)."""
    gone: set[str] = set()
    for cancel in sorted(cancels, key=recency):
        if cancel.kind == CANCELLED and not taken[cancel.event_id] <= gone:
            gone |= taken[cancel.event_id]
            yield cancel.event_id


def _dated(cancels: Iterable[Fact], taken: Taken, stated: Sequence[Fact]) -> Iterator[Fact]:
    """The cancellations, each with the time and place of what it took back, if it did."""
    by_id: dict[str, list[Fact]] = {}
    for fact in stated:
        by_id.setdefault(fact.event_id, []).append(fact)
    for cancel in cancels:
        ours = taken[cancel.event_id]
        if not ours:
            yield cancel
        for fact in chain.from_iterable(by_id[event_id] for event_id in ours):
            yield replace(
                cancel,
                effective_at=fact.effective_at,
                precision=PRECISE,
                place=cancel.place if fact.place is None else fact.place,
                prior_place=fact.place,
            )


def _clear(cancels: Iterable[Fact], stated: Sequence[Fact]) -> Taken:
    """What each cancellation takes back, but those of admissions that don't say which.

    ``stated`` in the order in which it was reported.
    """
    taken: Taken = {}
    named: list[Fact] = []
    vague_moves: list[tuple[Fact, list[Fact] | None]] = []
    numbers = {fact.movement_id for fact in stated if not fact.movement_historic}
    by_kind: dict[str, list[Fact]] = {kind: [] for kind in STANDING}
    for fact in stated:
        by_kind[fact.kind].append(fact)
    for cancel in cancels:
        if cancel.movement_historic:
            taken[cancel.event_id] = set()  # of the past nothing is cancelled (rule T23)
            continue
        if cancel.movement_id is not None and cancel.movement_id in numbers:
            named.append(cancel)
            continue
        known = _known(cancel, by_kind[TAKES[cancel.kind]])
        meant = _meant(cancel, known) if cancel.exact else known
        if cancel.kind == MOVE_CANCELLED and not (cancel.exact and _one_instant(meant)):
            vague_moves.append((cancel, meant if cancel.exact else None))
            continue
        found = _move(cancel, meant) if cancel.kind == MOVE_CANCELLED else _simple(cancel, meant)
        taken[cancel.event_id] = {fact.event_id for fact in found}
    gone = set[str]().union(*taken.values())
    if vague_moves:
        arrivals = [fact for fact in stated if fact.kind in ARRIVALS and places(fact)]
        arrivals.sort(key=lambda fact: fact.order)
    for cancel, near in vague_moves:
        moves = _latest_move(cancel, near, arrivals, gone)
        taken[cancel.event_id] = {fact.event_id for fact in moves}
    gone = set[str]().union(*taken.values())
    return taken | _by_id(named, [fact for fact in stated if fact.event_id not in gone])


def _known(cancel: Fact, facts: list[Fact]) -> list[Fact]:
    """Those of the facts, in order of their reports, that the cancellation can mean."""
    if cancel.reported_at is not None:
        facts = facts[: bisect_right(facts, cancel.reported_at, key=told)]
    return facts if cancel.movement_id is None else [f for f in facts if _can_mean(cancel, f)]


def _can_mean(cancel: Fact, fact: Fact) -> bool:
    """Whether a fact was told no later than the cancellation, and not by another movement's id.

    A feed may begin to number its movements in the midst of a visit.
    """
    unnumbered = cancel.movement_id is None or fact.movement_id is None
    return unnumbered and before(fact, cancel)


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


def _meant(cancel: Fact, known: Iterable[Fact]) -> list[Fact]:
    """What happened when a cancellation says, else what may have (rule T2).

    A coarse time, the cancellation's or the fact's own, means all that it names: 20260301 the
    whole day. Who says the very same time is meant before who only may be.
    """
    near = [fact for fact in known if at_once(fact, cancel)]
    return [fact for fact in near if alike(fact, cancel)] or near


def _move(cancel: Fact, meant: list[Fact]) -> list[Fact]:
    """The moves of one instant to an A12's PV1-6 (T3); those to one place by time only."""
    named = [fact for fact in meant if cancel.prior in (None, fact.at)]
    return named or (meant if len({fact.at for fact in meant}) == 1 else [])


def _latest_move(
    cancel: Fact, meant: Container[Fact] | None, arrivals: Sequence[Fact], gone: Container[str]
) -> list[Fact]:
    """The last move to an A12's PV1-6, or from its PV1-3, where its time doesn't tell (T3).

    ``meant`` are those that may have been at that time; without a time any up to the
    cancellation's own can be meant. ``arrivals`` in order.
    """
    named: list[Fact] = []
    if not (cancel.prior or cancel.at):
        return named
    heres = [] if cancel.prior else _heres(cancel, arrivals, gone)
    for number in range(len(arrivals) - 1, -1, -1):
        fact = arrivals[number]
        if named and fact.effective_at != named[0].effective_at:
            break
        if fact.kind != MOVED or not _can_mean(cancel, fact):
            continue
        if fact.effective_at > cancel.until if meant is None else fact not in meant:
            continue
        if cancel.prior:
            matches = fact.at == cancel.prior
        else:
            matches = (fact.prior or heres[number]) == cancel.at
        if matches and (not named or fact.at == named[0].at):
            named.append(fact)
    return named


def _heres(cancel: Fact, arrivals: Iterable[Fact], gone: Container[str]) -> list[Identity | None]:
    """Where the patient was before each arrival, by those that the cancellation knew.

    One pass: a feed may say the same arrival hundreds of times.
    """
    found: list[Identity | None] = []
    last: Fact | None = None
    elsewhere: Fact | None = None  # the last one that isn't what ``last`` says
    for fact in arrivals:
        there = elsewhere if last and _twice(fact, last) else last
        found.append(there.at if there else None)
        if fact.event_id not in gone and _can_mean(cancel, fact):
            last, elsewhere = fact, there
    return found


def _twice(fact: Fact, other: Fact) -> bool:
    """Whether two arrivals are one, said twice."""
    return other.effective_at == fact.effective_at and other.at == fact.at


def _simple(cancel: Fact, meant: list[Fact]) -> list[Fact]:
    """What a cancellation of no move takes back (rules T6, T7).

    Where its time leaves several instants, those at the place that it names, if these are of
    one; else the last, as where it has no time at all. Not so for an admission: of several
    nobody knows which, and none is taken back (rule T6).
    """
    if cancel.exact and not _one_instant(meant):
        there = cancel.at if cancel.kind == CANCELLED else cancel.prior or cancel.at
        named = [fact for fact in meant if there and fact.at == there]
        if named and _one_instant(named):
            return named
        if cancel.kind == CANCELLED:
            return []
        meant = named or meant
    last = max((fact.effective_at for fact in meant), default=None)
    return [fact for fact in meant if fact.effective_at == last]


def _one_instant(facts: Iterable[Fact]) -> bool:
    return len({fact.effective_at for fact in facts}) <= 1


def _admissions(vague: Iterable[Fact], clear: Sequence[Fact], stated: Sequence[Fact]) -> Taken:
    """What A11 without EVN-6 takes back: the visit, if it has one stay, at its PV1-3 (T6).

    One after the other as they were reported; the same one twice counts once.
    """
    taken: Taken = {}
    same: dict[object, set[str]] = {}
    gone: set[str] = set()
    last: tuple[list[Fact], list[Fact]] | None = None
    only: tuple[Identity | None, set[str]] = None, set()
    for cancel in sorted(vague, key=recency):
        content = (cancel.reported_at, cancel.at)
        if content not in same:
            known = [f for f in stated if before(f, cancel) and f.event_id not in gone]
            earlier = [fact for fact in clear if before(fact, cancel)]
            same[content] = set()
            if cancel.at and any(cancel.at in (f.at, f.prior) for f in chain(known, earlier)):
                if (known, earlier) != last:
                    last, only = (known, earlier), _only_stay(known, earlier)
                place, arrivals = only
                same[content] = arrivals if cancel.at == place else set()
            gone |= same[content]
        taken[cancel.event_id] = same[content]
    return taken


def _only_stay(stated: Sequence[Fact], clear: Sequence[Fact]) -> tuple[Identity | None, set[str]]:
    """The place of the visit's one stay, and what put the patient there; none of several."""
    taken = _clear(clear, stated)
    standing = _standing(taken, clear, stated)
    stays = walk(standing, tuple(_dated(clear, taken, stated)), stays_max=1).stays
    if len(stays) != 1:
        return None, set()
    return identity(stays[0].place), {f.event_id for f in standing if f.kind in ARRIVALS}


def _vague(cancel: Fact) -> bool:
    """Whether a cancellation names neither a time nor a movement."""
    return not cancel.exact and cancel.movement_id is None
