"""When an order is to be done: never by itself, once, or so many times."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from schemas.clock import instant

OCCURRENCES_MAX = 100  # of one order that are tasks of their own; more are one, for its first
SPAN_MAX = timedelta(days=366)  # between two of them; a hundred longer ones end after the year 9999
_COARSE = frozenset({"day", "month", "year"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One time that an order is to be done: a window, or a time around which the rule's lies."""

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    due_at: datetime | None = None

    @property
    def told(self) -> datetime | None:
        """The one time of it to name it by."""
        return self.due_at or self.ends_at or self.starts_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When an order is to be done, as told; ``coarse``: its start says no more than the day.

    ``due`` are the times of a pattern of days, as the mapping listed them; ``as_needed``: nobody
    waits for it.
    """

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    coarse: bool = False
    occurrences: int | None = None
    interval_s: int | None = None
    simple: bool = True
    as_needed: bool = False
    due: tuple[Instance, ...] = ()

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> "Timing":
        """As an order's event has it."""
        starts, ends = data["starts_at"], data["ends_at"]
        return cls(
            starts_at=None if starts is None else instant(starts),
            ends_at=None if ends is None else instant(ends),
            coarse=data["starts_precision"] in _COARSE,
            occurrences=data["occurrences"],
            interval_s=data["interval_s"],
            simple=data["simple"],
            # Events of before say neither.
            as_needed=data.get("as_needed", False),
            due=tuple(map(_listed, data.get("due", ()))),
        )


def instances(timing: Timing, ordered_at: datetime) -> tuple[Instance, ...]:
    """The times of an order: as many as it plainly says, else one; none of one as needed.

    Plainly: those of its days; so many, or until an end, at an interval from a start; or so many
    between a start and an end.
    """
    if timing.as_needed:
        return ()
    if timing.due:
        return timing.due[:OCCURRENCES_MAX]
    starts, ends = timing.starts_at, timing.ends_at
    if starts is not None and timing.simple:
        number, step = _plainly(timing, starts)
        if step is not None:
            return tuple(Instance(due_at=starts + step * each) for each in range(number))
        if number > 1:
            return (Instance(starts_at=starts, ends_at=ends),) * number
    if starts is not None and ends is not None:
        return (Instance(starts_at=starts, ends_at=ends),)
    if ends is not None:
        return (Instance(ends_at=ends),)
    return (Instance(due_at=starts or ordered_at),)


def _listed(each: Mapping[str, Any]) -> Instance:
    return Instance(**{name: None if at is None else instant(at) for name, at in each.items()})


def _plainly(timing: Timing, starts: datetime) -> tuple[int, timedelta | None]:
    """How often, and the step between two, where it is plain; else once."""
    count, ends = timing.occurrences, timing.ends_at
    if timing.interval_s is None:
        return (count, None) if count and ends and count <= OCCURRENCES_MAX else (1, None)
    step = timedelta(seconds=timing.interval_s)
    until = None if ends is None else -((starts - ends) // step)
    told = [each for each in (count, until) if each is not None]
    if timing.coarse or not told or min(told) > OCCURRENCES_MAX:
        return 1, None
    if step > SPAN_MAX:
        return 1, None
    return min(told), step
