"""How far a subscription is behind, as values: in a partition, over all of them, of all."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sinks.subscriptions import OUTCOMES

Place = tuple[str, int]  # topic, partition


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Why and since when an owner stands still: a kind of trouble, and words with a remedy."""

    kind: str
    said: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """One subscription in one partition; also the judge, who has none, with patients for records.

    `seconds` is the age of the oldest record that waits: 0 if none does, None if it couldn't be
    seen in time. `committed_offset` is what Kafka holds for the processor's group; it mirrors
    the lowest `next_offset` of its subscriptions. A relay has neither offset, nor has the judge;
    a patient whom the judge has set aside is `parked`.
    """

    processor: str
    subscription: str
    topic: str
    partition: int
    records: int
    seconds: float | None
    next_offset: int | None
    committed_offset: int | None
    last_position: int
    epoch: int
    owner: str | None
    outcomes: Mapping[str, int]
    stopped: Stopped | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """One subscription over all partitions; `seconds` is the worst partition's."""

    processor: str
    subscription: str
    records: int
    seconds: float | None
    mirrored: bool | None
    outcomes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """All of it, at one moment."""

    at: datetime
    partitions: tuple[Behind, ...]

    @property
    def records(self) -> int:
        """How many records wait, over all."""
        return sum(each.records for each in self.partitions)

    @property
    def stopped(self) -> tuple[Behind, ...]:
        """The partitions whose owner stands still until somebody does something."""
        return tuple(each for each in self.partitions if each.stopped is not None)

    @property
    def reached(self) -> int:
        """The sum of all positions; rises as long as anything moves."""
        return sum((each.next_offset or 0) + each.last_position for each in self.partitions)

    def totals(self) -> list[Total]:
        """By subscription, in the order of the line."""
        by_name: dict[str, list[Behind]] = defaultdict(list)
        for each in self.partitions:
            by_name[each.subscription].append(each)
        return [_total(rows, self.partitions) for rows in by_name.values()]


def _total(rows: Sequence[Behind], everything: Sequence[Behind]) -> Total:
    ages = [each.seconds for each in rows]
    known = [age for age in ages if age is not None]
    return Total(
        processor=rows[0].processor,
        subscription=rows[0].subscription,
        records=sum(each.records for each in rows),
        seconds=max(known) if len(known) == len(ages) else None,
        mirrored=_mirrored(rows[0].processor, everything),
        outcomes={name: sum(each.outcomes.get(name, 0) for each in rows) for name in OUTCOMES},
    )


def _mirrored(processor: str, everything: Sequence[Behind]) -> bool | None:
    """Whether Kafka's committed offsets equal the positions; None for a relay."""
    lowest: dict[Place, int] = {}
    committed: dict[Place, int] = {}
    for each in everything:
        if each.processor == processor and each.next_offset is not None:
            place = (each.topic, each.partition)
            lowest[place] = min(lowest.get(place, each.next_offset), each.next_offset)
            committed[place] = each.committed_offset or 0
    return lowest == committed if lowest else None
