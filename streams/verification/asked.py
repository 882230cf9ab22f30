"""Tasks that orders ask for, where a rule says so: a pure function of orders and rules (V4, V9)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

from schemas import identity
from streams.verification.facts import Evidence, Facts, Order, Rule, Task
from streams.verification.people import People
from streams.verification.timing import OCCURRENCES_MAX, Instance, instances

TASKS = UUID("0d2f6a52-5d0a-5c61-9b0e-2b8a6f1c4e33")  # namespace of these tasks' ids; never changes
_Named = TypeVar("_Named", Task, Evidence)
Same = Mapping[tuple[str, str | None, str], str]
"""By tenant, patient and a filler's id of an order: the id it stands under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A task of an order's; where it doesn't ``stand`` the rule, or the order, asks no more."""

    task: Task
    order: Order
    stands: bool


def tasks(facts: Facts) -> Iterator[Asked]:
    """Each task that an order ever asked for under a rule, by all that both have ever said."""
    told = sorted(facts.orders, key=lambda order: order.order_id)
    people = People.of(facts)
    same = fillers(told, people)
    for rule in sorted(facts.rules, key=lambda rule: rule.rule_id):
        for order in told:
            if order.tenant_id == rule.tenant_id and order.codes_told & rule.order_codes_told:
                known = (order.tenant_id, people.of_order(order), order.order_id) not in same
                yield from _asked(order, rule, stands=known and _stands(order, rule))


def is_asked(task_id: str, order_id: str, rule_id: str) -> bool:
    """Whether a task is one of an order's under a rule, whichever of its times."""
    return any(id_of(order_id, rule_id, number) == task_id for number in range(OCCURRENCES_MAX))


def id_of(order_id: str, rule_id: str, number: int) -> str:
    """The id of an order's task: of a UUID version in which no command creates one."""
    return identity.following(TASKS, f"{order_id}/{rule_id}/{number}")


def instance_of(task: Task) -> Instance:
    """When a task is due, as its order has it."""
    return Instance(
        starts_at=task.window_starts_at, ends_at=task.window_ends_at, due_at=task.due_at
    )


def named(facts: Facts, people: People) -> Facts:
    """The facts with each order under one id, where its filler's number is known to be its too."""
    same = fillers(facts.orders, people)
    if not same:
        return facts
    return replace(
        facts,
        tasks=tuple(_named(each, people.of_task(each), same) for each in facts.tasks),
        evidence=tuple(_named(each, people.of_evidence(each), same) for each in facts.evidence),
    )


def states(orders: Iterable[Order], people: People) -> dict[tuple[str, str], str]:
    """How each order stands, by tenant and id: what was told last under any of its numbers."""
    orders = tuple(orders)
    same = fillers(orders, people)
    newest: dict[tuple[str, str], Order] = {}
    for order in orders:
        filler = order.tenant_id, people.of_order(order), order.order_id
        key = order.tenant_id, same.get(filler, order.order_id)
        if key not in newest or newest[key].state_place < order.state_place:
            newest[key] = order
    return {key: order.state for key, order in newest.items()}


def fillers(orders: Iterable[Order], people: People) -> Same:
    """The orders that are another one by its filler's number; not where several claim it.

    Both are of one patient: what stands under that number of another is another order.
    """
    found: dict[tuple[str, str | None, str], set[str]] = {}
    for order in orders:
        if order.filler_id is not None and order.filler_id != order.order_id:
            key = order.tenant_id, people.of_order(order), order.filler_id
            found.setdefault(key, set()).add(order.order_id)
    return {key: min(ids) for key, ids in found.items() if len(ids) == 1}


def _asked(order: Order, rule: Rule, *, stands: bool) -> Iterator[Asked]:
    """The task of each instance that any timing of the order ever had."""
    listed = instances(order.timing, order.ordered_at)
    last = listed[-1] if listed else Instance(due_at=order.ordered_at)
    for number in range(max(order.most, len(listed))):
        of = listed[number] if number < len(listed) else last
        here = stands and number < len(listed)
        task = Task(
            task_id=id_of(order.order_id, rule.rule_id, number),
            tenant_id=order.tenant_id,
            version=order.version,
            recorded_at=order.recorded_at,
            patient_id=order.patient_id,
            admission_id=order.admission_id,
            rule_id=rule.rule_id,
            order_id=order.order_id,
            window_starts_at=of.starts_at,
            window_ends_at=of.ends_at,
            due_at=of.due_at,
            cancelled=not here,
        )
        yield Asked(task=task, order=order, stands=here)


def _stands(order: Order, rule: Rule) -> bool:
    """Whether the rule asks for it as both are now; a retired one does for orders of before."""
    retired = rule.retired_at is not None and order.ordered_at >= rule.retired_at
    return not retired and not order.codes.isdisjoint(rule.order_codes)


def _named(each: _Named, patient: str | None, same: Same) -> _Named:
    other = same.get((each.tenant_id, patient, each.order_id or ""))
    return each if other is None else replace(each, order_id=other)
