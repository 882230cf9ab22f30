"""A flood beside a calm tenant on the real server, broker and database: who is slowed, and when."""

import asyncio
import threading
import uuid
from dataclasses import replace
from math import inf
from uuid import UUID

import pytest

from ops import sharing
from ops.sharing import LEDGER, Sharing
from producers.limits import Limits
from producers.mllp import encode
from producers.publisher import KafkaPublisher
from producers.quotas import Quotas
from producers.server import Server
from producers.shares import CALM_SECONDS, DELAY_LOOKS, FREE, LOOK_SECONDS, WINDOW_LEAST
from schemas.codec import Codec, Ids
from schemas.topics import HL7V2
from sinks import subscriptions
from sinks.database import DatabaseAway
from streams.log import BrokerAway, Ends, TopicMissing
from tests.producers.conftest import FEED, FakeFeeds, Sender
from tests.sinks.provisioned import store
from tests.topics import make_topic

__all__ = ["store"]
pytestmark = pytest.mark.stack

PARTITIONS = 2
MORE = 1_000  # messages of the flood
FLOODING = replace(FEED, feed_id=UUID(int=1), tenant_id=UUID(int=0xF), senders=frozenset({"FLOOD"}))
CALM = replace(FEED, feed_id=UUID(int=2), tenant_id=UUID(int=0xC), senders=frozenset({"CALM"}))


class Ledger:
    """Plays the ledger: reads as far as a test says, and moves the subscription's rows."""

    def __init__(self, store, ends):
        self.store, self.ends = store, ends
        places = [(HL7V2.name, number) for number in range(PARTITIONS)]
        self.held = subscriptions.take(
            store.database, store.worker, LEDGER, places, owner="test", topic_ids={}
        )
        self.read = dict.fromkeys(range(PARTITIONS), 0)

    def take(self, records):
        """So many of what waits, partition by partition."""
        for number, end in self.ends().items():
            taken = min(records, end - self.read[number])
            records -= taken
            self.read[number] += taken
            with self.store.database.connection() as connection, connection.transaction():
                subscriptions.move(
                    connection, self.held[HL7V2.name, number],
                    next_offset=self.read[number], last_position=0, counts={"ignored": taken},
                )  # fmt: skip


class Elsewhere:
    """Publishes to a topic of the test's own what the intake publishes to the line's."""

    def __init__(self, publisher, topic):
        self.publisher, self.topic = publisher, topic

    def publish(self, _, key, value, headers):
        return self.publisher.publish(self.topic, key, value, headers)


class Clock:
    """A fifth of a second passes from one look to the next, however long it takes."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        self.now += LOOK_SECONDS
        return self.now


@pytest.fixture
def topic(stack):
    name = f"shares-{uuid.uuid4().hex[:8]}"
    make_topic(stack.bootstrap_servers, name, PARTITIONS)
    return name


def test_the_ends_of_a_topic_are_those_after_all_that_the_brokers_hold(stack, topic):
    async def publish(records):
        async with KafkaPublisher(stack.bootstrap_servers) as publisher:
            await asyncio.gather(
                *(publisher.publish(topic, b"%d" % n, b"x", ()) for n in range(records))
            )

    ends = Ends(stack.bootstrap_servers, topic)
    assert ends() == dict.fromkeys(range(PARTITIONS), 0)
    asyncio.run(publish(40))
    assert sum(ends().values()) == 40
    with pytest.raises(TopicMissing):
        Ends(stack.bootstrap_servers, "nowhere")()


def message(number, sender):
    header = f"MSH|^~\\&|{sender}|F|R|G|1||ADT^A01|{number}|P|2.5\r"
    return encode(f"{header}PID|1||{number}^^^H^MR\r".encode())


async def sent(port, sender, count):
    """Send so many on a connection of their own; all are answered AA, in their order."""
    said = Sender(*await asyncio.open_connection("127.0.0.1", port))
    await said.say(b"".join(message(number, sender) for number in range(count)))
    heard = [await said.hear() for _ in range(count)]
    assert [each[:2] for each in heard] == [("AA", str(number)) for number in range(count)]
    said.writer.close()


def test_a_flood_is_slowed_beside_a_calm_tenant_and_both_are_answered(
    stack, topic, store, monkeypatch, caplog
):
    monkeypatch.setattr(sharing, "monotonic", Clock())
    monkeypatch.setattr(sharing, "GOOD_SECONDS", inf)
    ends = Ends(stack.bootstrap_servers, topic)
    ledger = Ledger(store, ends)

    async def test():
        async with KafkaPublisher(stack.bootstrap_servers) as publisher:
            server = Server(
                feeds=FakeFeeds(several=(FLOODING, CALM)), codec=Codec(Ids.in_order()),
                publisher=Elsewhere(publisher, topic), limits=Limits(),
            )  # fmt: skip
            shares = Sharing.of(server.quotas, store.database, stack.bootstrap_servers)
            shares._ends = ends
            port = await server.listen("127.0.0.1", 0)
            for _ in range(3):
                await sent(port, "CALM", 5)
                ledger.take(5)
                shares.look()
            assert shares.gauges()["slowed"] == 0
            await sent(port, "FLOOD", FREE)  # as much as who is new may at once
            assert server.quotas._credits[FLOODING.tenant_id] == 0
            await sent(port, "CALM", 5)
            ledger.take(5)
            shares.look()
            credit = server.quotas._credits[FLOODING.tenant_id]
            assert credit < WINDOW_LEAST, "its own waits"
            assert server.quotas._credits[CALM.tenant_id] >= WINDOW_LEAST
            more = asyncio.create_task(sent(port, "FLOOD", MORE))
            async with asyncio.timeout(20):
                while FLOODING.tenant_id not in server.quotas._held:
                    await asyncio.sleep(0.01)
            await sent(port, "CALM", 20)
            assert CALM.tenant_id not in server.quotas._held
            for _ in range(DELAY_LOOKS):
                ledger.take(1)
                shares.look()
            found = shares.gauges()
            assert found["slowed"] == 1
            assert f"messages until the next look: {FLOODING.tenant_id}" in found
            assert found["delay_milliseconds"] > 0
            for _ in range(3 * int(CALM_SECONDS / LOOK_SECONDS)):
                ledger.take(10_000)
                shares.look()
                await asyncio.sleep(0.01)
            assert shares.gauges()["slowed"] == 0
            await more
            await server.close(grace_seconds=1.0)
            assert sum(ends().values()) == FREE + MORE + 40, "nothing was lost"

    asyncio.run(asyncio.wait_for(test(), 120))
    told = [each.getMessage() for each in caplog.records if each.name == "ops.sharing"]
    assert told == [
        f"a tenant is slowed to its share of what the ledger takes: {FLOODING.tenant_id}",
        f"a tenant is slowed no longer: {FLOODING.tenant_id}",
    ]


@pytest.mark.parametrize("away", [DatabaseAway("away"), BrokerAway("away"), OSError("away")])
def test_who_cannot_see_the_ledger_slows_nobody_and_looks_again(away, monkeypatch):
    monkeypatch.setattr(sharing, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(sharing, "AGAIN_SECONDS", 0.001)
    quotas, looks, gone = Quotas(), iter(range(10_000)), threading.Event()
    slowed, seen_again = threading.Event(), threading.Event()

    def ends():
        if gone.is_set() and not slowed.is_set():
            raise away
        number = next(looks)
        quotas.sent[CALM.tenant_id] += 1
        quotas.sent[FLOODING.tenant_id] += 1_000_000
        if gone.is_set():
            seen_again.set()
        return {0: 1_000_000 * number}

    shares = Sharing(quotas, lambda: {0: next(looks)}, ends)
    share, told = quotas.share, []

    def noted(given, until, others):
        told.append(dict(given))
        if given and not gone.is_set():
            gone.set()
        elif gone.is_set() and not given:
            slowed.set()
        share(given, until, others=others)

    monkeypatch.setattr(quotas, "share", noted)
    shares.start()
    assert slowed.wait(20), "nobody is slowed any more"
    assert seen_again.wait(20)
    shares.stop()
    assert (quotas._credits, quotas._others) == ({}, None)
    assert any(FLOODING.tenant_id in given for given in told)


def test_without_looking_a_flood_is_never_slowed(store, stack, topic):
    """What the tests above are good for: without the thread's looks nothing happens."""
    quotas = Quotas()
    shares = Sharing.of(quotas, store.database, stack.bootstrap_servers)
    quotas.charge(FLOODING, 0.0)
    for _ in range(10_000):
        quotas.charge(FLOODING, 0.0)
    assert quotas.wait(FLOODING, 0.0) == 0
    assert shares.gauges()["slowed"] == 0
    shares.stop()
