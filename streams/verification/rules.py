"""What a rule asks: which codes, in which window, within which thresholds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from streams import codes
from streams.verification.facts import Code, Rule, Task

KINDS = frozenset({"observation", "administration", "immunization"})
"""The kinds of evidence that can tell of an act; an order is none (rule V4)."""
CODES_MAX = 1_000  # a value set that a person keeps
FEEDS_MAX = 100
SPAN_S_MAX = 366 * 24 * 3600
TEXT_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When the act must happen, the end excluded, and when its absence may be told."""

    starts_at: datetime
    ends_at: datetime
    due_at: datetime
    awaits_at: datetime
    span: str
    """Both ends, as discrepancies name them."""

    def holds(self, at: datetime) -> bool:
        """Whether the act's clinical time lies in it (rule V6)."""
        return self.starts_at <= at < self.ends_at


def window(task: Task, rule: Rule) -> Window | None:
    """The task's own window, else the rule's around its due time; None where neither is told."""
    anchor = task.due_at or task.window_ends_at or task.window_starts_at
    if anchor is None:
        return None
    starts_at = task.window_starts_at or anchor - timedelta(seconds=rule.window_before_s)
    ends_at = task.window_ends_at or anchor + timedelta(seconds=rule.window_after_s)
    return Window(
        starts_at=starts_at,
        ends_at=ends_at,
        due_at=task.due_at or ends_at,
        span=f"{starts_at.isoformat()}/{ends_at.isoformat()}",
        awaits_at=ends_at + timedelta(seconds=rule.allowance_s),
    )


@lru_cache(maxsize=4_096)  # every rule is held against all that is known of a patient
def normal(code: Code) -> Code:
    """The code as its system compares it, under the system's one name."""
    system = codes.system(code.system)
    return Code(system, codes.code(system, code.code))


def of_data(
    data: Mapping[str, Any], *, rule_id: str, tenant_id: str, version: int, recorded_at: datetime
) -> Rule:
    """The rule that an event ``verification_rule.defined`` defines."""
    limits: Mapping[str, Any] = data["thresholds"] or {}
    return Rule(
        rule_id=rule_id,
        tenant_id=tenant_id,
        version=version,
        recorded_at=recorded_at,
        name=data["name"],
        evidence_kinds=frozenset(data["evidence_kinds"]) & KINDS,
        codes=frozenset(map(_code, data["codes"])),
        window_before_s=data["window_before_s"],
        window_after_s=data["window_after_s"],
        allowance_s=data["allowance_s"],
        same_encounter=data["encounter_policy"] == "same",
        low=limits.get("low"),
        high=limits.get("high"),
        unit=limits.get("unit"),
        feeds=frozenset(data["feeds"]),
        stale_after_s=data["stale_after_s"],
        order_codes=order_codes(data),
    )


def order_codes(data: Mapping[str, Any]) -> frozenset[Code]:
    """What an order names that a rule makes a task of; older rules say nothing of orders."""
    return frozenset(map(_code, data.get("order_codes", ())))


def _code(each: Mapping[str, str]) -> Code:
    return normal(Code(each["system"], each["code"]))


def invalid(data: Mapping[str, Any]) -> tuple[str, str] | None:
    """Why a rule can't be: a short code, and a line about it; None if it can."""
    kinds = data["evidence_kinds"]
    if "order" in kinds:
        return "order_is_no_act", "an order never verifies that something was done"
    if not kinds or not set(kinds) <= KINDS:
        return "kinds", f"evidence_kinds names at least one of: {', '.join(sorted(KINDS))}"
    wrong = _codes(data)
    if wrong is not None:
        return wrong
    if not data["name"].strip() or len(data["name"]) > TEXT_MAX:
        return "name", f"a rule's name has between one character and: {TEXT_MAX}"
    if len(data["feeds"]) > FEEDS_MAX:
        return "feeds", f"a rule counts at most so many feeds: {FEEDS_MAX}"
    for span in ("window_before_s", "window_after_s", "allowance_s", "stale_after_s"):
        if not 0 <= data[span] <= SPAN_S_MAX:
            return "span", f"{span} lies between 0 and: {SPAN_S_MAX}"
    if not data["window_before_s"] + data["window_after_s"]:
        return "span", "a window has some length: window_before_s or window_after_s"
    return _thresholds(data["thresholds"])


def _codes(data: Mapping[str, Any]) -> tuple[str, str] | None:
    orders = data.get("order_codes", ())
    if not data["codes"] or len(data["codes"]) > CODES_MAX:
        return "codes", f"a rule names between one code and: {CODES_MAX}"
    if len(orders) > CODES_MAX:
        return "order_codes", f"a rule makes tasks of orders of at most so many codes: {CODES_MAX}"
    if any(
        not each["system"].strip() or not each["code"].strip() for each in (*data["codes"], *orders)
    ):
        return "codes", "each code has a system and a code"
    return None


def _thresholds(limits: Mapping[str, Any] | None) -> tuple[str, str] | None:
    if limits is None:
        return None
    low, high = limits["low"], limits["high"]
    given = [limit for limit in (low, high) if limit is not None]
    if not given or not all(map(math.isfinite, given)):
        return "thresholds", "thresholds have a finite low, high or both"
    if low is not None and high is not None and low > high:
        return "thresholds", "the low threshold isn't above the high one"
    return None
