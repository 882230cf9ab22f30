"""How much is judged of one patient, and how: along a line as by trying all, and in bounds."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.verification import bounds, matching
from streams.verification.alongside import Places
from streams.verification.matching import assigned
from tests.streams.verification.cases import (
    at,
    decision,
    evidence,
    judged,
    link,
    rule,
    task,
    watermark,
)

LATE = watermark("23:00")
MINUTE = timedelta(minutes=1)


def tasks(count, **given):
    return [replace(task(f"t{n}", **given), due_at=at("10:00") + n * MINUTE) for n in range(count)]


@pytest.mark.parametrize("over", [0, 1, 3])
def test_v13_of_more_tasks_than_the_bound_those_due_first_are_judged_and_none_vanishes(
    monkeypatch, over
):
    monkeypatch.setattr(bounds, "TASKS_MAX", 4)
    many = [*tasks(4 + over), *(replace(each, task_id="c" + each.task_id, cancelled=True)
            for each in tasks(2)), task("q", patient="q", due="23:00")]  # fmt: skip
    for order in (many, many[::-1]):
        found = judged(*order, evidence("e", "10:06"), LATE)
        assert len(found) == len(many)
        beyond = {name for name, each in found.items() if each.reasons == ("too_many_tasks",)}
        assert beyond == {f"t{number}" for number in range(4, 4 + over)}
        assert {found[name].outcome for name in beyond} <= {"pending"}
        assert [found[f"t{number}"].outcome for number in range(4)] == ["refuted"] * 3 + [
            "verified"
        ]


def test_v13_pairs_with_evidence_are_bounded_too_also_over_patients_that_are_one(monkeypatch):
    monkeypatch.setattr(bounds, "PAIRS_MAX", 6)
    told = [evidence("e", "10:00"), evidence("f", "10:01", patient="q"), link("q", "p")]
    assert judged(*tasks(3), *told)["t2"].outcome == "pending"
    assert judged(*tasks(3), *told)["t2"].reasons == ("no_evidence_yet",)
    found = judged(*tasks(4), *told)
    assert found["t3"].reasons == ("too_many_tasks",)
    assert [found[f"t{number}"].outcome for number in range(2)] == ["verified"] * 2


def test_v11_a_person_decides_on_a_task_beyond_the_bound(monkeypatch):
    monkeypatch.setattr(bounds, "TASKS_MAX", 1)
    found = judged(*tasks(2), decision("verified", {"ledger": 1}, task="t1"))["t1"]
    assert (found.outcome, found.reasons) == ("verified", ("decided", "too_many_tasks"))


def test_a_task_is_looked_at_with_what_is_near_it_alone(monkeypatch):
    """A thousand readings of other days cost nothing that grows with the tasks."""
    looked = []
    candidate = matching.candidate
    monkeypatch.setattr(
        matching, "candidate", lambda *a, **k: looked.append(1) or candidate(*a, **k)
    )
    apart = [
        replace(each, due_at=at("10:00") + 8 * 60 * n * MINUTE) for n, each in enumerate(tasks(60))
    ]
    told = [
        replace(evidence(f"e{n}"), performed_at=at("10:00") + 8 * 60 * n * MINUTE)
        for n in range(60)
    ]
    found = judged(rule(), *apart, *told)
    assert {each.outcome for each in found.values()} == {"verified"}
    assert len(looked) <= 60 * (1 + 2 * 8)


LINES = st.lists(st.integers(0, 12), min_size=1, max_size=4)


@settings(max_examples=500, deadline=None)
@given(LINES, LINES, st.integers(0, 6), st.integers(1, 6))
def test_v9_along_a_line_as_many_are_satisfied_at_the_least_distance_as_by_trying_all(
    due, done, before, after
):
    places = Places(
        tasks={f"t{n}": place for n, place in enumerate(due)},
        evidence={f"e{n}": place for n, place in enumerate(done)},
    )
    costs = {
        name: own
        for name, place in sorted(places.tasks.items())
        if (own := {
            each: abs(at - place)
            for each, at in places.evidence.items() if place - before <= at < place + after
        })
    }  # fmt: skip
    found = assigned(costs, places)
    best = max(
        (
            (len(pairs), -sum(costs[name][each] for name, each in pairs))
            for pairs in _all(costs, places)
        ),
        default=(0, 0),
    )
    assert len(set(found.values())) == len(found)
    total = -sum(costs[name][each] for name, each in found.items())
    assert (len(found), total) == best


def _all(costs, places):
    """Every way to hand evidence out."""
    names = list(costs)
    for chosen in itertools.product(*([None, *costs[name]] for name in names)):
        taken = [each for each in chosen if each is not None]
        if len(set(taken)) == len(taken):
            yield [(name, each) for name, each in zip(names, chosen, strict=True) if each]
