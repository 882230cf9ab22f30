"""Commands in the ledger's transaction: decided once, in order, on what was before them."""

import uuid

import pytest

from schemas.failpoints import FailPoint
from sinks.asked import Rejected
from sinks.subscriptions import Stale
from tests.sinks.asking import (
    LIMIT,
    ask,
    asked,
    command_id,
    evolve,
    folding,
    outcomes,
    reach,
    results,
)
from tests.sinks.inbound import append, check, entry, events, take
from tests.sinks.provisioned import THEIRS, counts, stream_id

pytestmark = pytest.mark.stack


def state_of(store, stream=0):
    """A stream's state by a fold from nothing."""
    state = None
    for row in store.rows(
        "SELECT * FROM events WHERE stream_id = %s ORDER BY event_version", stream_id(stream)
    ):
        state = evolve(state, row)
    return state


class Seen:
    """Decides nothing but remembers the states that it was asked on."""

    def __init__(self):
        self.states = []

    def __call__(self, state):
        self.states.append(state)
        return []


def test_a_command_becomes_events_a_result_a_message_and_a_position(store):
    held = reach(store)
    assert ask(store, held, asked(1, creates=True, amounts=(2, 3))) == 1
    check(store)
    assert [row["event_type"] for row in events(store)] == ["counter.added"] * 2
    [row] = results(store)
    last = events(store)[-1]
    assert (row["outcome"], row["rule"], row["version"], row["events"]) == ("accepted", None, 2, 2)
    assert (row["event_partition"], row["event_seq"]) == (last["partition"], last["partition_seq"])
    assert (row["partition"], row["partition_seq"]) == (0, 1)
    [message] = store.rows("SELECT * FROM messages")
    assert (message["outcome"], message["reason"], message["events"]) == ("applied", None, 2)
    assert counts(store, "ledger") == {"applied": 1}


def test_commands_of_a_batch_are_decided_each_on_what_those_before_it_left(store):
    held, seen = reach(store), Seen()
    ask(
        store, held, asked(1, creates=True, amounts=(2,)), asked(2, amounts=(3, 4)),
        asked(3, decide=seen), asked(4, expected_version=3),
    )  # fmt: skip
    assert [state["total"] for state in seen.states] == [9]
    assert outcomes(store) == ["accepted"] * 4
    assert seen.states[0]["at"] < state_of(store)["at"]
    told_at = store.rows("SELECT recorded_at FROM events WHERE event_version = 3")
    assert seen.states == [evolve({"total": 5}, {**told_at[0], "event_version": 3,
                                                 "data": {"amount": 4}})]  # fmt: skip
    check(store)


@pytest.mark.parametrize("apart", [False, True])
def test_the_same_command_twice_adds_nothing_and_keeps_its_result(store, apart):
    held = reach(store)
    first, again = asked(1, creates=True), asked(1, creates=True, amounts=(7,))
    if apart:
        ask(store, held, first)
        ask(store, held, again)
    else:
        ask(store, held, first, again)
    assert [row["data"]["amount"] for row in events(store)] == [1]
    [row] = results(store)
    assert (row["outcome"], row["partition_seq"]) == ("accepted", 1)
    assert counts(store, "ledger") == {"applied": 1, "duplicate": 1}


def test_a_rejected_command_stays_rejected_when_it_comes_again(store):
    held = reach(store)
    ask(store, held, asked(1))
    ask(store, held, asked(2, creates=True), asked(1))
    assert outcomes(store) == ["not_found", "accepted"]
    assert counts(store, "ledger") == {"applied": 1, "ignored": 1, "duplicate": 1}


def test_a_rejection_is_ignored_by_its_rule_and_says_where_the_stream_stands(store):
    held = reach(store)
    ask(store, held, asked(1, creates=True, amounts=(LIMIT,)))
    ask(store, held, asked(2))
    row = results(store)[1]
    assert (row["outcome"], row["rule"], row["version"]) == ("rejected", "full", 1)
    assert (row["events"], row["event_partition"], row["event_seq"]) == (0, None, None)
    [_, message] = store.rows('SELECT * FROM messages ORDER BY "offset"')
    assert (message["outcome"], message["reason"], message["events"]) == ("ignored", "full", 0)
    assert counts(store, "ledger") == {"applied": 1, "ignored": 1}


def test_another_version_than_expected_is_a_conflict_that_tells_the_present_one(store):
    held = reach(store)
    ask(store, held, asked(1, creates=True, expected_version=0, amounts=(1, 1)))
    ask(
        store, held, asked(2, expected_version=1), asked(3, expected_version=2),
        asked(4, expected_version=2), asked(5, expected_version=0),
    )  # fmt: skip
    assert outcomes(store) == ["accepted", "conflict", "accepted", "conflict", "conflict"]
    assert [row["version"] for row in results(store)] == [2, 2, 3, 3, 3]
    assert "version: 3" in results(store)[3]["said"]


def test_a_stream_is_created_once_and_nothing_is_asked_of_one_that_is_not_there(store):
    held = reach(store)
    ask(
        store, held, asked(1), asked(2, creates=True), asked(3, creates=True), asked(4, stream=1)
    )  # fmt: skip
    assert outcomes(store) == ["not_found", "accepted", "exists", "not_found"]
    assert len(events(store)) == 1


@pytest.mark.parametrize("together", [False, True])
def test_another_tenants_stream_is_as_good_as_none(store, together):
    held = reach(store)
    mine, theirs = asked(1, creates=True), asked(2, tenant=THEIRS)
    also = asked(3, creates=True, tenant=THEIRS)
    for batch in [(mine, theirs, also)] if together else [(mine,), (theirs,), (also,)]:
        ask(store, held, *batch)
    assert outcomes(store) == ["accepted", "not_found", "exists"]
    assert [row["version"] for row in results(store)] == [1, 0, 0]
    assert len(events(store)) == 1
    assert store.rows("SELECT * FROM dead_letters") == []


def test_a_stream_of_another_type_is_as_good_as_none(store):
    held = reach(store)
    ask(store, held, asked(1, creates=True))
    ask(store, held, asked(2, stream_type="else"), asked(3, stream_type="else", creates=True))
    assert outcomes(store) == ["accepted", "not_found", "exists"]
    assert len(events(store)) == 1


def test_what_a_command_names_must_stand_be_of_its_type_and_the_tenants_own(store):
    held = reach(store)
    theirs = asked(2, stream=8, creates=True, tenant=THEIRS)
    ask(store, held, asked(1, stream=7, creates=True), theirs)

    def naming(number, stream_type, stream):
        named = [("of_id", stream_type, stream_id(stream))]
        return asked(number, stream=number, creates=True, references=named)

    ask(
        store, held, naming(11, "counter", 7), naming(12, "counter", 9), naming(13, "else", 7),
        naming(14, "counter", 8), asked(15, stream=9, creates=True), naming(16, "counter", 9),
    )  # fmt: skip
    unknown = "unknown_reference: of_id"
    assert outcomes(store)[2:] == ["accepted", unknown, unknown, unknown, "accepted", "accepted"]


def test_a_new_stream_stands_where_the_person_it_names_stands(store):
    append(store, take(store, 2), [entry(0, streams=(5,))])
    held = reach(store, 1)
    names = [("patient_id", "patient", stream_id(5))]
    near = (stream_id(5),)
    ask(
        store, held, asked(1, stream=6, creates=True, references=names, near=near),
        asked(2, stream=7, creates=True),
    )  # fmt: skip
    homes = {row["stream_id"]: row["partition"] for row in store.rows("SELECT * FROM streams")}
    assert [homes[uuid.UUID(stream_id(n))] for n in (5, 6, 7)] == [2, 2, 1]
    assert results(store)[0]["event_partition"] == 2
    check(store)


def test_a_decision_that_raises_is_that_commands_dead_letter_and_no_others(store):
    held = reach(store)

    def fails(_):
        raise ZeroDivisionError("CANARY")

    ask(store, held, asked(1, creates=True), asked(2, decide=fails), asked(3))
    assert outcomes(store) == ["accepted", "decide_failed", "accepted"]
    [letter] = store.rows("SELECT * FROM dead_letters")
    assert (letter["stage"], letter["cause"], letter["offset"]) == ("decide", "decide_failed", 1)
    assert letter["reason"] == "decide raised: ZeroDivisionError"
    assert str(letter["message_id"]) == command_id(2)
    assert counts(store, "ledger") == {"applied": 2, "dead": 1}
    check(store)


def test_a_stream_that_cannot_be_folded_fails_its_own_commands_and_no_others(store):
    held = reach(store)
    ask(store, held, asked(1, creates=True), asked(2, stream=1, creates=True))
    store.run(
        "UPDATE events SET data = '{\"unreadable\": true}' WHERE stream_id = %s", stream_id(0)
    )
    ask(store, held, asked(3), asked(4, stream=1), asked(5))
    assert outcomes(store) == ["accepted"] * 2 + ["decide_failed", "accepted", "decide_failed"]
    assert counts(store, "ledger") == {"applied": 3, "dead": 2}


def test_an_event_that_cannot_be_folded_leaves_the_state_before_it(store):
    held, seen = reach(store), Seen()

    def torn(_):
        return [{**each, "data": {"unreadable": True}} for each in asked(2).decide(None)]

    ask(store, held, asked(1, creates=True), asked(2, decide=torn), asked(3, decide=seen))
    assert [state["total"] for state in seen.states] == [1]
    assert counts(store, "ledger") == {"applied": 2, "dead": 1}


def test_a_refused_row_is_one_commands_dead_letter(store):
    held = reach(store)

    def nul(_):
        return [{**each, "occurred_text": "\0"} for each in asked(2).decide(None)]

    ask(store, held, asked(1, creates=True), asked(2, decide=nul), asked(3))
    assert outcomes(store) == ["accepted", "refused", "accepted"]
    assert counts(store, "ledger") == {"applied": 2, "dead": 1}
    check(store)


def test_a_dead_command_has_a_result_that_says_that_it_failed_and_why(store):
    held = reach(store)

    def fails(_):
        raise ZeroDivisionError("CANARY")

    ask(store, held, asked(1, creates=True), asked(2, decide=fails))
    row = results(store)[1]
    assert (row["outcome"], row["rule"], row["version"]) == ("failed", "decide_failed", 0)
    assert row["said"] == "it became a dead letter: decide raised: ZeroDivisionError"
    assert (row["events"], row["event_partition"], row["event_seq"]) == (0, None, None)
    ask(store, held, asked(2))
    assert results(store)[1] == row, "it is known, and not decided again"
    assert counts(store, "ledger") == {"applied": 1, "dead": 1, "duplicate": 1}


def test_what_becomes_of_a_dead_command_when_it_is_retried_replaces_its_failure(store):
    held = reach(store)

    def fails(_):
        raise ZeroDivisionError("CANARY")

    ask(store, held, asked(1, creates=True), asked(2, decide=fails))
    store.run("DELETE FROM messages WHERE outcome = 'dead'")  # as whoever retries it
    ask(store, held, asked(2))
    assert outcomes(store) == ["accepted", "accepted"]
    assert results(store)[1]["version"] == 2


def told_of(store, stream, department):
    """Have a stream of the counters belong to a department."""
    store.run(
        "UPDATE events SET data = data || jsonb_build_object('department_id', %s::text)"
        " WHERE stream_id = %s AND event_version = 1", department, stream_id(stream),
    )  # fmt: skip


def are_departments(store, *streams):
    store.run(
        "UPDATE streams SET stream_type = 'department' WHERE stream_id = ANY(%s::uuid[])",
        list(streams),
    )


def test_who_may_ask_in_some_departments_asks_of_their_streams_alone(store):
    held, ward, icu = reach(store), stream_id(7), stream_id(8)
    of_ward = {"departments": frozenset({ward})}
    ask(store, held, asked(1, creates=True), asked(2, stream=1, creates=True),
        asked(3, stream=7, stream_type="department", creates=True),
        asked(4, stream=8, stream_type="department", creates=True))  # fmt: skip
    are_departments(store, ward, icu)
    told_of(store, 0, ward)
    told_of(store, 1, icu)
    ask(
        store, held,
        asked(10, owner=stream_id(0), **of_ward),
        asked(11, stream=1, owner=stream_id(1), **of_ward),
        asked(12, stream=1, owner=stream_id(1), departments=frozenset({ward, icu})),
        asked(13, stream=1, owner=stream_id(1), departments=frozenset()),
        asked(14, owner=None, **of_ward),
        asked(15, stream=2, owner=ward, creates=True, references=[("d", "department", ward)],
              **of_ward),
        asked(16, stream=3, owner=icu, creates=True, references=[("d", "department", icu)],
              **of_ward),
        asked(17, stream=9, owner=stream_id(9), **of_ward),
        asked(18, stream=1, owner=stream_id(1), expected_version=9, **of_ward),
        asked(19, owner=None),
    )  # fmt: skip
    no = "not_permitted"
    assert outcomes(store)[4:] == [
        "accepted", no, "accepted", no, no, "accepted", no, no, no, "accepted",
    ]  # fmt: skip


@pytest.mark.parametrize("together", [False, True])
def test_a_stream_belongs_to_the_department_of_its_first_event_from_the_start(store, together):
    held, ward = reach(store), stream_id(7)
    of_ward = {"owner": stream_id(0), "departments": frozenset({ward})}

    def founds(department):
        def decide(_):
            return [
                {**each, "data": {**each["data"], "department_id": department}}
                for each in asked(1).decide(None)
            ]

        return decide

    first = asked(1, creates=True, decide=founds(ward))
    moves = asked(2, decide=lambda _: [
        {**each, "event_id": command_id(99), "message_id": command_id(2),
         "data": {"amount": 1, "department_id": stream_id(8)}} for each in asked(2).decide(None)
    ])  # fmt: skip
    batches = [(first, moves, asked(3, **of_ward))]
    for batch in batches if together else [(each,) for each in batches[0]]:
        ask(store, held, *batch)
    assert outcomes(store) == ["accepted"] * 3


def test_a_department_of_another_tenant_permits_nothing(store):
    held, ward = reach(store), stream_id(7)
    ask(store, held, asked(1, creates=True),
        asked(2, stream=7, stream_type="department", creates=True, tenant=THEIRS))  # fmt: skip
    are_departments(store, ward)
    ask(store, held, asked(3, owner=ward, departments=frozenset({ward})))
    assert outcomes(store)[2:] == ["not_permitted"]


def test_a_command_may_be_accepted_and_change_nothing(store):
    held = reach(store)
    ask(store, held, asked(1, creates=True), asked(2, amounts=()), asked(3, expected_version=1))
    assert outcomes(store) == ["accepted"] * 3
    assert [row["events"] for row in results(store)] == [1, 0, 1]


@pytest.mark.parametrize("point", ["loaded", "deciding", "decided", "written", "moved"])
def test_what_ends_before_the_commit_leaves_no_trace_and_is_decided_once(store, armed, point):
    held = reach(store)
    ask(store, held, asked(1, creates=True))
    armed(f"ledger: {point}=raise")
    with pytest.raises(FailPoint):
        ask(store, held, asked(2), asked(3))
    assert (len(events(store)), len(results(store))) == (1, 1)
    armed("")
    ask(store, held, asked(2), asked(3))
    check(store)
    assert outcomes(store) == ["accepted"] * 3


def test_what_ends_after_the_commit_is_not_decided_again(store, armed):
    held = reach(store)
    armed("ledger: committed=raise")
    with pytest.raises(FailPoint):
        ask(store, held, asked(1, creates=True), asked(2))
    armed("")
    assert ask(store, held, asked(1, creates=True), asked(2), offset=0) == 2
    assert (len(events(store)), len(results(store))) == (2, 2)


def test_an_owner_that_was_overtaken_decides_nothing(store):
    held = reach(store)
    reach(store)
    with pytest.raises(Stale):
        ask(store, held, asked(1, creates=True))
    assert results(store) == []


def test_snapshots_stand_at_every_hundredth_version_and_change_no_decision(store):
    held = reach(store)
    ask(store, held, asked(1, creates=True))
    for first in range(2, 251, 50):
        ask(store, held, *(asked(n, amounts=(n,)) for n in range(first, min(first + 50, 251))))
    kept = store.rows("SELECT * FROM snapshots ORDER BY version")
    assert [row["version"] for row in kept] == [100, 200]
    assert kept[0]["state"]["state"]["total"] == 1 + sum(range(2, 101))
    plain, seen = state_of(store), Seen()
    assert plain["version"] == 250
    ask(store, held, asked(1001, decide=seen))
    store.run("DELETE FROM snapshots WHERE version = 200")
    ask(store, held, asked(1002, decide=seen))
    store.run("DELETE FROM snapshots")
    ask(store, held, asked(1003, decide=seen))
    assert seen.states == [plain] * 3


def test_a_command_that_passes_a_hundredth_version_leaves_its_snapshot_there(store):
    held = reach(store)
    ask(store, held, asked(1, creates=True, amounts=range(250)))
    kept = store.rows("SELECT * FROM snapshots ORDER BY version")
    assert [(row["version"], row["state"]["state"]["total"]) for row in kept] == [
        (100, sum(range(100))), (200, sum(range(200))),
    ]  # fmt: skip


def test_a_snapshot_is_really_used(store):
    held, seen = reach(store), Seen()
    ask(store, held, asked(1, creates=True, amounts=(1,) * 150))
    store.run("UPDATE snapshots SET state = jsonb_set(state, '{state,total}', '1000')")
    ask(store, held, asked(2, decide=seen))
    assert [state["total"] for state in seen.states] == [1050]


def test_a_snapshot_of_another_shape_or_that_cannot_be_read_is_passed_over(store):
    held, seen = reach(store), Seen()
    ask(store, held, asked(1, creates=True, amounts=(1,) * 150))
    store.run("UPDATE snapshots SET state = jsonb_set(state, '{state,total}', '1000')")
    newer = folding(state_version=2)

    def unreadable(*_):
        raise ValueError("CANARY")

    ask(store, held, asked(2, decide=seen, folding=newer))
    ask(store, held, asked(3, decide=seen, folding=folding(thaw=unreadable)))
    assert seen.states == [state_of(store)] * 2


def test_a_stream_folded_from_afar_gets_a_snapshot_at_once(store):
    held = reach(store)
    ask(store, held, asked(1, creates=True, amounts=(1,) * 150))
    newer = folding(state_version=2)
    ask(store, held, asked(2, decide=Seen(), folding=newer))
    assert len(store.rows("SELECT * FROM snapshots")) == 1, "nothing was decided"
    ask(store, held, *(asked(n, folding=newer) for n in (3, 4)))
    kept = store.rows("SELECT version, state FROM snapshots ORDER BY version")
    assert [(row["version"], row["state"]["state_version"]) for row in kept] == [(100, 1), (151, 2)]
    assert kept[1]["state"]["state"]["total"] == 151
    ask(store, held, *(asked(n, folding=newer) for n in (5, 6)))
    assert len(store.rows("SELECT * FROM snapshots")) == 2


def test_what_a_rejection_says_fits_its_row_or_is_a_dead_letter(store):
    held = reach(store)
    ask(store, held, asked(1, creates=True, decide=lambda _: Rejected(rule="r\0", said="s")))
    assert counts(store, "ledger") == {"dead": 1}
