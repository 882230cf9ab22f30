"""Past movements (ZBE-5, rule T23): told of the past, they leave where the patient is now alone."""

from collections.abc import Sequence

from streams.trajectory.cancels import Resolved
from streams.trajectory.facts import DISCHARGED, Fact, Order, places
from streams.trajectory.movements import means, updated
from streams.trajectory.walk import Walked, walk


def settle(resolved: Resolved) -> tuple[Walked, tuple[str, ...]]:
    """Walk over what stands, and say which updates of past movements change nothing.

    Past movements count as far as the patient is now where the others say: all of them, else
    those before the last placement or discharge that isn't past, else none.
    """
    standing, updates = resolved.standing, resolved.updates
    if not updates and not any(fact.movement_historic for fact in standing):
        return walk(standing, resolved.cancels), ()
    present = [fact for fact in standing if not fact.movement_historic]
    alone = walk(present, resolved.cancels)
    last = max(
        (fact.order for fact in present if fact.kind == DISCHARGED or places(fact)), default=None
    )
    taken = [update for update in updates if _past(update, standing, last)]
    refused = tuple(update.event_id for update in updates if update not in taken)
    every = tuple(update.event_id for update in updates)
    renewed, unknown = updated(standing, taken)
    for facts, unresolved in (
        (renewed, (*refused, *unknown)),
        (_until(renewed, last), (*refused, *unknown)),
        (standing, every),
        (_until(standing, last), every),
    ):
        walked = walk(facts, resolved.cancels)
        if walked.now == alone.now:
            return walked, unresolved
    return alone, every


def _until(facts: Sequence[Fact], last: Order | None) -> list[Fact]:
    return [
        fact
        for fact in facts
        if not fact.movement_historic or (last is not None and fact.order < last)
    ]


def _past(update: Fact, standing: Sequence[Fact], last: Order | None) -> bool:
    """Whether an update leaves alone the fact that says where the patient is now."""
    for fact in standing:
        if not means(update, fact) or fact.movement_historic:
            continue
        if last is None or fact.order >= last:
            return False
        if update.exact and update.effective_at >= last[0]:
            return False
    return True
