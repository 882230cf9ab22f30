"""The server process: HL7 v2 over MLLP; health, counters, questions, commands over HTTP."""

import asyncio
import logging
import signal
import ssl
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from aiohttp import web

from ops import access, certificates, deploy, feed_copy, keys, logs, refusals
from ops.answering import LedgerOutcomes
from ops.api import CONNECTIONS, READ_SECONDS, Api
from ops.certificates import Certificates
from ops.commands import LOOKUPS_MAX, Commands
from ops.counting import Counting
from ops.feeds import LocalFeeds
from ops.keys import Ring
from ops.obeying import Obeying
from ops.openapi import PREFIX
from ops.opening import Opener
from ops.posting import Posting
from ops.samples import sample
from ops.settings import Settings
from ops.sharing import Sharing
from ops.standstill import Standstill
from producers.limits import Limits
from producers.publisher import KafkaPublisher
from producers.server import Server
from schemas.codec import Codec
from sinks import queries
from sinks.awaited import CONNECTIONS as AWAITED_CONNECTIONS
from sinks.awaited import Awaited
from sinks.commands import CONNECTIONS as WAITING_CONNECTIONS
from sinks.commands import Waiting
from sinks.database import Database
from sinks.keyring import Keyring
from sinks.reading import Readers

CLOSE_SECONDS = 30.0
NAMED_MAX = 10  # feeds that the health page names

logger = logging.getLogger(__name__)
_wire = logging.getLogger(f"{__name__}.http")


def _untraced(record: logging.LogRecord) -> bool:
    """What aiohttp logs of a request that is none quotes it: keep only what kind of fault."""
    if record.exc_info:
        kind = record.exc_info[0]
        record.msg, record.args = "an HTTP request failed: %s", (kind and kind.__name__,)
        record.exc_info = None
    return True


_wire.addFilter(_untraced)


@dataclass(frozen=True, slots=True)
class Health:
    """What the HTTP port tells everybody; nothing of any patient."""

    server: Server
    publisher: KafkaPublisher
    feeds: LocalFeeds
    mllp_port: int
    sharing: Sharing
    erasures: Obeying
    certificates: Certificates | None = None
    standstill: Standstill | None = None

    def app(self) -> web.Application:
        """The routes: ``/health/live``, ``/health/ready``, ``/metrics``."""
        app = web.Application(client_max_size=1024)
        app.router.add_get("/health/live", self.live)
        app.router.add_get("/health/ready", self.ready)
        app.router.add_get("/metrics", self.metrics)
        return app

    async def live(self, _: web.Request) -> web.Response:
        """The process answers."""
        return web.json_response({"status": "live"})

    async def ready(self, _: web.Request) -> web.Response:
        """The intake takes messages: it listens, and knows whose they are."""
        takes = self.feeds.takes(self.mllp_port)
        ready = self.server.accepting and bool(takes)
        named = ", ".join(each.name for each in takes[:NAMED_MAX]) or None
        status = {"status": "ready" if ready else "not ready", "feed": named}
        return web.json_response(status, status=200 if ready else 503)

    async def metrics(self, _: web.Request) -> web.Response:
        """Counters in the Prometheus text format."""
        counters = {
            "intake": self.server.counters.snapshot(),
            "publisher": asdict(self.publisher.counters),
            "feeds": self.feeds.gauges(),
            "shares": self.sharing.gauges(),
            "erasures": self.erasures.gauges(),
            "tls": {} if self.certificates is None else self.certificates.gauges(),
        }
        lines = [line for name, values in counters.items() for line in _lines(name, values)]
        lines += [] if self.standstill is None else self.standstill.lines()
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    logs.configure(settings.log_level)
    refusals.check(settings)
    secured = certificates.of(settings)
    context = None if secured is None else secured.context()
    if settings.postgres is not None:
        keys.generate(settings, name=deploy.DEMO, tenant_id=deploy.DEMO_TENANT)
    ring = keys.load(settings)
    url = access.role_url(settings, "wt_app")
    database = Database.open(access.role_url(settings, "wt_worker"), name="serve", size=4)
    erasures = Obeying(settings=settings, database=database)
    readers = Readers.open(
        url, name="api", size=CONNECTIONS, seconds=READ_SECONDS, may=erasures.may
    )
    looking = Readers.open(
        url, name="results", size=WAITING_CONNECTIONS + LOOKUPS_MAX, seconds=READ_SECONDS
    )
    waiting = Waiting(readers=looking)
    answers = Database.open(
        access.role_url(settings, "wt_worker"), name="answers", size=AWAITED_CONNECTIONS
    )
    awaited = Awaited(database=answers)
    service = access.root(settings)
    feeds = LocalFeeds(
        database,
        service,
        settings.home / feed_copy.NAME,
        default_port=settings.mllp_port,
    )
    refused = Counting(database)
    erasures.start()
    feeds.start()
    waiting.start()
    awaited.start()
    refused.start()
    try:
        keyring = Keyring(database, service, held_seconds=settings.held_seconds)
        reading = Reading(ring, readers, waiting, keyring, erasures, awaited)
        served = Served(settings, database, feeds, reading, refused, secured, context)
        asyncio.run(_serve(served))
    finally:
        refused.stop()
        awaited.stop()
        waiting.stop()
        feeds.stop()
        erasures.stop()
        for each in (readers, looking, answers):
            each.close()
        database.close()
    return 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read from the database: who may, rows, results, people's keys, outcomes."""

    ring: Ring
    readers: Readers
    waiting: Waiting
    keyring: Keyring
    erasures: Obeying
    awaited: Awaited

    def api(self, commands: Commands, feeds: LocalFeeds) -> Api:
        """The questions and commands."""
        return Api(
            self.ring, self.readers, queries,
            posting=Posting(commands), opener=Opener(feeds.keys, self.keyring.reading),
            tenants=feeds,
        )  # fmt: skip


def mounted(health: Health, api: Api) -> web.Application:
    """The whole HTTP port: health and counters for everybody, the rest for who holds a key."""
    app = health.app()
    app.add_subapp(PREFIX, api.app())
    return app


@dataclass(frozen=True, slots=True)
class Served:
    """All that the process serves with; without certificates MLLP is plaintext."""

    settings: Settings
    database: Database
    feeds: LocalFeeds
    reading: Reading
    refused: Counting
    certificates: Certificates | None
    context: ssl.SSLContext | None


async def _serve(served: Served) -> None:
    settings, feeds, reading = served.settings, served.feeds, served.reading
    stop, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if served.certificates is not None:
        loop.add_signal_handler(signal.SIGHUP, again.set)
    limits = Limits(
        frame_bytes=settings.mllp_frame_bytes,
        connections=settings.mllp_connections,
        idle_seconds=settings.mllp_idle_seconds,
        frame_seconds=settings.mllp_read_seconds,
    )
    codec = Codec(access.schema_ids(settings))
    async with KafkaPublisher(access.bootstrap_servers(settings)) as publisher:
        server = Server(
            feeds=feeds, publisher=publisher, codec=codec, limits=limits, refusals=served.refused,
            outcomes=LedgerOutcomes(reading.awaited),
        )  # fmt: skip
        if served.context is not None:
            server.secure(served.context)
        tls = served.context is not None
        port = await server.listen(settings.mllp_host, settings.mllp_port, tls=tls)
        sharing = Sharing.of(server.quotas, served.database, access.bootstrap_servers(settings))
        if settings.fair_shares:
            sharing.start()
        standstill = Standstill.of(settings)
        standstill.start()
        health = Health(
            server, publisher, feeds, port, sharing, reading.erasures, served.certificates,
            standstill,
        )  # fmt: skip
        commands = Commands(
            publisher=publisher, codec=codec, keys=feeds.keys, results=reading.waiting
        )
        app = mounted(health, reading.api(commands, feeds))
        runner = web.AppRunner(app, access_log=None, logger=_wire)
        await runner.setup()
        await web.TCPSite(runner, settings.http_host, settings.http_port).start()
        logger.info("serving: MLLP on port %d, HTTP on port %d", port, settings.http_port)
        await _until(stop, served.certificates, server, again)
        standstill.stop()
        await asyncio.to_thread(sharing.stop)
        await server.close(CLOSE_SECONDS)
        await runner.cleanup()
        commands.close()


async def _until(
    stop: asyncio.Event, certificates: Certificates | None, server: Server, again: asyncio.Event
) -> None:
    """Until a signal to stop; meanwhile certificates are looked at, at once on SIGHUP."""
    if certificates is None:
        await stop.wait()
        return
    following = asyncio.create_task(certificates.follow(server.secure, again))
    await stop.wait()
    following.cancel()
    await asyncio.wait([following])


def _lines(group: str, values: Mapping[str, int]) -> list[str]:
    """One line for each number; ``answered: AA`` is the counter ``answered`` of kind ``AA``."""
    lines = []
    for name, value in sorted(values.items()):
        counter, _, kind = name.partition(": ")
        lines.append(sample(f"{group}_{counter}", {"kind": kind} if kind else {}, value))
    return lines
