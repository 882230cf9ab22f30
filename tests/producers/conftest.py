"""A server with a publisher that holds, fails or delivers as a test says."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from producers.answers import read
from producers.limits import Limits
from producers.mllp import Decoder, Frame
from producers.peek import peek
from producers.ports import KeysAway
from producers.server import Server
from schemas.codec import Codec, Ids
from schemas.feeds import Feed
from schemas.sealing import Key, Keys, Scope

TENANT = UUID("11111111-1111-4111-8111-111111111111")
FEED = Feed(
    feed_id=UUID("22222222-2222-4222-8222-222222222222"), tenant_id=TENANT, name="test",
    processing_ids=frozenset(),
)  # fmt: skip
KEYS = Keys(
    tenant_id=TENANT,
    data={1: Key.of(b"d" * 32, version=1, scope=Scope.TENANT)},
    identity=b"i" * 32,
)


@dataclass
class FakePublisher:
    """Delivers at once; or, while ``holding``, when the test sets a future's outcome."""

    holding: bool = False
    records: list = field(default_factory=list)
    futures: list = field(default_factory=list)

    def publish(self, topic, key, value, headers):
        future = asyncio.get_running_loop().create_future()
        self.records.append((topic, key, value, headers))
        self.futures.append(future)
        if not self.holding:
            future.set_result(None)
        return future


@dataclass
class FakeFeeds:
    feed: Feed | None = FEED
    away: bool = False
    several: tuple = ()

    def by_port(self, port):
        if self.several:
            return self.several
        return [self.feed] if self.feed else []

    def keys(self, tenant_id):
        if self.away:
            raise KeysAway("keys are away")
        return KEYS


@dataclass
class FakeRefusals:
    noted: list = field(default_factory=list)

    def note(self, refused):
        self.noted.append(refused)


@dataclass
class Intake:
    """A running server and its parts."""

    server: Server
    port: int
    publisher: FakePublisher
    feeds: FakeFeeds
    refusals: FakeRefusals

    async def connect(self):
        return Sender(*await asyncio.open_connection("127.0.0.1", self.port))

    async def until(self, true):
        """Wait for something to be seen in the server, within a bound."""
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0.005)


class Sender:
    """A connection that says bytes and hears answers."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self._decoder = Decoder()
        self._heard = []

    async def say(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self):
        """The next answer as (MSA-1, MSA-2, ERR-3); None at the connection's end."""
        async with asyncio.timeout(20):
            while not self._heard:
                try:
                    data = await self.reader.read(65536)
                except ConnectionError:
                    data = b""
                if not data:
                    return None
                self._heard += self._decoder.feed(data)
        frame = self._heard.pop(0)
        assert isinstance(frame, Frame)
        answer = read(frame.payload, peek(frame.payload))
        return answer.code, answer.control_id.decode("latin-1"), answer.error


@pytest.fixture
def serving():
    """``async with serving(…) as intake``: a server on a free port, closed afterwards."""

    @asynccontextmanager
    async def serve(
        *, holding=False, feed=FEED, transient_answer=None, publisher=None, outcomes=None, **limits
    ):
        publisher = publisher or FakePublisher(holding=holding)
        feeds, refusals = FakeFeeds(feed=feed), FakeRefusals()
        server = Server(
            feeds=feeds, publisher=publisher, codec=Codec(Ids.in_order()),
            limits=Limits(**limits), transient_answer=transient_answer, refusals=refusals,
            outcomes=outcomes,
        )  # fmt: skip
        port = await server.listen("127.0.0.1", 0)
        try:
            yield Intake(server, port, publisher, feeds, refusals)
        finally:
            await server.close(grace_seconds=0.1)

    return serve


@pytest.fixture
def message():
    """Makes a message of its MSH-10; ``rest`` follows its header."""

    def make(control_id, *, processing_id="P", sender="S", rest=b"PID|1||7^^^H^MR\r"):
        parties = f"MSH|^~\\&|{sender}|F|R|G|1||"
        return f"{parties}ADT^A01|{control_id}|{processing_id}|2.5\r".encode() + rest

    return make


@pytest.fixture
def feed():
    return FEED


@pytest.fixture
def keys():
    return KEYS
