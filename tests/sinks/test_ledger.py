"""The ledger's transaction: each message once, numbers in the order of commits, without a hole."""

import threading
import uuid

import pytest

from schemas.failpoints import FailPoint
from sinks import dead_letters, ledger
from sinks.dead_letters import DeadLetter
from sinks.ledger import Wider
from sinks.numbering import Entry
from sinks.subscriptions import Hole, Stale
from tests.sinks.inbound import (
    PARTITIONS,
    append,
    both,
    check,
    concurrent,
    entry,
    events,
    message,
    take,
)
from tests.sinks.provisioned import LINE, OURS, counts

pytestmark = pytest.mark.stack

POINTS = ["locked", "loaded", "decided", "written", "moved"]


def test_a_batch_becomes_numbered_events_messages_and_a_position(store):
    held = take(store)
    assert append(store, held, [entry(n, streams=(n % 3,)) for n in range(9)]) == 9
    check(store)
    assert len(events(store)) == 9
    stored = store.rows('SELECT * FROM messages ORDER BY "offset"')
    assert [(row["offset"], row["outcome"], row["events"]) for row in stored] == [
        (n, "applied", 1) for n in range(9)
    ]
    assert counts(store, "ledger") == {"applied": 9}


@pytest.mark.parametrize("point", POINTS)
def test_what_ends_before_the_commit_leaves_no_trace_and_is_numbered_once(store, armed, point):
    held = take(store)
    append(store, held, [entry(0)])
    armed(f"ledger: {point}=raise")
    with pytest.raises(FailPoint):
        append(store, held, [entry(1), entry(2)])
    assert len(events(store)) == 1
    armed("")
    assert append(store, held, [entry(1), entry(2)]) == 3
    check(store)
    assert counts(store, "ledger") == {"applied": 3}


def test_what_ends_after_the_commit_is_not_appended_again(store, armed):
    held = take(store)
    armed("ledger: committed=raise")
    with pytest.raises(FailPoint):
        append(store, held, [entry(0)])
    armed("")
    assert append(store, held, [entry(0)]) == 1
    assert len(events(store)) == 1


def test_a_hole_and_an_older_epoch_stop_the_ledger_too(store):
    held = take(store)
    with pytest.raises(Hole):
        append(store, held, [entry(0), entry(2)])
    assert store.subscription("ledger")["next_offset"] == 1
    take(store)
    with pytest.raises(Stale):
        append(store, held, [entry(1)])
    assert len(events(store)) == 1


def test_the_same_message_twice_in_a_batch_counts_once(store):
    held = take(store)
    append(store, held, [entry(0), entry(1, number=0), entry(2)])
    assert len(events(store)) == 2
    assert counts(store, "ledger") == {"applied": 2, "duplicate": 1}


def test_the_same_message_in_another_batch_counts_once(store):
    held = take(store)
    append(store, held, [entry(0)])
    append(store, held, [entry(1, number=0), entry(2)])
    assert len(events(store)) == 2
    assert counts(store, "ledger") == {"applied": 2, "duplicate": 1}


def test_the_same_message_by_another_partition_and_owner_counts_once(store):
    append(store, take(store, 0), [entry(0)])
    other = take(store, 1)
    append(store, other, [entry(0)])
    assert len(events(store)) == 1
    assert counts(store, "ledger", 1) == {"duplicate": 1}


def test_a_known_message_adds_nothing_though_its_mapping_has_changed(store):
    held = take(store)
    append(store, held, [entry(0)])
    append(store, held, [entry(1, number=0, streams=(0, 1, 2))])
    assert len(events(store)) == 1


def test_dead_and_ignored_messages_are_recorded(store):
    held = take(store)
    dead = message(0, outcome="dead", reason="no_patient")
    letter = DeadLetter(
        offset=0, key=b"key", value=b"value", stage="map", cause="no_patient",
        reason="there is no PID",
        tenant_id=uuid.UUID(OURS), message_id=uuid.UUID(dead["message_id"]),
    )  # fmt: skip
    nothing = DeadLetter(
        offset=2, key=None, value=b"x", stage="decode", cause="undecodable", reason="r"
    )
    batch = [
        Entry(offset=0, message=dead, letter=letter),
        Entry(offset=1, message=message(1, outcome="ignored", reason="acknowledgement")),
        Entry(offset=2, letter=nothing),
    ]
    assert append(store, held, batch) == 3
    stored = store.rows('SELECT outcome, reason FROM messages ORDER BY "offset"')
    assert [tuple(row.values()) for row in stored] == [
        ("dead", "no_patient"), ("ignored", "acknowledgement"),
    ]  # fmt: skip
    assert len(store.rows("SELECT FROM dead_letters")) == 2
    assert counts(store, "ledger") == {"dead": 2, "ignored": 1}


@pytest.mark.parametrize("size", [1, 2, 64])
def test_a_message_that_the_database_refuses_is_found_and_kept_whole(store, size):
    held = take(store)
    at = size // 2
    batch = [entry(n, streams=(n % 5,)) for n in range(size)]
    batch[at] = entry(at, streams=(at % 5,), data={"text": "a\0b"})
    assert append(store, held, batch) == size
    check(store)
    assert len(events(store)) == size - 1
    [letter] = store.rows("SELECT * FROM dead_letters")
    assert (letter["cause"], letter["offset"]) == ("refused", at)
    opened = dead_letters.open_record(letter["id"], letter["record_sealed"], LINE)
    assert opened == (b"key", b"value")
    [kept] = store.rows("SELECT outcome FROM messages WHERE outcome <> 'applied'")
    assert kept["outcome"] == "dead"
    assert counts(store, "ledger").get("dead") == 1


def test_a_stream_stays_in_its_home_whichever_way_its_messages_come(store):
    append(store, take(store, 2), [entry(0, streams=(7,))])
    append(store, take(store, 1), [entry(0, number=10, streams=(7, 8))])
    append(store, take(store, 3), [entry(0, number=20, streams=(8,))])
    assert {row["partition"] for row in events(store)} == {2}, "the new stream joined the known"
    check(store)


def test_a_home_found_only_after_locking_makes_the_lock_set_wider(store, monkeypatch):
    append(store, take(store, 2), [entry(0, streams=(7,))])
    asked = []
    real_homes, real_lock = ledger._homes, ledger._lock_partitions

    def homes(connection, entries, inbound):
        """As if the stream had been made by another one right after we looked."""
        found = real_homes(connection, entries, inbound)
        return found if asked else dict.fromkeys(found, inbound)

    def lock(connection, topic, wanted):
        asked.append(wanted)
        return real_lock(connection, topic, wanted)

    monkeypatch.setattr(ledger, "_lock_partitions", lock)
    monkeypatch.setattr(ledger, "_homes", homes)
    append(store, take(store, 3), [entry(0, number=5, streams=(7,))])
    assert asked == [[3], [2]] or asked == [[3], [2, 3]]
    check(store)
    assert [row["partition"] for row in events(store)] == [2, 2]


def test_a_lock_set_that_never_suffices_ends_with_every_partition(store, monkeypatch):
    append(store, take(store, 2), [entry(0, streams=(7,))])
    asked = []
    real = ledger._lock_partitions

    def lock(connection, topic, wanted):
        asked.append(wanted)
        return real(connection, topic, wanted and [1])

    monkeypatch.setattr(ledger, "_lock_partitions", lock)
    append(store, take(store, 3), [entry(0, number=5, streams=(7,))])
    assert asked[-1] is None
    assert len(asked) == ledger.WIDENINGS_MAX + 2
    check(store)


def test_wider_names_the_partitions_that_are_missing():
    assert str(Wider(frozenset({3, 1}))) == "partitions to lock: [1, 3]"


def test_locks_that_do_not_rise_are_our_own_mistake(store, monkeypatch):
    append(store, take(store, 2), [entry(0, streams=(7,))])
    append(store, take(store, 1), [entry(0, number=1, streams=(8,))])
    falling = ledger._PARTITIONS.replace("ORDER BY partition", "ORDER BY partition DESC")
    monkeypatch.setattr(ledger, "_PARTITIONS", falling)
    with pytest.raises(AssertionError, match="locks only rise"):
        append(store, take(store, 3), [entry(0, number=5, streams=(7, 8))])


def test_an_output_partition_without_its_row_is_our_own_mistake(store):
    held = take(store, 3)
    store.run("DELETE FROM partitions")
    with pytest.raises(AssertionError, match="every output partition has its row"):
        append(store, held, [entry(0)])


def test_known_time_rises_though_the_clock_goes_back(store):
    held = take(store)
    append(store, held, [entry(0)])
    store.run("UPDATE streams SET recorded_at = recorded_at + interval '1 hour'")
    store.run("UPDATE events SET recorded_at = recorded_at + interval '1 hour'")
    append(store, held, [entry(1), entry(2)])
    check(store)


def racing(store, monkeypatch, first, second):
    """Two appends that both have looked for their streams before either of them writes."""
    barrier = threading.Barrier(2)
    met = threading.local()
    real = ledger._states

    def states(connection, homes):
        found = real(connection, homes)
        if not getattr(met, "yes", False):
            met.yes = True
            barrier.wait(10)
        return found

    monkeypatch.setattr(ledger, "_states", states)
    both(first, second)


def test_two_messages_that_make_the_same_stream_at_once_are_both_applied(store, monkeypatch):
    one, two = take(store, 0), take(store, 1)
    racing(
        store, monkeypatch,
        lambda: append(store, one, [entry(0, number=0, streams=(7,))]),
        lambda: append(store, two, [entry(0, number=1, streams=(7,))]),
    )  # fmt: skip
    check(store)
    assert len(events(store)) == 2
    assert store.rows("SELECT FROM dead_letters") == []


def test_the_same_message_by_two_partitions_at_once_is_applied_once(store, monkeypatch):
    one, two = take(store, 0), take(store, 1)
    racing(
        store, monkeypatch,
        lambda: append(store, one, [entry(0, number=0, streams=(7,))]),
        lambda: append(store, two, [entry(0, number=0, streams=(7,))]),
    )  # fmt: skip
    check(store)
    assert len(events(store)) == 1
    assert store.rows("SELECT FROM dead_letters") == []
    both_counts = [counts(store, "ledger", 0), counts(store, "ledger", 1)]
    assert sorted(both_counts, key=str) == [{"applied": 1}, {"duplicate": 1}]


def test_numbers_follow_commits_from_many_threads_and_a_reader_never_sees_a_hole(store):
    assert concurrent(store) == []
    check(store)
    assert len(store.rows("SELECT FROM messages WHERE outcome = 'applied'")) == 4 * 320
    assert store.rows("SELECT FROM dead_letters") == []
    for partition in range(PARTITIONS):
        assert counts(store, "ledger", partition) == {"applied": 320}
