"""Releasing in the ledger: what waited comes in once, in order, or nothing changes."""

import signal
import subprocess
import sys
import uuid

import pytest

from schemas.failpoints import FailPoint
from schemas.sealing import KeyServiceAway
from sinks import dead_letters, parking, retrying
from sinks.database import DatabaseAway
from streams import ports
from tests.keyed import erase
from tests.streams.ledger.parked import story, trouble
from tests.streams.ledger.told import (
    FEEDS,
    TENANT,
    adt,
)

pytestmark = pytest.mark.stack

REAL_SETTLE = parking.settle


def test_a_retry_that_doubles_is_seen(bench, monkeypatch):
    """Seeded bug: what was released stays dead, and its row isn't looked at."""
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    bench.bad.clear()
    monkeypatch.setattr(parking, "settle", lambda *_, **__: None)
    bench.retry()
    monkeypatch.setattr(parking, "settle", REAL_SETTLE)
    rows = len(bench.events())
    monkeypatch.setattr(retrying, "_ours", lambda *_: True)
    with pytest.raises(AssertionError):
        assert bench.retry()[0] == "done"
    assert len(bench.events()) == rows, "the constraints refuse the second"


def test_a_letter_whose_message_came_in_already_is_a_duplicate(bench):
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    bench.bad.clear()
    bench.store.run("UPDATE messages SET outcome = 'applied' WHERE outcome = 'dead'")
    assert bench.retry() == ("done", 4)
    assert bench.counted() == {"applied": 3, "duplicate": 1}


def test_what_fails_next_is_what_others_wait_for_from_then_on(bench):
    told = story("A", 5)
    bench.bad = {told[0][1], told[2][1]}
    bench.of_one(*told)
    bench.bad = {told[2][1]}
    assert bench.retry() == ("partly", 2)
    assert bench.states() == {0: "retried", 1: "retried", 2: "dead", 3: "parked", 4: "parked"}
    assert bench.outcomes() == {
        0: "applied", 1: "applied", 2: "dead", 3: "parked", 4: "parked",
    }  # fmt: skip
    [row] = bench.store.rows("SELECT reason FROM messages WHERE outcome = 'dead'")
    assert row["reason"] == "told to"
    bench.bad.clear()
    assert bench.retry() == ("done", 3)
    bench.nothing_waits()


def test_a_discard_gives_up_one_message_and_releases_the_others(bench):
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    bench.ask("discard")
    bench.round()
    assert bench.ended() == [("done", 3)]
    assert bench.states()[0] == "discarded"
    assert bench.counted() == {"dead": 1, "applied": 3}
    assert bench.outcomes()[0] == "dead"
    bench.feed(bench.record(told[0][1], mrn="A", again=0))
    assert bench.counted()["duplicate"] == 1


POINTS = [
    "ledger: loaded", "ledger: decided", "ledger: written", "sink: writing", "sink: released",
]  # fmt: skip
# Imports once, and has a child for each point that is read: it ends as that one did.
KILLED = """
import os, sys
from schemas import failpoints
from schemas.codec import Codec, Ids
from schemas.sealing import Root
from sinks.database import Database
from streams import log
from streams.ledger.processor import Ledger
from streams.letters import Letters
from streams.ownership import Ownership
log.topic_ids = lambda _, topics: dict.fromkeys(topics, "id-1")
url = sys.argv[1]
for point in sys.stdin:
    child = os.fork()
    if child == 0:
        database = Database.open(url, name="killed", size=4)
        owned = Ownership(
            database=database, url=url, subscriptions=("ledger",), bootstrap_servers="",
            owner="killed",
        )
        processor = Ledger(
            database=database, ownership=owned, codec=Codec(Ids.in_order()),
            root=Root(bytes(range(32))),
        )
        processor.take([("emr.hl7v2.v1", 0)], generation=1)
        failpoints._armed = failpoints.parse(point.strip() + "=kill")
        Letters(processor=processor).round()
        os._exit(0)
    print(-os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_release_is_done_once_whoever_is_killed_at_whichever_point_of_it(bench):
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    before = bench.states(), bench.counted(), bench.outcomes()
    bench.ask()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, bench.store.worker],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as killed:  # fmt: skip
        for point in POINTS:
            killed.stdin.write(point + "\n")
            killed.stdin.flush()
            assert killed.stdout.readline().strip() == str(int(signal.SIGKILL)), point
            assert (bench.states(), bench.counted(), bench.outcomes()) == before, point
            assert bench.events() == []
        for expected in (signal.SIGKILL, 0):
            killed.stdin.write("sink: committed\n")
            killed.stdin.flush()
            assert killed.stdout.readline().strip() == str(int(expected))
        killed.stdin.close()
        killed.wait(30)
    assert bench.ended() == [("done", 4)]
    assert bench.counted() == {"applied": 4}
    bench.nothing_waits()


@pytest.mark.parametrize("point", POINTS)
def test_a_release_that_ends_midway_changes_nothing_and_is_done_once_again(bench, armed, point):
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    before = bench.everything(), bench.states(), bench.counted()
    bench.bad.clear()
    bench.ask()
    armed(f"{point}=raise")
    with pytest.raises(FailPoint):
        bench.round()
    armed("")
    assert (bench.everything()[0], bench.everything()[1][4]) == (before[0][0], before[0][1][4])
    assert (bench.states(), bench.counted()) == before[1:]
    bench.round()
    assert bench.ended() == [("done", 4)]
    bench.nothing_waits()


def test_a_release_that_ends_after_its_commit_is_not_done_again(bench, armed):
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    bench.bad.clear()
    bench.ask()
    armed("sink: committed=raise")
    with pytest.raises(FailPoint):
        bench.round()
    armed("")
    assert bench.round() == 0
    assert bench.counted() == {"applied": 4}
    bench.nothing_waits()


@pytest.mark.parametrize("state", ["57P01", "08006", "40001"])
def test_an_outage_parks_nothing_and_ends_no_request(bench, state):
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told[:2])
    trouble(bench.store, state)
    with pytest.raises(ports.Transient):
        bench.of_one(*story("B"))
    bench.bad.clear()
    bench.ask()
    with pytest.raises(DatabaseAway):
        bench.round()
    assert bench.states() == {0: "dead", 1: "parked"}
    assert bench.ended() == [(None, None)]
    bench.store.run("DROP TRIGGER trouble ON events")
    bench.round()
    assert bench.ended() == [("done", 2)]
    bench.nothing_waits()


def test_an_outage_that_parks_is_seen(bench, monkeypatch):
    """Seeded bug: whatever the database says is the row's fault."""
    monkeypatch.setattr("sinks.database.POISON", frozenset({"22", "23", "40"}))
    monkeypatch.setattr("sinks.database.TRANSIENT", frozenset({"08", "53", "55", "57", "58"}))
    trouble(bench.store, "40001")
    bench.of_one(*story("A"))
    with pytest.raises(AssertionError):
        assert bench.states() == {}


def test_a_key_service_that_is_away_parks_nothing_and_ends_no_request(bench, monkeypatch):
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    bench.bad.clear()
    bench.ask()

    def away(*_, **__):
        raise KeyServiceAway("away")

    bench.processor.keyring.clear()
    monkeypatch.setattr("sinks.tenancy.unwrap", away)
    with pytest.raises(KeyServiceAway):
        bench.round()
    assert bench.ended() == [(None, None)]


def test_a_feed_that_cannot_be_read_ends_the_request_and_nothing_else(bench):
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    bench.bad.clear()
    bench.store.run("UPDATE feeds SET zone = 'Nowhere/None' WHERE id = %s", FEEDS[TENANT])
    assert bench.retry() == ("failed", 0)
    assert bench.states()[0] == "dead"
    bench.store.run("UPDATE feeds SET zone = 'UTC' WHERE id = %s", FEEDS[TENANT])
    assert bench.retry() == ("done", 4)


def test_what_nothing_waited_for_comes_in_late_when_it_is_retried(bench):
    bad = adt("A01", "A", visit="V1")
    bench.bad = {bad}
    got = bench.record(bad)
    bench.feed(got)
    bench.store.run("DELETE FROM parked_records")
    bench.store.run("UPDATE subscriptions SET parked_keys = 0")
    bench.of_one(("A", adt("A02", "A", visit="V1", minute=1)))
    bench.bad.clear()
    assert bench.retry() == ("done", 1)
    assert [row["event_type"] for row in bench.events()][-1] == "admission.created"


def test_a_record_that_an_erasure_emptied_while_it_waited_is_ignored_and_holds_up_nobody(bench):
    told = story("A")
    bench.bad = {told[0][1]}
    bench.of_one(*told)
    for row in bench.store.rows("SELECT id FROM dead_letters WHERE state = 'parked' LIMIT 1"):
        empty = dead_letters.sealed(row["id"], None, None, bench.processor.root.line())
        bench.store.run(
            "UPDATE dead_letters SET record_sealed = %s WHERE id = %s", empty, row["id"]
        )
    bench.bad.clear()
    assert bench.retry() == ("done", 4)
    assert bench.counted() == {"applied": 3, "ignored": 1}
    [row] = bench.store.rows("SELECT * FROM messages WHERE outcome = 'ignored'")
    assert row["reason"] == retrying.TAKEN_OUT


def test_a_dead_message_of_somebody_who_was_erased_since_stays_and_can_be_discarded(bench):
    told = story("A")
    bench.of_one(told[0])
    bench.feed(bench.record(b"no message", mrn="A"))
    bench.of_one(told[1])
    erase(bench.store.database, TENANT, uuid.UUID(bench.patient("A")))
    assert bench.states() == {1: "dead", 2: "parked"}
    bench.ask("discard")
    bench.round()
    assert bench.ended() == [("partly", 0)]
    [row] = bench.store.rows("SELECT cause FROM dead_letters WHERE state = 'dead'")
    assert row["cause"] == "erased"
    bench.ask("discard")
    bench.round()
    assert bench.ended()[-1] == ("done", 0)
    assert bench.store.rows("SELECT FROM parked_records") == []


def test_a_message_that_the_database_refuses_parks_and_is_released_too(bench):
    told = story("A")
    bench.store.run("ALTER TABLE events ADD CONSTRAINT poison CHECK (occurred_field <> 'EVN-2')")
    bench.of_one(*told)
    assert bench.states() == {0: "dead", 1: "parked", 2: "parked", 3: "parked"}
    bench.store.run("ALTER TABLE events DROP CONSTRAINT poison")
    assert bench.retry() == ("done", 4)
    bench.nothing_waits()
