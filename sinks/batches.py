"""Batches of one partition: what is new in them, where they tear, which record is at fault."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from sinks.breaker import BreakerOpen
from sinks.database import Refused
from sinks.dead_letters import DeadLetter
from sinks.subscriptions import Hole, Position


class Placed(Protocol):
    """A record with its place in the partition."""

    @property
    def offset(self) -> int:
        """The record's offset."""
        ...


R = TypeVar("R", bound=Placed)
UNIQUE_VIOLATION = "23505"
# A race for a row that two owners create is over once the winner has committed. A message makes
# a few streams: two mostly, four where two patients swap beds, more where it merges several.
RACES_MAX = 8


class FoldFailed(Exception):  # noqa: N818  named for what is wrong
    """The fold of one stream raised; the cause is chained."""

    def __init__(self, error: Exception) -> None:
        # The type only: an exception's text may quote a row.
        super().__init__(f"fold raised: {type(error).__name__}")


def bisect(
    batch: Sequence[R],
    part: Callable[[Sequence[R], DeadLetter | None], int],
    *,
    condemn: Callable[[R, Exception], DeadLetter],
) -> int:
    """Run ``part`` over the batch; where it refuses, over halves, down to the one at fault.

    Each call of ``part`` is a transaction of its own that moves the position over its
    records, so order is kept and nothing is applied twice, whenever this process dies.
    """
    reached = 0
    waiting = [batch]  # at most log2(len(batch)) + 1 deep
    races = 0
    while waiting:
        records = waiting.pop()
        try:
            reached = part(records, None)
            races = 0
        except (Refused, FoldFailed, BreakerOpen) as error:
            if len(records) == 1:
                if isinstance(error, BreakerOpen):
                    raise  # what came before it is applied, so that somebody can look at it
                raced = isinstance(error, Refused) and error.sqlstate == UNIQUE_VIOLATION
                if raced and races < RACES_MAX:
                    races += 1
                    waiting.append(records)
                else:
                    races = 0
                    reached = part(records, condemn(records[0], error))
                continue
            half = len(records) // 2
            waiting += [records[half:], records[:half]]
    return reached


def until_hole(batch: Sequence[R]) -> tuple[Sequence[R], Hole | None]:
    """The records up to the first missing offset, and that hole if there is one."""
    first = batch[0].offset
    if batch[-1].offset - first == len(batch) - 1:
        return batch, None
    for expected, record in enumerate(batch, start=first):
        if record.offset != expected:
            hole = Hole(
                f"expected offset {expected}, got: {record.offset}",
                expected=expected, found=record.offset,
            )  # fmt: skip
            return batch[: expected - first], hole
    raise AssertionError("offsets of one partition rise")


def unseen(batch: Sequence[R], position: Position) -> Sequence[R]:
    """The records from the position on; :class:`Hole` if the first comes later than that."""
    start = position.next_offset - batch[0].offset
    if start < 0:
        raise Hole(
            f"expected offset {position.next_offset}, got: {batch[0].offset}",
            expected=position.next_offset,
            found=batch[0].offset,
        )
    return batch[start:] if start else batch
