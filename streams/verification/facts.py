"""The facts that tasks are judged by: tasks, evidence, rules, decisions, watermarks, links."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from sinks.aliases import Told
from streams.verification.timing import Instance, Timing

NUMBER_MAX = 18  # digits of a version that is counted; a longer one is a text
_NEVER = datetime.min


class Code(NamedTuple):
    """What was done, by a code of a system; the words beside it say nothing (rule V8)."""

    system: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What was asked for, as its newest version says; ids are text, times aware datetimes."""

    task_id: str
    tenant_id: str
    version: int
    recorded_at: datetime
    patient_id: str | None = None
    admission_id: str | None = None
    rule_id: str | None = None
    order_id: str | None = None
    window_starts_at: datetime | None = None
    window_ends_at: datetime | None = None
    due_at: datetime | None = None
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a feed says was done, as its newest version says; ``versions`` counts all of them."""

    evidence_id: str
    event_id: str
    tenant_id: str
    feed_id: str
    kind: str
    state: str
    codes: frozenset[Code]
    patient_id: str
    performed_at: datetime
    recorded_at: datetime
    reported_at: datetime | None = None
    raw_state: str | None = None
    admission_id: str | None = None
    order_id: str | None = None
    value_number: float | None = None
    value_unit: str | None = None
    value_comparator: str | None = None
    value_code: str | None = None
    version: str | None = None
    versions: int = 1

    @property
    def recency(self) -> tuple[int, bool, datetime, str]:
        """What sorts versions, whenever they came: the sender's number, reported, event."""
        return recency(self.version, self.reported_at, self.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What counts as evidence of a task, at one version; spans are seconds."""

    rule_id: str
    tenant_id: str
    version: int
    recorded_at: datetime
    name: str
    evidence_kinds: frozenset[str]
    codes: frozenset[Code]
    window_before_s: int = 0
    window_after_s: int = 0
    allowance_s: int = 0
    same_encounter: bool = True
    low: float | None = None
    high: float | None = None
    unit: str | None = None
    feeds: frozenset[str] = frozenset()
    stale_after_s: int = 3600
    order_codes: frozenset[Code] = frozenset()
    order_codes_told: frozenset[Code] = frozenset()
    """What an order names that this rule makes a task of, now and ever."""
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is known of an order, which is never evidence (rule V4); ids are text.

    ``codes`` are those it has, ``codes_told`` all it ever had while it stood; ``most`` is how many
    times it was ever to be done. ``filler_id`` is the same order by its filler's number.
    """

    order_id: str
    tenant_id: str
    version: int
    recorded_at: datetime
    partition: int
    partition_seq: int
    patient_id: str
    admission_id: str | None
    codes: frozenset[Code]
    codes_told: frozenset[Code]
    state: str
    state_place: tuple[Any, ...]
    ordered_at: datetime
    timing: Timing
    most: int
    filler_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person decided about a task: ``verified`` or ``refuted``, and having seen what.

    Of a task that an order makes also by which ``order_id`` and ``rule_id`` it does, and for when
    it was ``due`` as the decider was shown it: decisions of before don't say.
    """

    event_id: str
    tenant_id: str
    task_id: str
    outcome: str
    clock: Mapping[str, int]
    version: int
    decided_by: str
    recorded_at: datetime
    hlc: tuple[int, int, str] = (0, 0, "")
    patient_id: str | None = None
    order_id: str | None = None
    rule_id: str | None = None
    due: Instance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermark:
    """The latest clinical time that a feed told of, by the kind of what it told."""

    tenant_id: str
    feed_id: str
    kind: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """Whose visit it became (rule M5), and as which other one it goes on."""

    admission_id: str
    tenant_id: str
    owner_id: str | None = None
    joined_into: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What was told of two patients of a tenant."""

    tenant_id: str
    told: Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A set of facts: neither order nor doubles mean anything."""

    tasks: tuple[Task, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    rules: tuple[Rule, ...] = ()
    decisions: tuple[Decision, ...] = ()
    watermarks: tuple[Watermark, ...] = ()
    visits: tuple[Visit, ...] = ()
    links: tuple[Link, ...] = field(default=())
    orders: tuple[Order, ...] = ()


def recency(
    version: str | None, reported_at: datetime | None, event_id: str
) -> tuple[int, bool, datetime, str]:
    """What sorts versions of evidence; the sender's own number counts only where it is one."""
    counted = version and len(version) <= NUMBER_MAX and version.isascii() and version.isdecimal()
    number = int(version) if version and counted else -1
    return number, reported_at is not None, reported_at or _NEVER, event_id


def newest_tasks(tasks: Iterable[Task]) -> list[Task]:
    """The highest version of each task, in the order of their ids."""
    found: dict[str, Task] = {}
    for task in tasks:
        known = found.get(task.task_id)
        if known is None or known.version < task.version:
            found[task.task_id] = task
    return [found[name] for name in sorted(found)]


def newest_evidence(evidence: Iterable[Evidence]) -> list[Evidence]:
    """The newest version of each piece of evidence, with the count of all its versions."""
    versions: dict[str, dict[str, Evidence]] = {}
    for each in evidence:
        versions.setdefault(each.evidence_id, {})[each.event_id] = each
    found = []
    for name in sorted(versions):
        told = versions[name].values()
        newest = max(told, key=lambda one: one.recency)
        found.append(replace(newest, versions=sum(one.versions for one in told)))
    return found


def newest_rules(rules: Iterable[Rule]) -> dict[tuple[str, str], Rule]:
    """The highest version of each rule, by tenant and id."""
    found: dict[tuple[str, str], Rule] = {}
    for rule in rules:
        known = found.get((rule.tenant_id, rule.rule_id))
        if known is None or known.version < rule.version:
            found[rule.tenant_id, rule.rule_id] = rule
    return found
