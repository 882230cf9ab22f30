"""The best assignment of evidence to tasks where both lie along one line of time.

Where tasks differ by their due times alone, and a later window starts and ends no earlier, two
pairs that cross are never better than the same uncrossed (the costs are Monge: Hoffman 1963). So
tasks and evidence are gone through in their order once, which costs as much as there are pairs,
where the general way costs the cube of the tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Costs = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """When tasks are due and evidence happened, in microseconds since any one instant."""

    tasks: Mapping[str, int]
    evidence: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Tasks and evidence in their order; a task's own are from ``first`` until before ``end``."""

    tasks: Sequence[str]
    evidence: Sequence[str]
    first: Sequence[int]
    end: Sequence[int]


def line(tasks: Sequence[str], costs: Costs, places: Places) -> Line | None:
    """The tasks along a line; None where they don't lie so, as some name orders or visits."""
    listed = sorted(
        {each for task in tasks for each in costs[task]},
        key=lambda each: (places.evidence[each], each),
    )
    number = {each: place for place, each in enumerate(listed)}
    ordered = sorted(tasks, key=lambda task: (places.tasks[task], task))
    first, end = [], []
    for task in ordered:
        own, due = costs[task], places.tasks[task]
        if not own:
            return None
        numbers = [number[each] for each in own]
        extra = {cost - abs(places.evidence[each] - due) for each, cost in own.items()}
        first.append(min(numbers))
        end.append(max(numbers) + 1)
        if end[-1] - first[-1] != len(own) or len(extra) != 1:
            return None
    if first != sorted(first) or end != sorted(end):
        return None
    return Line(tasks=ordered, evidence=listed, first=first, end=end)


def least(along: Line, costs: Costs) -> dict[str, str]:
    """As many tasks as can be, then the least cost; of equals the earlier tasks and evidence.

    ``rows`` say for each task what the tasks up to it come to at best with the evidence up to
    each place that it or a later one may take.
    """
    most = 1 + sum(max(costs[task].values()) for task in along.tasks)
    rows: list[list[int]] = []
    before, begins = [0], 0  # no task: nothing, wherever
    for task, first, end in zip(along.tasks, along.first, along.end, strict=True):
        own = costs[task]
        row = [_at(before, begins, first)]
        for place in range(first, end):
            pair = _at(before, begins, place) + own[along.evidence[place]] - most
            row.append(min(_at(before, begins, place + 1), row[-1], pair))
        rows.append(row)
        before, begins = row, first
    return _taken(along, rows)


def _at(row: Sequence[int], begins: int, place: int) -> int:
    """What a row says of the evidence before a place; beyond its end there is nothing to take."""
    return row[min(place - begins, len(row) - 1)]


def _taken(along: Line, rows: Sequence[Sequence[int]]) -> dict[str, str]:
    """The pairs that the last row came from, from the last task backwards."""
    found: dict[str, str] = {}
    place = len(along.evidence)
    for number in range(len(rows) - 1, -1, -1):
        row, first = rows[number], along.first[number]
        before, begins = (rows[number - 1], along.first[number - 1]) if number else ([0], 0)
        place = min(place, along.end[number])
        value = _at(row, first, place)
        if value == _at(before, begins, place):
            continue
        while place > first and _at(row, first, place - 1) == value:
            place -= 1
        place -= 1
        found[along.tasks[number]] = along.evidence[place]
    return found
