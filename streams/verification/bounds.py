"""How many of a patient's tasks are judged, and which where there are more."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from streams.verification.facts import Rule, Task
from streams.verification.nearby import Alike
from streams.verification.people import People
from streams.verification.rules import Window, window

# Those that are due first: so no outcome of before is lost by what is ordered later, and who
# places orders without end makes no judging without end. As many as an hourly task has in half a
# year; apart from each other they are judged in about a second.
TASKS_MAX = 5_000
# Of a task and evidence in its window: what tasks that lie together cost, about a second.
PAIRS_MAX = 250_000


def sought(task: Task, rules: Mapping[tuple[str, str], Rule], people: People) -> Window | None:
    """When a task's evidence must lie; None where nothing can be looked for."""
    rule = rules.get((task.tenant_id, task.rule_id or ""))
    if task.cancelled or rule is None or people.of_task(task) is None:
        return None
    return window(task, rule)


def beyond(
    tasks: Sequence[Task],
    rules: Mapping[tuple[str, str], Rule],
    people: People,
    alike: Alike,
) -> frozenset[str]:
    """The tasks that a patient has beyond :data:`TASKS_MAX` or :data:`PAIRS_MAX`."""
    listed: dict[tuple[str, str], list[tuple[datetime, str, int]]] = {}
    for task in tasks:
        found, patient = sought(task, rules, people), people.of_task(task)
        if found is None or patient is None:
            continue
        rule = rules[task.tenant_id, task.rule_id or ""]
        pairs = alike.of(task.tenant_id, patient, rule).count(found)
        place = found.due_at, task.task_id, pairs
        listed.setdefault((task.tenant_id, patient), []).append(place)
    return frozenset(task for each in listed.values() for task in _over(sorted(each)))


def _over(listed: Sequence[tuple[datetime, str, int]]) -> Sequence[str]:
    """The tasks of one patient from the first one that is too much on."""
    pairs = 0
    for number, (_, _, more) in enumerate(listed):
        pairs += more
        if number >= TASKS_MAX or pairs > PAIRS_MAX:
            return [task for _, task, _ in listed[number:]]
    return ()
