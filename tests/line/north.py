"""A second tenant, with an intake of its own for the feeds by which it is told."""

import asyncio
import secrets
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid5

from ops import access
from ops.feeds import LocalFeeds
from ops.settings import Settings
from producers.publisher import KafkaPublisher
from producers.server import Server
from schemas.codec import Codec
from sinks import tenancy
from sinks.database import Database, for_tenants

NORTH = UUID("0b1d6a52-3c39-4c55-9a3e-5d1b9c8f7a01")
FEEDS = ("lab", "ward")  # each comes by a port of its own
SECONDS = 120.0  # at most, until what was asked for stands, however busy the machine is


def found(joined: Settings, database: Database) -> None:
    """Make the second tenant with its feeds."""
    secret = tenancy.Secrets(secrets.token_bytes(32), secrets.token_bytes(32))
    tenancy.create_tenant(
        database, access.root(joined), tenant_id=NORTH, name="North", subdomain="north",
        secret=secret,
    )  # fmt: skip
    for number, name in enumerate(FEEDS, start=1):
        feed, settings = uuid5(NORTH, name), {"processing_ids": []}
        tenancy.create_feed(database, NORTH, name, feed_id=feed, settings=settings)
        _bind(database, name, number)  # to none that listens, until there is one


@contextmanager
def listening(joined: Settings, database: Database, codec: Codec) -> Iterator[dict[str, int]]:
    """Take the messages of the second tenant's feeds, in this process; each feed's port."""
    feeds = LocalFeeds(
        database, access.root(joined), joined.home / "north-feeds.json", default_port=0
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(SECONDS)

    publisher = KafkaPublisher(access.bootstrap_servers(joined))
    run(publisher.__aenter__())
    server = Server(feeds=feeds, publisher=publisher, codec=codec)
    chosen = {name: run(server.listen("127.0.0.1", 0)) for name in FEEDS}
    for name, port in chosen.items():
        _bind(database, name, port)
    feeds.start()
    try:
        yield chosen
    finally:
        run(server.close(1.0))
        run(publisher.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()
        feeds.stop()


def _bind(database: Database, name: str, port: int) -> None:
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [NORTH])
        connection.execute("UPDATE feeds SET port = %s WHERE name = %s", (port, name))
