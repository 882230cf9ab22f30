"""A visit's path laid out for drawing: a lane for each place, over one axis of time."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Protocol

from schemas.place import Place

CENSUS, PHYSICAL, PLANNED = "census", "physical", "planned"
THERE, AWAY, ELSEWHERE, PLAN = "there", "away", "elsewhere", "planned"
LANES_MAX = 100  # a picture with more tells nothing; the list of stays has them all
LABEL_CHARACTERS_MAX = 200  # of a place's text in a tooltip
UNKNOWN = "(place unknown)"
SPAN_MIN = timedelta(minutes=1)  # of the axis, for a path that has only begun
LASTING = 2  # what lasts is shown for at most this part of what is known before
LASTING_MIN = timedelta(hours=6)  # or so long
_STEP_MINUTES = (1, 5, 15, 30, 60, 180, 360, 720, *(days * 1440 for days in (1, 2, 7, 14, 28)))
_UNPRINTABLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Stay(Protocol):
    """What is drawn of a stay; a point of the trajectory is one."""

    @property
    def track(self) -> str:
        """``census``, ``physical`` or ``planned``."""

    @property
    def location(self) -> str:
        """PV1-3 as sent."""

    @property
    def effective_at(self) -> datetime:
        """When it began."""

    @property
    def ended_at(self) -> datetime | None:
        """When it ended; none while it lasts."""

    @property
    def start_inferred(self) -> bool:
        """Whether nobody said when it began."""

    @property
    def end_inferred(self) -> bool:
        """Whether nobody said when it ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of a lane; ``open`` is one that lasts.

    Its kind is ``there`` (the patient in the bed), ``away`` (the bed without the patient),
    ``elsewhere`` (the patient without the bed) or ``planned``.
    """

    kind: str
    start: datetime
    end: datetime
    start_inferred: bool = False
    end_inferred: bool = False
    open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """A place with its segments in order of time; ``label`` is printable."""

    label: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A path laid out: lanes in order of the first visit, over one axis of time.

    ``now`` is where a stay that lasts is cut off, or sooner, if it has lasted so long that the
    rest of the path would shrink to nothing. ``ended_at`` is the end of the last stay when none
    lasts: the patient was discharged, or nobody knows where to.
    """

    lanes: tuple[Lane, ...]
    first: datetime
    last: datetime
    ended_at: datetime | None
    left_out: int

    @classmethod
    def of(cls, stays: Iterable[Stay], *, now: datetime, tracked: bool = True) -> "Picture | None":
        """Lay out a visit's stays, of all tracks and in any order; None where there are none.

        Who has a bed and is nowhere is away, from the first instant on too. Where the physical
        track wasn't asked for, say so by ``tracked``: the patient is taken to be in bed then.
        """
        path = sorted(stays, key=lambda stay: (stay.effective_at, stay.track, stay.location))
        if not path:
            return None
        first = path[0].effective_at
        known = [_after(first), *(stay.ended_at or _after(stay.effective_at) for stay in path)]
        last = max(known)
        if any(stay.ended_at is None for stay in path):
            further = max((last - first) / LASTING, LASTING_MIN)
            last = last + further if now - last > further else max(last, now)
        by_place = defaultdict[object, list[Stay]](list)
        # A place that was only planned stands after those that were visited.
        for stay in sorted(path, key=lambda stay: stay.track == PLANNED):
            by_place[_place(stay.location)].append(stay)
        lanes = [
            Lane(
                label=printable(stays[0].location) or UNKNOWN,
                segments=tuple(_segments(stays, last, tracked=tracked)),
            )
            for stays in by_place.values()
        ]
        been = [stay.ended_at for stay in path if stay.track != PLANNED]
        ends = [end for end in been if end is not None]
        return cls(
            lanes=tuple(lanes[:LANES_MAX]),
            first=first,
            last=last,
            ended_at=max(ends) if ends and len(ends) == len(been) else None,
            left_out=max(0, len(lanes) - LANES_MAX),
        )

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of segments in it, ``inferred`` and ``open`` among them."""
        found = {segment.kind for lane in self.lanes for segment in lane.segments}
        for lane in self.lanes:
            for segment in lane.segments:
                found |= {"inferred"} if segment.start_inferred or segment.end_inferred else set()
                found |= {"open"} if segment.open else set()
        return frozenset(found)

    def ends(self, segment: Segment) -> bool:
        """Whether the visit ended with this segment."""
        return segment.end == self.ended_at and segment.kind != PLAN


def printable(text: str) -> str:
    """Text from outside without what a terminal, a browser or an XML parser would obey."""
    return "".join(
        "\u00b7" if unicodedata.category(each) in _UNPRINTABLE else each
        for each in text[:LABEL_CHARACTERS_MAX]
    ).strip()


def _after(at: datetime) -> datetime:
    """A little later; at the end of the calendar the same."""
    try:
        return at + SPAN_MIN
    except OverflowError:
        return at


def _place(location: str) -> object:
    """What makes two stays one lane: the place's identity (rule T20), else the text."""
    place = Place.parse(location)
    return place.identity if place.known else location.strip()


def _segments(stays: Sequence[Stay], last: datetime, *, tracked: bool) -> Iterator[Segment]:
    """One place's stays as segments that don't overlap, but for plans.

    ``tracked``: the physical track is among them; without it the patient is taken to be in bed.
    """
    been = [stay for stay in stays if stay.track != PLANNED]
    starts: dict[datetime, bool] = defaultdict(bool)
    ends: dict[datetime, bool] = defaultdict(bool)
    steps = defaultdict[datetime, dict[str, int]](lambda: {CENSUS: 0, PHYSICAL: 0})
    lasting = set[str]()
    for stay in been:
        end = stay.ended_at or last
        starts[stay.effective_at] |= stay.start_inferred
        ends[end] |= stay.end_inferred
        steps[stay.effective_at][stay.track] += 1
        steps[end][stay.track] -= 1
        if stay.ended_at is None:
            lasting.add(stay.track)
    here = {CENSUS: 0, PHYSICAL: 0}
    found: list[Segment] = []
    for start, end in pairwise(sorted(steps)):
        for track, step in steps[start].items():
            here[track] += step
        kind = _kind(here, tracked=tracked)
        if kind is None:
            continue
        begun = Segment(
            kind=kind,
            start=start,
            end=end,
            start_inferred=starts[start] or ends[start],
            end_inferred=ends[end] or starts[end],
            open=end == last and bool(lasting),
        )
        if found and found[-1].kind == kind and found[-1].end == start:
            begun = replace(begun, start=found[-1].start, start_inferred=found[-1].start_inferred)
            found.pop()
        found.append(begun)
    yield from found
    for stay in stays:
        if stay.track == PLANNED:
            yield Segment(
                kind=PLAN,
                start=stay.effective_at,
                end=max(stay.ended_at or last, stay.effective_at),
                open=stay.ended_at is None,
            )


def _kind(here: Mapping[str, int], *, tracked: bool) -> str | None:
    if here[CENSUS]:
        return THERE if here[PHYSICAL] or not tracked else AWAY
    return ELSEWHERE if here[PHYSICAL] else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Where an instant stands on an axis of so many columns."""

    first: datetime
    last: datetime
    columns: int

    def at(self, instant: datetime) -> int:
        """Its column: 0 to ``columns``."""
        span = self.last - self.first
        return round((instant - self.first) / span * self.columns) if span else 0


def ticks(first: datetime, last: datetime, zone: tzinfo, *, most: int) -> list[datetime]:
    """Round instants of the zone's clock from ``first`` to ``last``, at most ``most`` of them.

    Steps of a minute to some weeks; on the days when the clock is changed, those of the clock.
    """
    span = last - first
    steps = (timedelta(minutes=minutes) for minutes in _STEP_MINUTES)
    step = next((step for step in steps if span / step < most), None)
    while step is None or span / step >= most:
        step = timedelta(days=56) if step is None else step * 2
    local = clock(first, zone)
    wall = datetime(local.year, local.month, local.day)  # a clock's face has no zone
    found: list[datetime] = []
    with suppress(OverflowError):  # feeds write the year 9999, after which there is none
        while (at := wall.replace(tzinfo=zone).astimezone(UTC)) <= last:
            if at >= first and (not found or at > found[-1]):
                found.append(at)
            wall += step
    return found[:most]


def called(zone: tzinfo) -> str:
    """The zone's name, for people."""
    return getattr(zone, "key", None) or str(zone)


def clock(at: datetime, zone: tzinfo) -> datetime:
    """An instant on the zone's clock; at the ends of the calendar on that of UTC."""
    try:
        return at.astimezone(zone)
    except OverflowError:
        return at.astimezone(UTC)


def moment(at: datetime, zone: tzinfo) -> str:
    """An instant as the zone's clock shows it, to the minute."""
    return f"{clock(at, zone):%Y-%m-%d %H:%M}"
