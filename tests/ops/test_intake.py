"""The MLLP server over feeds out of the rows: bound, suspended, recorded, and on while away."""

import asyncio

import pytest

from ops.counting import Counting
from ops.feeds import LocalFeeds
from producers.limits import Limits
from producers.mllp import encode
from producers.server import Server
from schemas.codec import Codec, Ids
from schemas.sealing import KeyServiceAway, Root
from sinks import feeds, lifecycle, tenancy
from sinks.tenancy import Secrets
from tests.producers.conftest import FakePublisher, Sender
from tests.sinks.provisioned import store

__all__ = ["store"]
pytestmark = pytest.mark.stack

ROOT = Root(bytes(32))
CITY, NORTH = tenancy.UUID(int=0xC1), tenancy.UUID(int=0xA0)


class Line:
    """An intake whose feeds come out of a database; its log holds everything at once."""

    def __init__(self, database, file):
        self.database = database
        self.publisher = FakePublisher()
        self.counting = Counting(database)
        self.feeds = LocalFeeds(database, ROOT, file, default_port=0)
        self.server = Server(
            feeds=self.feeds, publisher=self.publisher, codec=Codec(Ids.in_order()),
            limits=Limits(), refusals=self.counting,
        )  # fmt: skip

    def say(self, *messages):
        """Send messages on one connection; the answers' codes, None where it ended before."""

        async def talk():
            port = await self.server.listen("127.0.0.1", 0)
            self.feeds._default_port = port
            sender = Sender(*await asyncio.open_connection("127.0.0.1", port))
            for message in messages:
                await sender.say(encode(message))
            heard = [await sender.hear() for _ in messages]
            await self.server.close(grace_seconds=0.1)
            return [answer and answer[0] for answer in heard]

        self.server.accepting, self.server._listeners, self.server._sweeper = True, [], None
        return asyncio.run(asyncio.wait_for(talk(), 60))


@pytest.fixture
def line(store, tmp_path):
    database = store.open()
    for tenant, name in ((CITY, "city"), (NORTH, "north")):
        tenancy.create_tenant(
            database, ROOT, tenant_id=tenant, name=name, subdomain=name,
            secret=Secrets(tenant.bytes * 2, bytes(32)),
        )  # fmt: skip
        feeds.add(database, tenant, "adt", {"facilities": [name.upper()]})
    made = Line(database, tmp_path / "feeds.json")
    made.feeds.refresh()
    return made


def adt(facility, processing_id="P"):
    return (
        f"MSH|^~\\&|ADT|{facility}|||20260302090000||ADT^A01|77|{processing_id}|2.5\rPID|1||9^^^N^MR\r"
    ).encode()


def refused(line):
    line.counting.flush()
    with line.database.connection() as connection, connection.transaction():
        return {
            tenant: {each.reason: each.refused for each in feeds.refusals(connection, tenant, 24)}
            for tenant in (CITY, NORTH)
        }


def test_two_tenants_on_one_port_are_told_apart_and_strangers_refused(line):
    assert line.say(adt("CITY"), adt("NORTH"), adt("WEST"), adt("CITY", "T")) == [
        "AA", "AA", "AR", "AR",
    ]  # fmt: skip
    tenants = [dict(headers)["tenant"].decode() for *_, headers in line.publisher.records]
    assert tenants == [str(CITY), str(NORTH)]
    assert refused(line) == {CITY: {"processing id": 1}, NORTH: {}}
    with line.database.connection() as connection, connection.transaction():
        [nobodys] = feeds.refusals(connection, None, 24)
    assert (nobodys.reason, nobodys.refused, nobodys.sender_hmac) == ("fits no feed", 1, None)


def test_a_suspended_tenants_feeds_are_refused_and_others_are_not(line):
    lifecycle.suspend(line.database, CITY)
    line.feeds.refresh()
    assert line.say(adt("CITY"), adt("NORTH"), adt("CITY")) == ["AR", "AA", "AR"]
    assert refused(line) == {CITY: {"suspended": 2}, NORTH: {}}
    lifecycle.resume(line.database, CITY)
    line.feeds.refresh()
    assert line.say(adt("CITY")) == ["AA"]


def test_the_intake_goes_on_and_counts_while_the_database_is_away(line, tmp_path, store):
    line.feeds.refresh()
    gone = store.open(url=store.worker.rpartition("/")[0] + "/nowhere")
    away = Line(gone, tmp_path / "feeds.json")
    away.feeds._restore()
    assert away.say(adt("CITY"), adt("CITY", "T"), adt("NORTH")) == ["AA", "AR", "AA"]
    assert sum(away.counting._counts.values()) == 1
    with pytest.raises(Exception, match="database"):
        away.counting.flush()
    assert sum(away.counting._counts.values()) == 1, "counted on"
    away.counting._database = line.database
    away.counting.flush()
    assert refused(line) == {CITY: {"processing id": 1}, NORTH: {}}


class Service:
    """The root key behind a service that is away at first."""

    away = True

    def unwrap(self, wrapped, **named):
        if self.away:
            raise KeyServiceAway("for the test")
        return ROOT.unwrap(wrapped, **named)


def test_what_comes_while_the_key_service_is_away_is_not_answered_and_not_lost(line, tmp_path):
    cut = Line(line.database, tmp_path / "other.json")
    cut.feeds._root = Service()
    cut.feeds.refresh()
    assert cut.say(adt("CITY")) == [None]
    assert cut.publisher.records == [], "neither in clear nor sealed"
    cut.feeds._root.away = False
    cut.feeds.refresh()
    assert cut.say(adt("CITY")) == ["AA"], "the sender sends it again"


def test_a_tenant_whose_key_does_not_open_holds_up_no_other(line, store):
    store.run("UPDATE tenant_keys SET wrapped = 'x' WHERE tenant_id = %s", CITY)
    line.feeds.refresh()
    assert line.say(adt("NORTH")) == ["AA"]
    assert line.say(adt("CITY")) == [None]
    assert line.say(adt("NORTH")) == ["AA"]


@pytest.mark.parametrize("bad", ["zone = 'Mars/Base'", "senders = '5'"])
def test_a_feed_that_can_not_be_read_answers_nothing_and_holds_up_no_other(line, store, bad):
    store.run(f"UPDATE feeds SET {bad} WHERE tenant_id = %s AND protocol <> 'app'", CITY)
    line.feeds.refresh()
    assert line.say(adt("NORTH")) == ["AA"]
    assert line.say(adt("CITY")) == [None], "a refusal would have the sender give it up"
    assert line.say(adt("NORTH")) == ["AA"]
    assert refused(line) == {CITY: {}, NORTH: {}}
    good = {"zone": "UTC", "senders": []}
    tenancy.set_feed(line.database, CITY, "adt", {name: good[name] for name in [bad.split()[0]]})
    line.feeds.refresh()
    assert line.say(adt("CITY")) == ["AA"]
