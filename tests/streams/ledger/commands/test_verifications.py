"""Decisions on tasks: in which stream, with what clocks, and what is refused."""

from dataclasses import replace

import pytest

from streams.ledger.commands.aggregate import Asked, Rejection, Told
from streams.ledger.commands.verifications import AGGREGATE, DUE, stream_of
from streams.verification.asked import id_of
from streams.verification.timing import OCCURRENCES_MAX
from tests.streams.ledger.commands.working import named

TASK, PATIENT, NURSE = "task-1", "patient-1", "nurse-1"


def asked(action="decide", *, stream=None, **given):
    data = {
        "task_id": TASK, "order_id": None, "rule_id": None, "patient_id": PATIENT,
        "outcome": "verified", "evidence_seen": None, "reason": None, "clock": None,
        "hlc_micros": None, "hlc_counter": None, "replica": None, "due_at": None,
        "window_starts_at": None, "window_ends_at": None,
        **given,
    }  # fmt: skip
    return Asked(
        command_id="c", command_type=f"verification.{action}",
        stream_id=stream or stream_of(TASK), tenant_id="ours", issued_at=1_000_000,
        issued_by=NURSE, data=data,
    )  # fmt: skip


def after(*commands):
    state = None
    for version, command in enumerate(commands, start=1):
        [event] = AGGREGATE.decide(state, command)
        told = Told(event_type=event.event_type, data=event.data, version=version, recorded_at=1)
        state = AGGREGATE.evolve(state, told)
    return state


def offline(replica, count, **given):
    return asked(
        clock={replica: count}, replica=replica, hlc_micros=1_000_000, hlc_counter=0, **given
    )


def test_a_decision_says_who_decided_what_and_seals_why():
    [event] = AGGREGATE.decide(None, asked(reason="seen", evidence_seen=2))
    assert event.event_type == "verification.decided"
    assert event.data["clock"] == {"emr": 2, "ledger": 1}
    assert (event.data["author_id"], event.data["outcome"]) == (NURSE, "verified")
    assert (event.clear, event.person_id) == ({"reason": "seen"}, PATIENT)


def test_who_is_online_knows_the_decisions_before_and_not_their_evidence():
    [event] = AGGREGATE.decide(after(asked(evidence_seen=5), offline("tablet", 1)), asked())
    assert event.data["clock"] == {"ledger": 2, "tablet": 1}


def test_who_was_offline_knows_what_their_clock_says():
    [event] = AGGREGATE.decide(after(asked()), offline("tablet", 3))
    assert event.data["clock"] == {"tablet": 3}


def test_decisions_stand_in_the_stream_that_follows_from_the_task():
    refused = AGGREGATE.decide(None, asked(stream="elsewhere"))
    assert refused.rule == "wrong_stream"
    assert stream_of(TASK) in refused.said
    assert stream_of("task-2") != stream_of(TASK)


def of_order(number, **given):
    order, rule = named("order"), named("rule")
    task = id_of(order, rule, number)
    data = {"task_id": task, "order_id": order, "rule_id": rule, "due_at": 7, **given}
    return asked(stream=stream_of(data["task_id"]), **data)


@pytest.mark.parametrize("number", [0, OCCURRENCES_MAX - 1])
def test_v11_a_task_that_an_order_makes_is_decided_on_by_order_and_rule(number):
    [event] = AGGREGATE.decide(None, of_order(number))
    assert event.data["order_id"] == named("order")
    [event] = AGGREGATE.decide(None, asked())
    assert event.data["order_id"] is None


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"rule_id": None}, "order_and_rule"),
        ({"order_id": None}, "order_and_rule"),
        ({"order_id": named("another")}, "not_of_order"),
        ({"rule_id": named("another")}, "not_of_order"),
        ({"task_id": named("another")}, "not_of_order"),
    ],
)
def test_a_task_that_the_order_does_not_make_by_the_rule_is_refused(given, rule):
    assert AGGREGATE.decide(None, of_order(0, **given)).rule == rule
    if not given.get("order_id", ""):
        return
    assert AGGREGATE.decide(None, of_order(OCCURRENCES_MAX)).rule == "not_of_order"


@pytest.mark.parametrize("name", DUE)
def test_a_decision_on_a_task_of_an_order_says_when_that_is_due(name):
    assert AGGREGATE.decide(None, of_order(2, due_at=None)).rule == "due_time"
    [event] = AGGREGATE.decide(None, of_order(2, **{"due_at": None, name: 9}))
    assert {each: event.data[each] for each in DUE} == {**dict.fromkeys(DUE), name: 9}
    assert event.data["rule_id"] == named("rule")


@pytest.mark.parametrize("name", DUE)
def test_a_task_that_a_command_created_is_its_own_whenever_it_is_due(name):
    assert AGGREGATE.decide(None, asked(**{name: 9})).rule == "due_time"


def test_what_was_decided_under_another_number_of_the_order_is_resolved_under_any():
    [event] = AGGREGATE.decide(None, replace(of_order(1), command_type="verification.resolve"))
    assert event.event_type == "verification.resolved"


def test_nothing_is_resolved_before_anyone_decided():
    assert AGGREGATE.decide(None, asked("resolve")).rule == "no_conflict"
    [event] = AGGREGATE.decide(after(asked()), asked("resolve", evidence_seen=3))
    assert event.event_type == "verification.resolved"
    assert event.data["clock"] == {"emr": 3, "ledger": 2}


def test_a_device_counts_of_others_no_more_than_has_come_and_of_the_feeds_what_it_was_shown():
    claims = offline("tablet", 1)
    others = replace(claims, data={**claims.data, "clock": {"tablet": 1, "phone": 1}})
    assert AGGREGATE.decide(None, others).rule == "clock_unseen"
    [event] = AGGREGATE.decide(after(offline("phone", 1)), others)
    assert event.data["clock"] == {"phone": 1, "tablet": 1}
    feeds = replace(claims, data={**claims.data, "clock": {"tablet": 1, "emr": 4}})
    [event] = AGGREGATE.decide(None, feeds)
    assert event.data["clock"] == {"emr": 4, "tablet": 1}


def test_a_clock_that_cannot_be_is_refused():
    for given in ({"evidence_seen": -1}, {"clock": {"tablet": 1}}, {"evidence_seen": 2**53}):
        refused = AGGREGATE.decide(None, asked(**given))
        assert isinstance(refused, Rejection)
        assert refused.rule == "clock_invalid"


def test_a_snapshot_gives_the_state_back():
    state = after(asked(), offline("tablet", 2))
    assert AGGREGATE.of_json(AGGREGATE.to_json(state)) == state
