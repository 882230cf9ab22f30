"""Parking in the ledger: what follows a dead message of a patient waits, and nothing else."""

import random
import uuid
from collections import defaultdict
from dataclasses import replace

import pytest

from sinks import breaker, parking
from streams import ports
from streams.ledger import touching
from streams.ledger.families import family
from tests.sinks.inbound import check
from tests.sinks.provisioned import made as store_made
from tests.streams.ledger.parked import Bench, play, story
from tests.streams.ledger.told import (
    FEEDS,
    OTHER,
    TENANT,
    adt,
    merge,
)

pytestmark = pytest.mark.stack


def test_those_behind_a_dead_message_of_their_patient_wait_while_others_pass(bench):
    one, other = story("A"), story("B")
    bench.bad = {one[1][1]}
    bench.of_one(*one[:3], *other[:2])
    bench.of_one(*one[3:], *other[2:])
    assert bench.states() == {1: "dead", 2: "parked", 5: "parked"}
    assert bench.outcomes()[2] == bench.outcomes()[5] == "parked"
    assert bench.counted() == {"applied": 5, "dead": 1, "parked": 2}
    letters = bench.store.rows("SELECT cause, family FROM dead_letters WHERE state = 'parked'")
    assert {(each["cause"], each["family"]) for each in letters} == {("behind", "adt")}
    check(bench.store)


def test_a_mended_mapper_and_a_retry_let_the_dead_one_and_all_behind_it_in_in_order(
    bench, stack, monkeypatch
):
    told = [*story("A"), *story("B")]
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    assert bench.retry() == ("failed", 0)
    bench.bad.clear()
    assert bench.retry() == ("done", 4)
    bench.nothing_waits()
    assert bench.counted() == {"applied": 8}
    with store_made(stack) as store:
        clean = Bench.of(store, monkeypatch)
        clean.of_one(*told)
        assert bench.everything() == clean.everything()


def test_another_family_another_patient_another_feed_and_nobody_pass(bench):
    dead, *later = story("A")
    bench.bad = {dead[1]}
    bench.of_one(dead)
    bench.of_one(later[0], kind="ORU^R01")
    bench.of_one(later[1], tenant=OTHER)
    bench.of_one(*story("B"))
    bench.feed(bench.record(adt("A01", "", visit="")))
    assert bench.states() == {0: "dead"}
    assert bench.counted() == {"dead": 1, "applied": 6, "ignored": 1}
    bench.of_one(later[2], kind="ADT^A03")
    assert bench.states() == {0: "dead", 8: "parked"}


def test_a_patient_named_by_another_number_waits_too(bench):
    bench.of_one(("A", adt("A01", "A~X", visit="V1")))
    bad = adt("A02", "A", visit="V1", minute=1)
    bench.bad = {bad}
    bench.of_one(("A", bad), ("X", adt("A02", "X", visit="", minute=2)))
    assert bench.states() == {1: "dead", 2: "parked"}


def test_a_visit_holds_up_what_names_it_where_the_numbers_differ(bench):
    bad = adt("A01", "A", visit="V1")
    bench.bad = {bad}
    bench.of_one(("A", bad), ("B", adt("A02", "B", visit="V1", minute=1)))
    assert bench.states() == {0: "dead", 1: "parked"}


def test_what_cannot_be_read_at_all_parks_by_its_records_key(bench):
    bench.feed(bench.record(b"no message", mrn="A"))
    bench.of_one(*story("A")[:1])
    assert bench.states() == {0: "dead", 1: "parked"}
    bench.ask("discard")
    bench.round()
    assert bench.ended() == [("done", 1)]
    assert bench.states() == {0: "discarded", 1: "retried"}
    assert bench.counted() == {"dead": 1, "applied": 1}


def test_what_names_nobody_or_is_of_no_feed_parks_nobody(bench):
    torn = b"no message"
    bench.feed(bench.record(torn), bench.record(torn))
    bench.store.run("UPDATE feeds SET id = %s WHERE id = %s", uuid.UUID(int=9), FEEDS[TENANT])
    bench.of_one(*story("A"))
    assert set(bench.states().values()) == {"dead"}
    assert bench.store.rows("SELECT FROM parked_records") == []


def test_what_waits_makes_nobody_known(bench):
    bad = adt("A01", "A~X", visit="V1")
    bench.bad = {bad}
    bench.of_one(("A", bad), ("X", adt("A02", "X", visit="V1", minute=1)))
    assert bench.store.rows("SELECT FROM patient_identifiers") == []
    bench.bad.clear()
    bench.retry()
    assert bench.patient("A") == bench.patient("X")


def test_a_merge_that_waits_holds_up_both_of_whom_it_tells(bench, stack, monkeypatch):
    """By the A40 alone the ledger knows that the number N is the target's."""
    told = [
        ("T", adt("A01", "T", visit="VT")),
        ("S", adt("A01", "S", visit="VS", minute=1)),
        ("T", merge("T~N", "S", minute=2)),
        ("N", adt("A08", "N", visit="", minute=3)),
        ("S", adt("A03", "S", visit="VS", minute=4)),
    ]
    bench.bad = {told[1][1]}
    bench.of_one(*told[:3])
    bench.of_one(*told[3:])
    assert bench.states() == {1: "dead", 2: "parked", 3: "parked", 4: "parked"}
    bench.bad.clear()
    assert bench.retry() == ("done", 4)
    assert bench.patient("N") == bench.patient("T") == bench.survivor("S")
    with store_made(stack) as store:
        clean = Bench.of(store, monkeypatch)
        clean.of_one(*told)
        assert bench.everything() == clean.everything()


def test_a_merge_that_would_hold_up_its_source_alone_is_seen(bench, monkeypatch):
    """Seeded bug: what waits parks only what was parked before it."""
    real = touching.waiting

    def narrow(batch, touched, stuck, passed):
        parked, letters = set(stuck), {}
        for at, letter in real(batch, touched, stuck, passed).items():
            if letter.state == "parked":
                letter = replace(letter, keys=tuple(parked & set(letter.keys)))
            if letter.keys:
                letters[at] = letter
                parked |= set(letter.keys)
        return letters

    monkeypatch.setattr(touching, "waiting", narrow)
    bad = adt("A01", "S", visit="VS", minute=1)
    bench.of_one(("T", adt("A01", "T", visit="VT")))
    bench.bad = {bad}
    bench.of_one(("S", bad))
    bench.of_one(("T", merge("T~N", "S", minute=2)))
    bench.of_one(("N", adt("A08", "N", visit="", minute=3)))
    bench.bad.clear()
    bench.retry()
    assert bench.patient("N") != bench.patient("T"), "another patient, who is found in conflict"


@pytest.mark.parametrize("seed", range(4))
def test_random_failures_mended_and_retried_give_the_rows_of_a_run_without(
    stack, store, monkeypatch, seed
):
    bench = Bench.of(store, monkeypatch)
    told, kept = play(bench, seed)
    assert kept > 2, "something failed, and something waited"
    bench.nothing_waits()
    assert bench.counted() == {"applied": len(told)}
    with store_made(stack) as other:
        clean = Bench.of(other, monkeypatch)
        clean.of_one(*told)
        assert bench.everything() == clean.everything()


def in_families(bench, kinds):
    """Each stream's events in order, by the family of the message that told them."""
    told = defaultdict(list)
    for stream, rows in bench.streams().items():
        for row in rows:
            told[stream, family(kinds[row[3].int - 0x90000])].append(row)
    return dict(told)


def test_each_family_of_a_patient_keeps_its_own_order_and_waits_for_no_other(
    stack, store, monkeypatch
):
    rng = random.Random("families")
    told = [
        (number, adt("A02", number, visit=f"V{number}", minute=minute, bed=f"W{minute}^R^B"))
        for minute in range(50)
        for number in (rng.choice("ABC"),)
    ]
    kinds = [rng.choice(("ADT^A02", "ORU^R01", "ORM^O01")) for _ in told]
    given = list(zip(told, kinds, strict=True))

    def played(bench, bad):
        bench.bad = bad
        for start in range(0, len(given), 10):
            bench.feed(
                *(
                    bench.record(body, mrn=number, kind=kind)
                    for (number, body), kind in given[start : start + 10]
                )
            )
        kept = len(bench.states())
        bench.bad = set()
        for _ in range(len(told)):
            if bench.retry() is None:
                break
        bench.nothing_waits()
        return kept

    bench = Bench.of(store, monkeypatch)
    kept = played(bench, {body for _, body in told[:40:8]})
    assert 5 < kept < len(told) - 5, "some waited, and not all"
    with store_made(stack) as other:
        clean = Bench.of(other, monkeypatch)
        assert played(clean, set()) == 0
        assert in_families(bench, kinds) == in_families(clean, kinds)


def test_a_follower_that_overtakes_is_seen(bench, stack, monkeypatch):
    """Seeded bug: batches don't look at what is parked before them."""
    told = story("A")
    bench.bad = {told[1][1]}
    bench.of_one(*told[:2])
    monkeypatch.setattr(parking, "blocked", lambda *_: frozenset())
    bench.of_one(*told[2:])
    monkeypatch.undo()
    bench.retry()
    with store_made(stack) as store:
        clean = Bench.of(store, monkeypatch)
        clean.of_one(*told)
        assert bench.everything() != clean.everything()


def test_a_resend_of_a_dead_message_and_of_one_that_waits_are_duplicates_and_wait_for_nobody(
    bench,
):
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told[:2])
    bench.feed(*(bench.record(body, mrn="A", again=n) for n, (_, body) in enumerate(told[:2])))
    assert bench.states() == {0: "dead", 1: "parked"}
    assert bench.counted() == {"dead": 1, "parked": 1, "duplicate": 2}
    bench.bad.clear()
    assert bench.retry() == ("done", 2)
    rows = bench.store.rows('SELECT duplicates FROM messages ORDER BY "offset"')
    assert [row["duplicates"] for row in rows] == [1, 1]
    assert bench.counted() == {"applied": 2, "duplicate": 2}


def test_one_that_waits_and_was_released_meanwhile_is_looked_at_again(bench, monkeypatch):
    """The look before the transaction is overtaken by a release of another thread."""
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told[:2])
    bench.bad.clear()
    real, looks = touching.waiting, []

    def overtaken(*given):
        looks.append(given)
        found = real(*given)
        if len(looks) == 1:
            bench.retry()
        return found

    monkeypatch.setattr(touching, "waiting", overtaken)
    bench.of_one(*told[2:])
    bench.nothing_waits()
    assert bench.counted() == {"applied": 4}


def test_a_partition_with_so_many_dead_messages_of_a_feed_stops_and_goes_on_when_they_are_gone(
    bench, monkeypatch, caplog
):
    monkeypatch.setattr(breaker, "DEAD_MAX", 3)
    told = [one for number in "ABCDE" for one in story(number)]
    bench.bad = {body for number, body in told if b"A01" in body}
    batch = [bench.record(body, mrn=number) for number, body in told]
    with pytest.raises(ports.Transient, match="dead messages of one feed"):
        bench.feed(*batch)
    assert sorted(bench.states().values()).count("dead") == 3
    assert bench.store.subscription("ledger")["next_offset"] == 12
    assert "dead-letters list" in caplog.text
    row = bench.store.subscription("ledger")
    assert (row["stopped"], row["stopped_said"] in caplog.text) == ("breaker", True)
    with pytest.raises(ports.Transient):
        bench.feed(*batch)
    bench.ask("discard")
    bench.round()
    bench.bad.clear()
    assert bench.feed(*batch) == 20
    assert bench.counted() == {"applied": 17, "dead": 3}
    assert bench.store.subscription("ledger")["stopped"] is None


def test_dead_messages_that_lie_far_back_do_not_count(bench, monkeypatch):
    monkeypatch.setattr(breaker, "DEAD_MAX", 1)
    monkeypatch.setattr(breaker, "RECORDS", 4)
    told = [*story("A")[:1], *story("B"), *story("C")[:1]]
    bench.bad = {told[0][1], told[-1][1]}
    assert bench.of_one(*told) == 6
    assert sorted(bench.states()) == [0, 5]


def test_so_many_keys_stop_the_ledgers_partition_and_park_no_more(bench, monkeypatch):
    monkeypatch.setattr(breaker, "KEYS_MAX", 4)
    told = [story(number)[0] for number in "ABC"]
    bench.bad = {body for _, body in told}
    with pytest.raises(ports.Transient, match="rather than park"):
        bench.of_one(*told)
    assert set(bench.states()) == {0, 1}


def test_a_messages_row_has_the_cause_of_its_letter_until_it_becomes_something(bench):
    told = story("A")
    bench.bad = {told[0][1], told[2][1]}
    bench.of_one(*told)
    query = 'SELECT outcome, cause FROM messages ORDER BY "offset"'

    def found():
        return [tuple(row.values()) for row in bench.store.rows(query)]

    behind = [("parked", "behind")] * (len(told) - 3)
    assert found() == [("dead", "structure"), ("parked", "behind"), ("parked", "behind"), *behind]
    bench.bad = {told[2][1]}
    bench.retry()
    assert found() == [("applied", None), ("applied", None), ("dead", "structure"), *behind]
    letters = 'SELECT state, waited FROM dead_letters ORDER BY "offset"'
    assert [tuple(row.values()) for row in bench.store.rows(letters)][:3] == [
        ("retried", False), ("retried", True), ("dead", True),
    ]  # fmt: skip
    bench.bad = set()
    bench.retry()
    assert found() == [("applied", None)] * len(told)


def test_nothing_of_a_patient_stands_in_keys_letters_or_requests(bench):
    told = [("CANARYMRN", adt("A01", "CANARYMRN", visit="CANARYVISIT"))]
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    bench.retry()
    text = str(bench.store.rows("SELECT to_jsonb(t)::text FROM parked_records AS t"))
    text += str(bench.store.rows("SELECT to_jsonb(t)::text FROM dead_letters AS t"))
    text += str(bench.store.rows("SELECT to_jsonb(t)::text FROM dead_letter_requests AS t"))
    assert "CANARY" not in text
    assert b"CANARY".hex() not in text


def test_with_nothing_parked_a_batch_looks_no_further(bench, monkeypatch):
    def asked(*_):
        raise AssertionError("asked")

    monkeypatch.setattr(parking, "blocked", asked)
    monkeypatch.setattr(touching, "keys", asked)
    bench.of_one(*story("A"))
    assert bench.counted() == {"applied": 4}
