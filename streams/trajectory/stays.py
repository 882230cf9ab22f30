"""Stays and absences, and how the absences part where the bed is from where the patient is."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from streams.trajectory.facts import identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A visit at one place from ``start`` to before ``end``; no end while it goes on.

    ``start_field`` is the field that gave the start; ``inferred``, or ``reported`` where it
    is when we were told.
    """

    place: str
    start: datetime
    start_field: str
    start_event_id: str
    start_inferred: bool = False
    end: datetime | None = None
    end_event_id: str | None = None
    end_inferred: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """Away from the bed from ``start`` to before ``end``, at ``place`` or nobody knows where."""

    place: str | None
    start: datetime
    start_field: str
    start_event_id: str
    end: datetime | None
    end_field: str | None
    end_event_id: str | None


def physical(census: tuple[Stay, ...], absences: Sequence[Absence]) -> tuple[Stay, ...]:
    """Where the patient is: the stays in bed but for the absences, and the places of these.

    Both in order, absences without overlap, of which only the last may be open (rules T16, T19).
    """
    if not absences:
        return census
    stays = [*_in_bed(census, absences), *_elsewhere(absences)]
    stays.sort(key=lambda stay: stay.start)
    merged: list[Stay] = []
    for stay in stays:
        last = merged[-1] if merged else None
        if last and last.end == stay.start and identity(last.place) == identity(stay.place):
            merged[-1] = replace(
                last, end=stay.end, end_event_id=stay.end_event_id, end_inferred=stay.end_inferred
            )
        else:
            merged.append(stay)
    return tuple(merged)


def _in_bed(census: Iterable[Stay], absences: Sequence[Absence]) -> Iterator[Stay]:
    first = 0
    for stay in census:
        while first < len(absences) and _over(absences[first], stay.start):
            first += 1
        rest: Stay | None = stay
        at = first
        while rest is not None and at < len(absences):
            absence = absences[at]
            if rest.end is not None and rest.end <= absence.start:
                break
            if rest.start < absence.start:
                yield replace(
                    rest, end=absence.start, end_event_id=absence.start_event_id, end_inferred=False
                )
            rest = _after(rest, absence)
            at += 1
        if rest is not None:
            yield rest


def _over(absence: Absence, at: datetime) -> bool:
    return absence.end is not None and absence.end <= at


def _after(stay: Stay, absence: Absence) -> Stay | None:
    """What is left of a stay when the patient is back; None if it ended before."""
    if absence.end is None or (stay.end is not None and stay.end <= absence.end):
        return None
    assert absence.end_field is not None, "an absence that ended was ended by something"
    assert absence.end_event_id is not None, "an absence that ended was ended by something"
    return replace(
        stay,
        start=absence.end,
        start_field=absence.end_field,
        start_event_id=absence.end_event_id,
        start_inferred=False,
    )


def _elsewhere(absences: Iterable[Absence]) -> Iterator[Stay]:
    for absence in absences:
        if absence.place is not None:
            yield Stay(
                place=absence.place,
                start=absence.start,
                start_field=absence.start_field,
                start_event_id=absence.start_event_id,
                end=absence.end,
                end_event_id=absence.end_event_id,
            )
