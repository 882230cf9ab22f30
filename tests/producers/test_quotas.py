"""How much a feed may send, and that a flood of one doesn't hurt the others."""

import asyncio
from dataclasses import replace
from math import inf
from uuid import UUID

import pytest

from producers import quotas
from producers.mllp import encode
from producers.quotas import CREDIT_SECONDS, CREDIT_SPREAD, Quotas


def run(test):
    asyncio.run(asyncio.wait_for(test(), 60))


@pytest.fixture
def limited(feed):
    return replace(feed, messages_per_second=10)


def test_a_second_of_messages_is_free_and_what_is_more_is_owed(limited):
    held = Quotas()
    for _ in range(10):
        held.charge(limited, 100.0)
    assert held.wait(limited, 100.0) == 0
    for _ in range(5):
        held.charge(limited, 100.0)
    assert held.wait(limited, 100.0) == pytest.approx(0.5)
    assert held.wait(limited, 100.5) == pytest.approx(0)
    assert held.wait(limited, 1_000.0) == 0


def test_what_was_saved_is_at_most_a_second(limited):
    held = Quotas()
    held.charge(limited, 0.0)
    for _ in range(11):
        held.charge(limited, 1_000.0)
    assert held.wait(limited, 1_000.0) == pytest.approx(0.1)


def test_the_feeds_of_a_tenant_share_its_quota(feed):
    one = replace(feed, tenant_messages_per_second=2)
    other = replace(one, feed_id=UUID(int=9))
    held = Quotas()
    for _ in range(3):
        held.charge(one, 5.0)
    assert held.wait(other, 5.0) == pytest.approx(0.5)
    assert held.wait(replace(other, tenant_id=UUID(int=8)), 5.0) == 0


def test_a_quota_that_is_set_anew_holds_at_once(limited):
    held = Quotas()
    for _ in range(20):
        held.charge(limited, 0.0)
    assert held.wait(replace(limited, messages_per_second=1), 0.0) == pytest.approx(10)
    assert held.wait(replace(limited, messages_per_second=None), 0.0) == 0


def test_buckets_are_bounded(limited, monkeypatch):
    monkeypatch.setattr(quotas, "BUCKETS_MAX", 3)
    held = Quotas()
    for number in range(10):
        held.charge(replace(limited, feed_id=UUID(int=number)), float(number))
        assert len(held._buckets) <= 3


def test_a_feed_over_its_rate_is_read_later_and_loses_nothing(serving, message, feed):
    async def test():
        async with serving(feed=replace(feed, messages_per_second=50)) as intake:
            sender = await intake.connect()
            await sender.say(b"".join(encode(message(n)) for n in range(55)))
            for n in range(55):
                assert (await sender.hear())[:2] == ("AA", str(n))
            [connection] = intake.server.connections
            assert connection._paused, "it owes tokens"
            await sender.say(encode(message(99)))
            assert (await sender.hear())[:2] == ("AA", "99")

    run(test)


def test_a_share_slows_its_tenant_alone_and_tells_who_had_to_wait(feed):
    flood, calm = feed, replace(feed, feed_id=UUID(int=9), tenant_id=UUID(int=8))
    held = Quotas()
    held.share({flood.tenant_id: 2}, 6.0)
    assert held.wait(flood, 5.0) == 0
    for _ in range(5):
        held.charge(flood, 5.0)
        held.charge(calm, 5.0)
    assert held.wait(calm, 5.0) == 0
    assert held.wait(flood, 5.0) == pytest.approx(CREDIT_SECONDS, rel=CREDIT_SPREAD)
    assert held.sent == {flood.tenant_id: 5, calm.tenant_id: 5}
    assert held.held() == {flood.tenant_id}
    assert held.held() == set(), "since it was last asked"
    held.share({}, 6.0)
    assert held.wait(flood, 5.0) == 0


def test_a_share_that_nobody_renews_holds_for_its_time_and_no_longer(feed):
    held = Quotas()
    held.share({feed.tenant_id: 0}, 6.0)
    assert [held.wait(feed, now) > 0 for now in (5.0, 5.9, 6.0, 7.0)] == [True, True, False, False]


@pytest.mark.parametrize(("credit", "wait"), [(0, 1.0), (9, 1.0)])
def test_a_quota_holds_beside_a_share_and_who_waits_by_it_alone_asks_for_no_more(
    feed, credit, wait
):
    bound, held = replace(feed, tenant_messages_per_second=2), Quotas()
    held.share({feed.tenant_id: credit}, 6.0)
    for _ in range(4):
        held.charge(bound, 5.0)
    assert held.wait(bound, 5.0) == pytest.approx(wait)
    assert held.held() == (set() if credit else {feed.tenant_id})


def test_a_flood_is_slowed_to_its_share_beside_a_calm_feed_that_is_not(serving, message, feed):
    async def test():
        flooding = replace(feed, feed_id=UUID(int=1), senders=frozenset({"FLOOD"}))
        calm = replace(
            feed, feed_id=UUID(int=2), tenant_id=UUID(int=3), senders=frozenset({"CALM"})
        )
        async with serving() as intake:
            intake.feeds.several = (flooding, calm)
            flood, quiet = await intake.connect(), await intake.connect()
            await flood.say(encode(message(0, sender="FLOOD")))
            assert (await flood.hear())[:2] == ("AA", "0")
            intake.server.quotas.share({flooding.tenant_id: 50}, inf)
            for n in range(1, 121):
                await flood.say(encode(message(n, sender="FLOOD")))
            await intake.until(lambda: any(each._paused for each in intake.server.connections))
            for n in range(20):
                await quiet.say(encode(message(n, sender="CALM")))
                assert (await quiet.hear())[:2] == ("AA", str(n))
            assert intake.server.quotas.held() == {flooding.tenant_id}
            intake.server.quotas.share({}, inf)
            assert [(await flood.hear())[:2] for _ in range(120)] == [
                ("AA", str(n)) for n in range(1, 121)
            ]  # fmt: skip
            assert intake.server.quotas.sent == {flooding.tenant_id: 121, calm.tenant_id: 20}

    run(test)


def test_a_feed_that_waits_goes_on_when_its_quota_is_raised(serving, message, feed):
    async def test():
        slow = replace(feed, messages_per_second=1)
        async with serving(feed=slow) as intake:
            sender = await intake.connect()
            await sender.say(b"".join(encode(message(n)) for n in range(200)))
            for n in range(2):
                assert (await sender.hear())[:2] == ("AA", str(n))
            [connection] = intake.server.connections
            assert connection._paused, "what it wants to say lasts three minutes"
            intake.feeds.feed = replace(slow, messages_per_second=10_000)
            for n in range(2, 200):
                assert (await sender.hear())[:2] == ("AA", str(n))

    run(test)


@pytest.mark.parametrize("hangs_up", [False, True])
def test_of_what_was_read_at_once_only_the_share_is_taken_and_the_rest_in_order_later(
    serving, message, feed, hangs_up
):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            await sender.say(encode(message(0)))
            assert (await sender.hear())[:2] == ("AA", "0")
            quotas = intake.server.quotas
            quotas.share({feed.tenant_id: 50}, inf)
            await sender.say(b"".join(encode(message(n)) for n in range(1, 121)))
            await intake.until(lambda: quotas.sent[feed.tenant_id] == 51)
            [connection] = intake.server.connections
            await intake.until(lambda: connection._paused)
            assert len(connection._read) == 70
            assert connection._held >= connection._read_bytes > 0, "counted as held in memory"
            if hangs_up:
                sender.writer.write_eof()
            quotas.share({feed.tenant_id: 71}, inf)  # who may say nothing isn't even read
            for n in range(1, 121):
                assert (await sender.hear())[:2] == ("AA", str(n))
            assert connection._read_bytes == 0
            if hangs_up:
                assert await sender.hear() is None
            assert quotas.sent == {feed.tenant_id: 121}

    run(test)


def test_who_was_never_heard_shares_as_one_of_the_others(feed):
    held = Quotas()
    held.share({}, 6.0, others=2)
    other = replace(feed, feed_id=UUID(int=9), tenant_id=UUID(int=8))
    for _ in range(2):
        assert held.wait(feed, 5.0) == 0
        held.charge(feed, 5.0)
    assert held.wait(feed, 5.0) > 0
    assert held.wait(other, 5.0) == 0, "each by itself"
    assert held.wait(feed, 6.0) == 0, "until another look"


def test_a_feed_holds_its_bytes_and_the_calm_one_goes_on(serving, message, feed):
    async def test():
        flooding = replace(
            feed, feed_id=UUID(int=1), senders=frozenset({"FLOOD"}), in_flight_bytes_max=100_000
        )
        calm = replace(feed, feed_id=UUID(int=2), senders=frozenset({"CALM"}))
        async with serving(holding=True) as intake:
            intake.feeds.several = (flooding, calm)
            floods = [await intake.connect() for _ in range(3)]
            body = b"PID|1||7^^^H^MR\rNTE|1||" + b"x" * 20_000 + b"\r"
            for flood in floods:
                flood.writer.write(
                    b"".join(encode(message(n, sender="FLOOD", rest=body)) for n in range(200))
                )
            await intake.until(lambda: all(
                each._paused for each in intake.server.connections
            ) and len(intake.server.connections) == 3)  # fmt: skip
            taken = len(intake.publisher.records)
            quiet = await intake.connect()
            for n in range(20):
                await quiet.say(encode(message(n, sender="CALM")))
                await intake.until(lambda: len(intake.publisher.records) == taken + 1)  # noqa: B023  awaited here
                taken += 1
                intake.publisher.futures[-1].set_result(None)
                assert (await quiet.hear())[:2] == ("AA", str(n))
            assert taken < 600, "most of the flood wasn't read yet"
            intake.publisher.holding = False
            for future in intake.publisher.futures:
                if not future.done():
                    future.set_result(None)
            for flood in floods:
                assert [(await flood.hear())[1] for _ in range(200)] == [
                    str(n) for n in range(200)
                ]  # fmt: skip
            assert not intake.server.quotas._in_flight

    run(test)


def test_a_connection_too_many_of_a_feed_ends_unanswered(serving, message, feed):
    async def test():
        async with serving(feed=replace(feed, connections_max=2)) as intake:
            senders = [await intake.connect() for _ in range(3)]
            for n, sender in enumerate(senders[:2]):
                await sender.say(encode(message(n)))
                assert (await sender.hear())[:2] == ("AA", str(n))
            await senders[2].say(encode(message(2)))
            assert await senders[2].hear() is None
            assert intake.server.counters.refused["connections"] == 1
            assert [each.reason for each in intake.refusals.noted] == ["connections"]
            assert len(intake.publisher.records) == 2
            senders[0].writer.close()
            await intake.until(lambda: len(intake.server.connections) == 1)
            again = await intake.connect()
            await again.say(encode(message(2)))
            assert (await again.hear())[:2] == ("AA", "2")

    run(test)


def test_a_mismatch_is_answered_as_the_feed_wants_it_and_noted(serving, message, feed):
    async def test():
        picky = replace(feed, facilities=frozenset({"ELSEWHERE"}), refusal_answer="AE")
        async with serving(feed=picky) as intake:
            sender = await intake.connect()
            await sender.say(encode(message(1)) * 3)
            assert [await sender.hear() for _ in range(3)] == [("AE", "1", 103)] * 3
            assert intake.publisher.records == []
            assert {(each.reason, each.feed_id) for each in intake.refusals.noted} == {
                ("facility", feed.feed_id)
            }

    run(test)
