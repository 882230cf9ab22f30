"""Verification rules are defined, revised as a whole and retired."""

import pytest

from streams.ledger.commands.aggregate import FOUND, FOUNDED, Asked, Rejection, Told
from streams.ledger.commands.verification_rules import AGGREGATE
from tests.streams.verification.told import RULE


def asked(action, **given):
    data = {"reason_code": None} if action == "retire" else {**RULE, **given}
    return Asked(
        command_id="c", command_type=f"verification_rule.{action}", stream_id="r",
        tenant_id="ours", issued_at=1, issued_by="u", data=data,
    )  # fmt: skip


def after(*actions):
    """The state after such commands, each of which is accepted."""
    state = None
    for version, action in enumerate(actions, start=1):
        [event] = AGGREGATE.decide(state, asked(action))
        told = Told(event_type=event.event_type, data=event.data, version=version, recorded_at=1)
        state = AGGREGATE.evolve(state, told)
    return state


def test_a_rule_is_defined_with_all_that_it_says():
    [event] = AGGREGATE.decide(None, asked("define"))
    assert (event.event_type, event.data) == ("verification_rule.defined", RULE)


def test_a_revision_is_the_whole_rule_again():
    [event] = AGGREGATE.decide(after("define"), asked("revise", name="other"))
    assert (event.event_type, event.data["name"]) == ("verification_rule.defined", "other")


def test_a_retired_rule_is_changed_no_more():
    for action in ("revise", "retire"):
        assert AGGREGATE.decide(after("define", "retire"), asked(action)).rule == "retired"


@pytest.mark.parametrize(
    ("state", "action", "held"),
    [((), "revise", FOUND), ((), "retire", FOUND), (("define",), "define", FOUNDED)],
)
def test_a_rule_is_defined_once_and_before_all_else(state, action, held):
    with pytest.raises(AssertionError, match=held):
        AGGREGATE.decide(after(*state), asked(action))


CODE = {"system": "LN", "code": "1"}


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"evidence_kinds": ["order"]}, "order_is_no_act"),
        ({"evidence_kinds": ["observation", "order"]}, "order_is_no_act"),
        ({"evidence_kinds": []}, "kinds"),
        ({"codes": []}, "codes"),
        ({"codes": [{"system": "", "code": "1"}]}, "codes"),
        ({"codes": [CODE] * 1001}, "codes"),
        ({"name": " "}, "name"),
        ({"name": "n" * 201}, "name"),
        ({"feeds": ["f"] * 101}, "feeds"),
        ({"window_after_s": -1}, "span"),
        ({"allowance_s": 366 * 86400 + 1}, "span"),
        ({"order_codes": [{"system": " ", "code": "1"}]}, "codes"),
        ({"order_codes": [{"system": "LN", "code": "1"}] * 1_001}, "order_codes"),
        ({"window_before_s": 0, "window_after_s": 0}, "span"),
        ({"thresholds": {"low": None, "high": None, "unit": None}}, "thresholds"),
        ({"thresholds": {"low": 2.0, "high": 1.0, "unit": None}}, "thresholds"),
        ({"thresholds": {"low": float("nan"), "high": None, "unit": None}}, "thresholds"),
    ],
)
def test_a_rule_that_says_nothing_or_too_much_is_refused(given, rule):
    refused = AGGREGATE.decide(None, asked("define", **given))
    assert isinstance(refused, Rejection)
    assert refused.rule == rule


@pytest.mark.parametrize(
    "given",
    [
        {"codes": [CODE] * 1000}, {"name": "n" * 200}, {"feeds": ["f"] * 100},
        {"allowance_s": 366 * 86400},
        {"thresholds": {"low": 1.0, "high": 1.0, "unit": "mg"}},
    ],
)  # fmt: skip
def test_a_rule_at_its_bounds_is_taken(given):
    assert len(AGGREGATE.decide(None, asked("define", **given))) == 1


def test_a_snapshot_gives_the_state_back():
    state = after("define", "retire")
    assert AGGREGATE.of_json(AGGREGATE.to_json(state)) == state
