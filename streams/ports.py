"""What a stream processor is to the transport that feeds it.

A processor is blocking code: the transport calls it in threads, one chunk of a partition at a
time and in order, and never learns what is in a record or a database.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Partition: TypeAlias = tuple[str, int]
"""A topic's name and the number of one of its partitions."""


class Record(Protocol):
    """One record as Kafka holds it; aiokafka's ``ConsumerRecord`` is one."""

    @property
    def topic(self) -> str:
        """The topic's name."""

    @property
    def partition(self) -> int:
        """The partition's number."""

    @property
    def offset(self) -> int:
        """The record's place in its partition."""

    @property
    def key(self) -> bytes | None:
        """The routing key."""

    @property
    def value(self) -> bytes | None:
        """The record itself, in the wire format."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Names and values, in the order they were written."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since 1970, as the topic's timestamp type says."""


class Processor(Protocol):
    """What turns one subscription's records into rows, in one transaction per chunk.

    Every method may raise `Transient` (it is called again after a pause) and `Broken` (the
    process ends). Any other exception than this module's stops the partition and no other.
    """

    @property
    def name(self) -> str:
        """The subscription: ``ledger``, ``trajectory``, …; `group` makes the consumer group."""

    @property
    def topics(self) -> Sequence[str]:
        """The topics read; partitions of the same number go to the same worker."""

    def take(self, partitions: Sequence[Partition], *, generation: int) -> Mapping[Partition, int]:
        """Become the owner of the partitions; return each one's next offset.

        With several projections it is the lowest of theirs. The epoch is raised once per
        generation, except where this processor raised `Stale` since: there it is raised again.
        """

    def apply(self, topic: str, partition: int, batch: Any, /) -> int:  # noqa: ANN401  its own
        """Apply a chunk and move the position in the same transaction; return the next offset.

        ``batch`` is what ``prepare`` made of the records, or the records. Raises `Stale` and
        `Hole`. A chunk may come again in whole or in part: what lies below the position is
        dropped.
        """

    def skip(self, topic: str, partition: int, *, upto: int) -> int:
        """Count the offsets from the position to ``upto`` (exclusive) as no record, and move.

        Returns the next offset. Called only when the log was seen to hold nothing there.
        """


class Preparing(Protocol):
    """A processor that can decode a chunk while the one before it is written."""

    def prepare(self, topic: str, partition: int, records: Sequence[Record]) -> list[Any]:
        """Return what ``apply`` is to get instead of the records; pure, and run at most ahead.

        What is returned of consecutive records is joined where they are applied together. Of a
        chunk that a rewind or a rebalance overtakes, the result is dropped unseen.
        """


class Stale(Exception):  # noqa: N818  named for what happened
    """Another worker has raised the epoch: nothing was written."""


@dataclass
class Hole(Exception):  # noqa: N818  named for what happened
    """The chunk begins after our position: nothing was written."""

    expected: int
    """The offset that is wanted next."""

    def __str__(self) -> str:
        """The offset that is missing."""
        return f"no record where one was expected: {self.expected}"


class Transient(Exception):  # noqa: N818  named for what happened
    """Something is away for now (SQLSTATE classes 08, 40, 53, 55, 57, 58; broker; registry; key).

    A tenant's key that doesn't open is too: it may be mended, or come with another root key.
    """


class Broken(Exception):  # noqa: N818  named for what happened
    """An invariant doesn't hold: going on could only do harm. The message must hold no PHI."""


def group(processor_name: str) -> str:
    """The consumer group of a processor, where its committed offsets are mirrored."""
    return f"wardtrail-{processor_name}"
