"""Movements known by their ids (ZBE, rule T23): what updates make of them, which is current."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from streams.trajectory.facts import Fact, before, recency


def updated(stated: Sequence[Fact], updates: Iterable[Fact]) -> tuple[list[Fact], tuple[str, ...]]:
    """The facts as updates of their movements say, and the event ids of updates of nothing.

    An update replaces what was told no later than itself; of several the last reported counts,
    field by field. A fact that was updated bears the update's event id: it says so now.
    """
    found = list(stated)
    unknown = []
    for update in sorted(updates, key=recency):
        hits = 0
        for number, fact in enumerate(stated):
            if means(update, fact):
                found[number] = _renewed(found[number], update)
                hits += 1
        if not hits:
            unknown.append(update.event_id)
    return found, tuple(unknown)


def current(known: Iterable[Fact]) -> str | None:
    """The id of the movement that happened last of those that have one."""
    numbered = (f for f in known if f.movement_id is not None and not f.movement_historic)
    last = max(numbered, key=lambda fact: fact.order, default=None)
    return None if last is None else last.movement_id


def means(update: Fact, fact: Fact) -> bool:
    """Whether the update is of the movement that the fact told, and no older."""
    named = update.movement_id
    return named is not None and fact.movement_id == named and before(fact, update)


def _renewed(fact: Fact, update: Fact) -> Fact:
    """What the update leaves unsaid stays; its time counts if it is the movement's own."""
    timed = update if update.exact else fact
    return replace(
        fact,
        event_id=update.event_id,
        effective_at=timed.effective_at,
        effective_field=timed.effective_field,
        precision=timed.precision,
        place=fact.place if update.place is None else update.place,
        prior_place=fact.prior_place if update.prior_place is None else update.prior_place,
        movement_historic=update.movement_historic,
    )
