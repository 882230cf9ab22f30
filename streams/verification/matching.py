"""Which evidence tells of which task, and which one satisfies it where there are several.

Instances of a recurring task (those of one rule and patient) share their evidence, and a piece
of it satisfies one instance at most (rule V9). Among all ways to hand it out the one is taken
that satisfies the most instances, and among those the one with the least distance, in all,
between due times and acts. Ties fall by due time, time of the act and ids, so the same sets
have the same answer in whatever order they come.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from streams.verification import alongside, units
from streams.verification.alongside import Costs, Places
from streams.verification.facts import Code, Evidence, Rule, Task
from streams.verification.rules import Window, normal

_MICROSECOND = timedelta(microseconds=1)
_UNORDERED = 10**18  # more than any distance: what names the task's order goes first
COMPONENT_MAX = 128  # instances that compete for the same evidence; more are taken in parts

ACCEPTED = frozenset({"final", "corrected"})
"""States that tell of an act (rules V2, V3, V5)."""
REFUTING = frozenset({"refused", "not_administered", "refuted", "unobtainable"})
PARTIAL = frozenset({"partial"})
UNDER_WAY = frozenset({"pending"})
UNKNOWN = frozenset({"unknown"})
ROUNDS = (ACCEPTED, REFUTING, PARTIAL, UNDER_WAY, UNKNOWN)
"""In this order; revoked evidence, and what is none, takes part in no round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """A field in which evidence differs from what was asked; values as text, never PHI."""

    field: str
    expected: str | None
    found: str | None
    evidence_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Evidence of the right kind, code and patient beside a task, and where it differs."""

    evidence: Evidence
    differs: tuple[Discrepancy, ...]
    in_scope: bool
    """In the window, of the encounter and of the order: only state or value may differ."""
    distance: int
    """Microseconds from the task's due time, and far more without its order number."""


def tells_of(evidence: Evidence, rule: Rule) -> bool:
    """Whether evidence is of the rule's kinds and codes; an order never is (rules V4, V8)."""
    codes = {normal(Code(*code)) for code in evidence.codes}
    return evidence.kind in rule.evidence_kinds and not codes.isdisjoint(rule.codes)


def candidate(
    task: Task,
    rule: Rule,
    window: Window,
    evidence: Evidence,
    *,
    visit: Callable[[str, str | None], str | None],
) -> Candidate:
    """Compare evidence with a task, field by field; ``visit`` follows a tenant's joined visits."""
    told = evidence.evidence_id
    differs: list[Discrepancy] = []

    def differ(name: str, expected: str | None, found: str | None) -> None:
        differs.append(Discrepancy(field=name, expected=expected, found=found, evidence_id=told))

    if not window.holds(evidence.performed_at):
        differ("performed_at", window.span, evidence.performed_at.isoformat())
    asked = visit(task.tenant_id, task.admission_id)
    where = visit(evidence.tenant_id, evidence.admission_id)
    if rule.same_encounter and asked is not None and where != asked:
        differ("admission_id", asked, where)
    if task.order_id is not None and evidence.order_id not in (None, task.order_id):
        differ("order_id", task.order_id, evidence.order_id)
    in_scope = not differs
    if evidence.state not in ACCEPTED:
        differ("state", "final", evidence.state)
    measured = _measured(rule, evidence)
    if measured is not None:
        differ("value", *measured)
    away = abs(evidence.performed_at - window.due_at) // _MICROSECOND
    unnamed = task.order_id is not None and evidence.order_id is None
    return Candidate(
        evidence=evidence,
        differs=tuple(differs),
        in_scope=in_scope,
        distance=away + (_UNORDERED if unnamed else 0),
    )


def fits(found: Candidate, states: frozenset[str]) -> bool:
    """Whether evidence takes part in a round: only an act's value is looked at (rule V8)."""
    if not found.in_scope or found.evidence.state not in states:
        return False
    return states is not ACCEPTED or not found.differs


def _measured(rule: Rule, evidence: Evidence) -> tuple[str, str | None] | None:
    """What was asked and what was measured, where the one isn't within the other."""
    if rule.low is None and rule.high is None:
        return None
    low = "" if rule.low is None else f"{rule.low:g}"
    high = "" if rule.high is None else f"{rule.high:g}"
    expected = f"{low}..{high} {rule.unit or ''}".strip()
    if evidence.value_number is None:
        return expected, None
    sign = evidence.value_comparator or ""
    found = f"{sign}{evidence.value_number:g} {evidence.value_unit or ''}".strip()
    number = units.convert(evidence.value_number, evidence.value_unit, rule.unit)
    within = number is not None and _within(number, sign, rule)
    return None if within else (expected, found)


def _within(number: float, sign: str, rule: Rule) -> bool:
    """Whether a value surely lies within the thresholds; ``<5`` may be any less than 5."""
    enough = rule.low is None or (number >= rule.low and sign not in ("<", "<="))
    return enough and (rule.high is None or (number <= rule.high and sign not in (">", ">=")))


def assigned(costs: Costs, places: Places | None = None) -> dict[str, str]:
    """Evidence by task, by ``costs``: by task, by evidence that fits it, the distance.

    As many tasks as can be, then the least distance in all. The order of ``costs`` breaks ties, so
    the caller sorts it. Tasks that compete for the same evidence are solved together: along their
    ``places`` where they lie so, else at most :data:`COMPONENT_MAX` at once, and what is left over
    then takes what the part before has left.
    """
    found: dict[str, str] = {}
    for component in _components(costs):
        along = None if places is None else alongside.line(component, costs, places)
        if along is not None:
            found.update(alongside.least(along, costs))
            continue
        for start in range(0, len(component), COMPONENT_MAX):
            part = component[start : start + COMPONENT_MAX]
            taken = set(found.values())
            free = {
                task: _nearest({e: c for e, c in costs[task].items() if e not in taken}, len(part))
                for task in part
            }
            found.update(_least(part, free))
    return found


def _components(costs: Costs) -> list[list[str]]:
    """Tasks that are tied by evidence, each group in the order of ``costs``."""
    above: dict[str, str] = {}

    def top(task: str) -> str:
        while above[task] != task:
            above[task] = above[above[task]]  # or a long chain is walked for each piece anew
            task = above[task]
        return task

    first: dict[str, str] = {}
    for task, fitting in costs.items():
        above[task] = task
        for evidence in fitting:
            above[top(first.setdefault(evidence, task))] = top(task)
    groups: dict[str, list[str]] = {}
    for task in costs:
        groups.setdefault(top(task), []).append(task)
    return list(groups.values())


def _nearest(fitting: Mapping[str, int], count: int) -> Mapping[str, int]:
    """The nearest so many: a best answer for so many tasks never needs another."""
    if len(fitting) <= count:
        return fitting
    nearest = sorted(fitting, key=lambda evidence: (fitting[evidence], evidence))[:count]
    return {evidence: fitting[evidence] for evidence in nearest}


def _least(tasks: Sequence[str], costs: Costs) -> dict[str, str]:
    """The least-cost assignment (Kuhn and Munkres, with potentials, one task after another).

    Each task also has a place of its own with nothing in it, which costs more than all else.
    """
    listed = sorted({evidence for task in tasks for evidence in costs[task]})
    nothing = 1 + sum(max(costs[task].values(), default=0) for task in tasks)
    never = nothing * (len(tasks) + 1)
    table = [
        [costs[task].get(evidence, never) for evidence in listed]
        + [nothing if own == row else never for own in range(len(tasks))]
        for row, task in enumerate(tasks)
    ]
    holder = _solve(table)
    return {
        tasks[row]: listed[column]
        for column, row in enumerate(holder[: len(listed)])
        if row is not None
    }


def _solve(table: Sequence[Sequence[int]]) -> list[int | None]:
    """The row that holds each column; rows are at most as many as columns."""
    width = len(table[0]) if table else 0
    rows, columns = [0] * len(table), [0] * width  # potentials
    holder: list[int | None] = [None] * width
    for row in range(len(table)):
        column, before = _path(table, row, rows, columns, holder)
        while column is not None:
            previous = before[column]
            holder[column] = row if previous is None else holder[previous]
            column = previous
    return holder


def _path(
    table: Sequence[Sequence[int]],
    row: int,
    rows: list[int],
    columns: list[int],
    holder: Sequence[int | None],
) -> tuple[int | None, list[int | None]]:
    """A free column that the row comes to at least cost, and the way there; moves potentials."""
    width = len(columns)
    least: list[int | None] = [None] * width
    before: list[int | None] = [None] * width
    done: list[int] = []
    left = list(range(width))
    at: int | None = row
    column: int | None = None
    while at is not None:
        left = [other for other in left if other != column]
        for other in left:
            reduced = table[at][other] - rows[at] - columns[other]
            known = least[other]
            if known is None or reduced < known:
                least[other], before[other] = reduced, column
        step, column = min((least[other] or 0, other) for other in left)
        rows[row] += step
        for other in done:
            held = holder[other]
            assert held is not None, "a column that is done has a row"
            rows[held] += step
            columns[other] -= step
        for other in left:
            least[other] = (least[other] or 0) - step
        done.append(column)
        at = holder[column]
    return column, before
