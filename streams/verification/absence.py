"""What it means that nothing was told: not done, not yet known, or never to be known (rule V10)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from streams.verification.facts import Rule, Watermark

PENDING: Final = "pending"
STALE: Final = "unknown_stale"
REFUTED: Final = "refuted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a tenant's feeds have told: each feed's time, its kinds, the latest time of all."""

    at: Mapping[str, datetime]
    kinds: Mapping[str, frozenset[str]]

    @property
    def clock(self) -> datetime | None:
        """The clinical time that somebody has reached; never the wall clock."""
        return max(self.at.values(), default=None)

    def counted(self, rule: Rule) -> frozenset[str]:
        """The feeds that absence waits for: the rule's own, else all that told of its kinds."""
        if rule.feeds:
            return rule.feeds
        return frozenset(
            feed for feed, kinds in self.kinds.items() if not kinds.isdisjoint(rule.evidence_kinds)
        )

    def least(self, rule: Rule) -> datetime | None:
        """The time that all counted feeds have reached; None if one never spoke, or none counts."""
        counted = self.counted(rule)
        if not counted or not counted <= self.at.keys():
            return None
        return min(self.at[feed] for feed in counted)


def progress(watermarks: Iterable[Watermark]) -> dict[str, Progress]:
    """By tenant: of a feed's partitions and kinds the latest time counts."""
    at: dict[str, dict[str, datetime]] = {}
    kinds: dict[str, dict[str, set[str]]] = {}
    for each in watermarks:
        feeds = at.setdefault(each.tenant_id, {})
        feeds[each.feed_id] = max(each.at, feeds.get(each.feed_id, each.at))
        kinds.setdefault(each.tenant_id, {}).setdefault(each.feed_id, set()).add(each.kind)
    return {
        tenant: Progress(
            at=at[tenant],
            kinds={feed: frozenset(told) for feed, told in kinds[tenant].items()},
        )
        for tenant in at
    }


def absent(
    awaits_at: datetime, *, least: datetime | None, clock: datetime | None, stale_after_s: int
) -> str:
    """What is said of a task without evidence, whose absence may be told after ``awaits_at``.

    Refuted once every counted feed is past that. Before, and while nobody is: pending. While
    others are: pending, until a counted feed that isn't is further behind them than
    ``stale_after_s``, or never spoke; then nobody can know. `sinks.verification` says the same
    in SQL, to find the tasks of which something else is to be said.
    """
    if least is not None and least > awaits_at:
        return REFUTED
    if clock is None or clock <= awaits_at:
        return PENDING
    if least is None or clock - least > timedelta(seconds=stale_after_s):
        return STALE
    return PENDING
