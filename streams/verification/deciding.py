"""What people decided, beside what the feeds say: who knew of what, and who is to be asked.

The feeds count as one replica, ``emr``, whose counter is the number of versions of evidence that
were looked at. A decision whose clock has come so far was made knowing them and stands over
them. One that hasn't is concurrent with them: where both say the same nothing is lost, where
they differ both are kept, until someone decides who has seen both (rule V11).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from streams.ledger.commands import clocks, verifications
from streams.verification.facts import Decision

EMR = verifications.EMR
"""The replica that the feeds are in vector clocks."""
_SAYS = {"verified": "verified", "verified_late": "verified", "refuted": "refuted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The decisions on a task that no other one knew of and overruled, in the order of events."""

    decisions: tuple[Decision, ...]
    clock: Mapping[str, int]

    @property
    def outcomes(self) -> frozenset[str]:
        """What they say."""
        return frozenset(each.outcome for each in self.decisions)

    @property
    def last(self) -> Decision:
        """The one shown first; the hybrid clock orders what is shown and decides nothing."""
        return max(self.decisions, key=lambda each: (each.hlc, each.event_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What feeds and people say together."""

    outcome: str
    reasons: tuple[str, ...]
    decisions: tuple[str, ...] = ()
    decided_by: str | None = None
    times: tuple[datetime, ...] = ()
    clock: Mapping[str, int]
    hlc: tuple[int, int, str] | None = None


def standing(
    counting: Mapping[tuple[str, str], Sequence[Decision]],
) -> dict[tuple[str, str], Standing]:
    """By tenant and task, of the decisions that count for it.

    Of equal clocks the later version of the stream knew the earlier.
    """
    return {key: _standing(key[1], told) for key, told in counting.items()}


def combined(
    outcome: str, reasons: tuple[str, ...], seen: int, decided: Standing | None
) -> Verdict:
    """The outcome of both sides; ``seen`` is how many versions of evidence were looked at."""
    emr = {EMR: seen} if seen else {}
    if decided is None:
        return Verdict(outcome=outcome, reasons=reasons, clock=emr)
    last = decided.last
    said, decides = _SAYS.get(outcome), None
    if outcome == "void":
        found, why = outcome, reasons
    elif len(decided.outcomes) > 1:
        found, why = "conflict", (*reasons, "decisions_differ")
    elif said == last.outcome:
        found, why = outcome, (*reasons, "decided_alike")
    elif said is None:
        found, why, decides = last.outcome, ("decided", *reasons), last.decided_by
    elif clocks.compare(emr, decided.clock) in ("before", "equal"):
        found, why, decides = last.outcome, ("decided_over", *reasons), last.decided_by
    else:
        found, why = "conflict", (*reasons, "decided_otherwise")
    return Verdict(
        outcome=found,
        reasons=why,
        decisions=tuple(each.event_id for each in decided.decisions),
        decided_by=decides,
        times=tuple(each.recorded_at for each in decided.decisions),
        clock=clocks.merged(emr, decided.clock),
        hlc=last.hlc,
    )


def _standing(task_id: str, told: Sequence[Decision]) -> Standing:
    kept = sorted(
        (each for each in told if not any(_overrules(other, each) for other in told)),
        key=lambda each: (each.version, each.event_id),
    )
    clock: Mapping[str, int] = {}
    for each in kept:
        seen = {EMR: each.clock[EMR]} if EMR in each.clock else {}
        own = each.task_id == task_id  # what another's stream counts, no device of this one may
        clock = clocks.merged(clock, each.clock if own else seen)
    return Standing(decisions=tuple(kept), clock=clock)


def _overrules(other: Decision, each: Decision) -> bool:
    """Whether one knew the other; under another number of the order's, clocks count apart.

    Who was online then knew all that was recorded before; a device's clock tells nothing of it.
    """
    if other.task_id != each.task_id:
        return other.hlc[2] == clocks.LEDGER and each.recorded_at < other.recorded_at
    order = clocks.compare(each.clock, other.clock)
    return order == "before" or (order == "equal" and each.version < other.version)
