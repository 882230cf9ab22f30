"""Evidence by its time: what a window holds, and what lies nearest beside it."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from streams.verification import matching
from streams.verification.facts import Evidence, Rule
from streams.verification.rules import Window


class Nearby:
    """The evidence that tells of one rule for one patient.

    Few of a patient's thousand readings lie near any one task, so that each task looks at those
    alone. What names an order and what names none stand apart, as they are at other distances.
    """

    __slots__ = ("_groups",)

    def __init__(self, told: Iterable[Evidence]) -> None:
        listed = sorted(told, key=lambda each: each.evidence_id)
        named = [each for each in listed if each.order_id is not None]
        unnamed = [each for each in listed if each.order_id is None]
        self._groups = tuple(_Group(each) for each in (named, unnamed) if each)

    def count(self, window: Window) -> int:
        """How much happened in the window."""
        return sum(
            max(group.place(window.ends_at) - group.place(window.starts_at), 0)
            for group in self._groups
        )

    def within(self, window: Window) -> Iterator[Evidence]:
        """What happened in the window."""
        for group in self._groups:
            first, end = group.place(window.starts_at), group.place(window.ends_at)
            yield from group.rising[first:end]

    def beside(self, window: Window, most: int) -> Iterator[Evidence]:
        """At least so many of what happened outside, the nearest to its due time, if there are."""
        for group in self._groups:
            starts = group.place(window.starts_at)
            ends = max(starts, group.place(window.ends_at))
            due = group.place(window.due_at)
            yield from group.after(due, starts, most)
            yield from group.after(max(due, ends), len(group.rising), most)
            yield from group.before(due, ends, most)
            yield from group.before(min(due, starts), 0, most)


class Alike:
    """Evidence by tenant, patient and rule, put in order where it is asked for first."""

    __slots__ = ("_found", "_told")

    def __init__(self, told: Mapping[tuple[str, str], Sequence[Evidence]]) -> None:
        self._told = told
        self._found: dict[tuple[str, str, str], Nearby] = {}

    def of(self, tenant: str, patient: str, rule: Rule) -> Nearby:
        """What tells of the rule for the patient."""
        key = tenant, patient, rule.rule_id
        if key not in self._found:
            known = self._told.get((tenant, patient), ())
            self._found[key] = Nearby(each for each in known if matching.tells_of(each, rule))
        return self._found[key]


class _Group:
    """Evidence in the order of its time, both ways; of one time by its ids."""

    __slots__ = ("_falling", "_times", "rising")

    def __init__(self, listed: list[Evidence]) -> None:
        self.rising = sorted(listed, key=_time)
        self._falling = sorted(listed, key=_time, reverse=True)
        self._times = [each.performed_at for each in self.rising]

    def place(self, at: datetime) -> int:
        """How many came before."""
        return bisect_left(self._times, at)

    def after(self, place: int, end: int, most: int) -> list[Evidence]:
        """The first so many from a place on."""
        return self.rising[place : min(place + most, end)]

    def before(self, place: int, end: int, most: int) -> list[Evidence]:
        """The last so many before a place, backwards."""
        first = len(self.rising) - place
        return self._falling[first : min(first + most, len(self.rising) - end)]


def _time(each: Evidence) -> datetime:
    return each.performed_at
