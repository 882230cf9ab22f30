"""What became of messages, told to who waits for it."""

import asyncio
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from ops.answering import LedgerOutcomes
from producers import ports
from sinks import awaited
from sinks.awaited import Awaited, Became, WaitingFull
from tests.producers.conftest import FEED as A_FEED
from tests.sinks.inbound import append, entry, message, take
from tests.sinks.provisioned import FEED, OURS, THEIRS

pytestmark = pytest.mark.stack
SECONDS = 20


DEAD = {"outcome": "dead", "reason": "no PID", "cause": "no_patient"}


def key(number, tenant=OURS):
    return UUID(tenant), UUID(FEED), UUID(message(number)["message_id"])


@pytest.fixture
def waiting(store):
    thread = Awaited(database=store.open())
    thread.start()
    yield thread
    thread.stop()


def test_an_outcome_is_told_when_the_ledger_has_committed_it(store, waiting):
    told = [waiting.ask(key(n)) for n in range(2)]
    with pytest.raises(NotYet):
        told[0].result(0.3)
    held = take(store)
    dead = replace(entry(1, streams=()), message=message(1, **DEAD))
    append(store, held, [entry(0), dead])
    assert told[0].result(SECONDS) == Became(outcome="applied", reason=None, cause=None)
    assert told[1].result(SECONDS) == Became(**DEAD)
    again = [waiting.ask(key(n)).result(SECONDS) for n in range(2)]
    assert again == [each.result() for each in told], "a resend is told the same"


def test_the_ledgers_commit_is_noticed(store, waiting, monkeypatch):
    monkeypatch.setattr(awaited, "POLL_SECONDS", 600.0)
    fast = Awaited(database=store.open())
    fast.start()
    try:
        held = take(store)
        told = fast.ask(key(0))
        for number in range(5):  # the first may have been before it listened
            append(store, held, [entry(number)])
        assert told.result(SECONDS).outcome == "applied"
    finally:
        fast._stop.set()


def test_a_message_is_its_tenants_alone(store, waiting):
    append(store, take(store), [entry(0)])
    stolen = waiting.ask(key(0, THEIRS))
    assert waiting.ask(key(0)).result(SECONDS).outcome == "applied"
    with pytest.raises(NotYet):
        stolen.result(0.6)


def test_no_more_wait_than_may(store, monkeypatch):
    monkeypatch.setattr(awaited, "WAITING_MAX", 2)
    idle = Awaited(database=store.open())
    first = idle.ask(key(0))
    idle.ask(key(1))
    with pytest.raises(WaitingFull, match="as many wait for outcomes as may: 2"):
        idle.ask(key(2))
    idle.leave(key(0), first)
    idle.leave(key(0), first)
    idle.ask(key(2))


def test_the_intakes_wait_is_bounded_and_told_on_its_own_loop(store, waiting, monkeypatch):
    feed = replace(A_FEED, feed_id=UUID(FEED), tenant_id=UUID(OURS))
    append(store, take(store), [entry(0)])

    async def test():
        there = await LedgerOutcomes(waiting).ask(feed, key(0)[2])
        never = await LedgerOutcomes(waiting, wait_seconds=0.05).ask(feed, uuid4())
        given_up = LedgerOutcomes(waiting).ask(feed, uuid4())
        given_up.cancel()
        await asyncio.sleep(0)
        assert not waiting._asked, "nobody waits any more"
        monkeypatch.setattr(awaited, "WAITING_MAX", 0)
        return there, never, await LedgerOutcomes(waiting).ask(feed, uuid4())

    there, never, full = asyncio.run(asyncio.wait_for(test(), SECONDS))
    assert there == ports.Became(outcome="applied", reason=None)
    assert never is None
    assert full is None


def test_a_database_that_is_away_for_a_time_ends_no_wait(store, waiting, monkeypatch):
    told = waiting.ask(key(0))
    store.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        " AND usename = 'wt_worker' AND query LIKE 'LISTEN%%'",
        store.name,
    )
    append(store, take(store), [entry(0)])
    assert told.result(SECONDS).outcome == "applied"
