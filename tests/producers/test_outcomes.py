"""A feed that asks for it is answered by what became of its messages."""

import asyncio
import socket
import struct
from dataclasses import dataclass, field, replace

import pytest

from producers.mllp import encode
from producers.ports import Became, NotDurable
from schemas.feeds import OUTCOME
from tests.producers.conftest import FEED
from tests.producers.test_acks import asking
from tests.producers.test_batches import heard

ASKING = replace(FEED, answer_when=OUTCOME, ignored_answer="AE")
APPLIED = Became(outcome="applied", reason="visit without number")
IGNORED = Became(
    outcome="ignored", reason="message type not mapped: SIU", cause="message_type"
)  # fmt: skip
WAITING = Became(outcome="parked", reason="it waits behind another message of its patient")
DEAD = Became(outcome="dead", reason="a NUL is inside | the message", cause="structure")


@dataclass
class FakeOutcomes:
    """What became of each message is set by the test."""

    asked: list = field(default_factory=list)
    futures: list = field(default_factory=list)

    def ask(self, feed, message_id):
        future = asyncio.get_running_loop().create_future()
        self.asked.append((feed.feed_id, message_id))
        self.futures.append(future)
        return future


def run(test):
    asyncio.run(asyncio.wait_for(test(), 60))


@pytest.mark.parametrize(
    ("became", "feed", "answer"),
    [
        (APPLIED, ASKING, ("AA", "1", None)),
        (WAITING, replace(ASKING, ignored_answer="AR"), ("AA", "1", None)),
        (IGNORED, ASKING, ("AE", "1", 200)),
        (IGNORED, replace(ASKING, ignored_answer="AR"), ("AR", "1", 200)),
        (IGNORED, replace(ASKING, ignored_answer="AA"), ("AA", "1", None)),
        (DEAD, ASKING, ("AR", "1", 100)),
        (DEAD, replace(ASKING, refusal_answer="AE"), ("AE", "1", 100)),
        (replace(DEAD, cause="charset"), ASKING, ("AR", "1", 102)),
        (replace(DEAD, cause="required_field"), ASKING, ("AR", "1", 101)),
        (replace(DEAD, cause="mapper_failed"), ASKING, ("AR", "1", 207)),
        (replace(DEAD, cause="of a newer release"), ASKING, ("AR", "1", 207)),
        (replace(IGNORED, cause="trigger"), ASKING, ("AE", "1", 201)),
        (replace(IGNORED, cause="erased"), ASKING, ("AE", "1", 204)),
        (replace(IGNORED, cause=None), ASKING, ("AE", "1", 200)),
    ],
)
def test_i3_each_outcome_has_the_feeds_own_code(serving, became, feed, answer):
    async def test():
        outcomes = FakeOutcomes()
        async with serving(outcomes=outcomes, feed=feed) as intake:
            sender = await intake.connect()
            await sender.say(encode(asking("", "")))
            await intake.until(lambda: outcomes.futures)
            assert not intake.server.counters.answered
            outcomes.futures[0].set_result(became)
            assert await sender.hear() == answer
            assert intake.server.counters.held_bytes == 0

    run(test)


def test_the_outcome_is_asked_for_when_the_brokers_hold_the_message(serving):
    async def test():
        outcomes = FakeOutcomes()
        async with serving(outcomes=outcomes, feed=ASKING, holding=True) as intake:
            sender = await intake.connect()
            await sender.say(encode(asking("", "", "1")) + encode(asking("", "", "2")))
            await intake.until(lambda: len(intake.publisher.futures) == 2)
            assert outcomes.asked == []
            intake.publisher.futures[1].set_result(None)
            await intake.until(lambda: len(outcomes.asked) == 1)
            outcomes.futures[0].set_result(IGNORED)
            intake.publisher.futures[0].set_result(None)
            await intake.until(lambda: len(outcomes.asked) == 2)
            outcomes.futures[1].set_result(APPLIED)
            assert await sender.hear() == ("AA", "1", None)
            assert await sender.hear() == ("AE", "2", 200)

    run(test)


def test_without_an_outcome_in_time_there_is_no_answer_and_the_connection_closes(serving):
    async def test():
        outcomes = FakeOutcomes()
        async with serving(outcomes=outcomes, feed=ASKING) as intake:
            sender = await intake.connect()
            await sender.say(encode(asking("", "", "1")) + encode(asking("", "", "2")))
            await intake.until(lambda: len(outcomes.futures) == 2)
            outcomes.futures[0].set_result(None)
            assert await sender.hear() is None
            assert intake.server.counters.closed == {"no outcome": 1}
            assert outcomes.futures[1].cancelled()
            assert intake.server.counters.held_bytes == 0

    run(test)


def test_where_nobody_knows_outcomes_who_asks_for_them_gets_no_answer(serving):
    async def test():
        async with serving(feed=ASKING) as intake:
            sender = await intake.connect()
            await sender.say(encode(asking("", "")))
            assert await sender.hear() is None

    run(test)


def test_custody_is_told_at_once_and_the_outcome_later(serving):
    async def test():
        outcomes = FakeOutcomes()
        async with serving(outcomes=outcomes, feed=ASKING) as intake:
            sender = await intake.connect()
            await sender.say(encode(asking("AL", "AL", "1")) + encode(asking("AL", "AL", "2")))
            assert await sender.hear() == ("CA", "1", None)
            assert await sender.hear() == ("CA", "2", None)
            await intake.until(lambda: len(outcomes.futures) == 2)
            outcomes.futures[1].set_result(DEAD)
            outcomes.futures[0].set_result(APPLIED)
            assert await sender.hear() == ("AA", "1", None)
            assert await sender.hear() == ("AR", "2", 100)

    run(test)


def test_who_wants_no_application_acknowledgement_waits_for_no_outcome(serving):
    async def test():
        outcomes = FakeOutcomes()
        async with serving(outcomes=outcomes, feed=ASKING) as intake:
            sender = await intake.connect()
            await sender.say(encode(asking("AL", "NE")))
            assert await sender.hear() == ("CA", "1", None)
            assert outcomes.asked == []

    run(test)


def test_what_is_not_durable_behind_one_that_waits_breaks_after_its_answer(serving):
    async def test():
        outcomes = FakeOutcomes()
        async with serving(outcomes=outcomes, feed=ASKING, holding=True) as intake:
            sender = await intake.connect()
            await sender.say(encode(asking("", "", "1")) + encode(asking("", "", "2")))
            await intake.until(lambda: len(intake.publisher.futures) == 2)
            intake.publisher.futures[1].set_exception(NotDurable("away"))
            intake.publisher.futures[0].set_result(None)
            await intake.until(lambda: outcomes.futures)
            outcomes.futures[0].set_result(APPLIED)
            assert await sender.hear() == ("AA", "1", None)
            assert await sender.hear() is None
            assert intake.server.counters.publish_failures == 1

    run(test)


def test_a_batch_waits_for_the_outcomes_of_all_of_it(serving):
    async def test():
        outcomes = FakeOutcomes()
        async with serving(outcomes=outcomes, feed=ASKING) as intake:
            sender = await intake.connect()
            await sender.say(encode(b"".join(asking("", "", str(n)) for n in range(3))))
            await intake.until(lambda: len(outcomes.futures) == 3)
            for n, became in ((2, DEAD), (1, IGNORED), (0, APPLIED)):
                assert not intake.server.counters.answered
                outcomes.futures[n].set_result(became)
            assert (await heard(sender))[1] == [
                ("AA", "0", None), ("AE", "1", 200), ("AR", "2", 100),
            ]  # fmt: skip

    run(test)


def test_who_hangs_up_waits_no_longer(serving):
    async def test():
        outcomes = FakeOutcomes()
        async with serving(outcomes=outcomes, feed=ASKING) as intake:
            sender = await intake.connect()
            await sender.say(encode(asking("", "")))
            await intake.until(lambda: outcomes.futures)
            sock = sender.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
            sender.writer.transport.abort()
            await intake.until(lambda: outcomes.futures[0].cancelled())

    run(test)
