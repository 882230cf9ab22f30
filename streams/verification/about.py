"""Which task each decision counts for: by the time that it was made about, not by its number.

An order's tasks are numbered by the times it is due, and the numbers are given anew when these
change: the third dose may become the second. So a decision on one names the time that its
decider was shown, and counts for the task that is due then, whichever its number is by now, and
under whichever number of the order's. While none is due then, it is kept and counts for nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from schemas import identity
from streams.verification import asked
from streams.verification.facts import Decision, Facts, Task
from streams.verification.people import People
from streams.verification.timing import OCCURRENCES_MAX, Instance

OTHER_TIME = "decided_for_another_time"
NO_TIME = "decided_without_time"
OTHER_PATIENT = "decided_for_another_patient"
Key = tuple[str, str]
_Due = tuple[str, str | None, str | None, Instance]
"""Tenant, order, rule, and when."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The decisions by tenant and task: those that count for it, and those that don't, why."""

    counting: dict[Key, list[Decision]] = field(default_factory=dict)
    idle: dict[Key, list[tuple[Decision, str]]] = field(default_factory=dict)
    """Under the task that was named."""

    def why(self, task: Task) -> tuple[str, ...]:
        """Why decisions that name a task count for nothing; each reason once."""
        return tuple(sorted({why for _, why in self.idle.get((task.tenant_id, task.task_id), ())}))


def counted(facts: Facts, people: People, tasks: Sequence[Task]) -> Counted:
    """What each decision counts for; ``tasks`` are the newest, each order under one id."""
    told = {each.event_id: each for each in facts.decisions}
    decided = {each.order_id for each in told.values()} - {None}
    same = asked.fillers(facts.orders, people) if decided else {}
    whose = {(each.tenant_id, each.order_id): people.of_order(each) for each in facts.orders}
    named = {(task.tenant_id, task.task_id): task for task in tasks}
    due = _due(tasks) if decided else {}
    found = Counted()
    for each in sorted(told.values(), key=lambda one: one.event_id):
        key, why = (each.tenant_id, each.task_id), ""
        if each.order_id is None:
            task = named.get(key)
        elif each.due is None:
            task, why = None, NO_TIME
        else:
            patient = whose.get((each.tenant_id, each.order_id))
            order = same.get((each.tenant_id, patient, each.order_id), each.order_id)
            listed = due.get((each.tenant_id, order, each.rule_id, each.due), ())
            task, why = _meant(each, order, listed), OTHER_TIME
        if task is not None and not _of_patient(each, task, people):
            task, why = None, OTHER_PATIENT
        if task is not None:
            found.counting.setdefault((task.tenant_id, task.task_id), []).append(each)
        elif why:
            found.idle.setdefault(key, []).append((each, why))
    return found


def _due(tasks: Iterable[Task]) -> dict[_Due, list[Task]]:
    """The tasks that orders make, by when they are due; those taken back are due never."""
    found: dict[_Due, list[Task]] = {}
    for task in tasks:
        if task.order_id is None or task.cancelled or not identity.reserved(task.task_id):
            continue
        key = task.tenant_id, task.order_id, task.rule_id, asked.instance_of(task)
        found.setdefault(key, []).append(task)
    return found


def _meant(each: Decision, order: str, listed: Sequence[Task]) -> Task | None:
    """The task that is due at a decision's time; of several in one window that of its number."""
    if len(listed) <= 1:
        return next(iter(listed), None)
    assert each.order_id is not None, "only an order has several"
    rule = each.rule_id or ""
    for number in range(OCCURRENCES_MAX):
        if asked.id_of(each.order_id, rule, number) == each.task_id:
            own = asked.id_of(order, rule, number)
            return next((task for task in listed if task.task_id == own), None)
    return None


def _of_patient(each: Decision, task: Task, people: People) -> bool:
    """Whether it names the task's patient: as told, or as their visit became another's since."""
    if each.patient_id is None or task.patient_id is None:
        return True
    told = people.person(task.tenant_id, task.patient_id)
    return people.person(task.tenant_id, each.patient_id) in (told, people.of_task(task))
