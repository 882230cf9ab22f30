"""Refusals at start: what must hold before a process takes messages or moves a position."""

import ipaddress
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

import migrations
from ops import access, deploy
from ops.settings import Settings
from schemas.registry import CompatibilityWeak, Registry, RegistryAway, SchemaMissing
from sinks import checks
from sinks.checks import Found
from sinks.database import DatabaseAway, connect
from streams.log import QUIET

CLOCK_SECONDS = 2.0
# The first releases without CVE-2025-8713, which leaks statistics past row-level security.
SAFE_VERSIONS = {15: 150014, 16: 160010, 17: 170006}

logger = logging.getLogger(__name__)


class StartRefused(Exception):  # noqa: N818  named for what happened
    """Something isn't as it must be; the message says what, and how to lift the refusal."""


@dataclass(frozen=True, slots=True)
class Objection:
    """One thing that isn't as it must be; ``name`` lifts it."""

    name: str
    reason: str


def check(settings: Settings) -> None:
    """Raise :class:`StartRefused` on the first objection that ``WARDTRAIL_ALLOW`` doesn't lift.

    A server that is away is no objection: the processes wait for it.
    """
    for objection in objections(settings):
        if objection.name not in settings.allowed:
            raise StartRefused(
                f"refused: {objection.reason} (to lift it: WARDTRAIL_ALLOW={objection.name})"
            )
        logger.warning("allowed by WARDTRAIL_ALLOW: %s: %s", objection.name, objection.reason)


def objections(settings: Settings) -> Iterator[Objection]:
    """Everything that isn't as it must be."""
    yield from of_listeners(settings)
    try:
        access.root(settings)
    except access.NotConfigured as missing:
        yield Objection("root-key", str(missing))
    asks: tuple[Callable[[Settings], Iterator[Objection]], ...] = (_database, _registry, _topics)
    for ask in asks:
        try:
            yield from ask(settings)
        except (DatabaseAway, RegistryAway, KafkaException, TimeoutError) as away:
            logger.info("not checked at start, it is away: %s", type(away).__name__)


def of_listeners(settings: Settings) -> Iterator[Objection]:
    """Plaintext listeners stay on loopback."""
    listeners = [("HTTP", settings.http_host)]
    if settings.mllp_tls_certificate is None:
        listeners.insert(0, ("MLLP", settings.mllp_host))
    for name, host in listeners:
        if not _loopback(host):
            yield Objection("plaintext", f"{name} would listen in plaintext on: {host}")


def of_database(found: Found) -> Iterator[Objection]:
    """What is wrong with the database, or with our login in it."""
    major = found.version // 10_000
    least = SAFE_VERSIONS.get(major, 0 if major > max(SAFE_VERSIONS) else 1 << 31)
    if found.version < least:
        yield Objection(
            "postgres-version",
            "PostgreSQL must be 15.14, 16.10, 17.6 or newer (CVE-2025-8713), is: "
            f"{major}.{found.version % 10_000}",
        )
    if found.above_policies:
        yield Objection("role", f"the login stands above row policies: {found.role}")
    if found.unforced:
        yield Objection("row-security", f"tables without forced row policies: {found.unforced}")
    if found.revision != migrations.head():
        yield Objection(
            "revision",
            f"the database is at revision {found.revision}, this code at {migrations.head()} "
            "(hint: wardtrail migrate)",
        )
    if abs(found.clock_seconds) > CLOCK_SECONDS:
        yield Objection("clock", f"the database's clock differs by {found.clock_seconds:.1f} s")


def _database(settings: Settings) -> Iterator[Objection]:
    with connect(access.role_url(settings, "wt_worker"), name="checks") as connection:
        found = checks.look(connection)
    yield from of_database(found)


def _registry(settings: Settings) -> Iterator[Objection]:
    if settings.schema_registry_url is None:
        return
    registry = Registry(settings.schema_registry_url)
    try:
        registry.check()
        registry.lookup()
    except (CompatibilityWeak, SchemaMissing) as wrong:
        yield Objection("registry", str(wrong))


def _topics(settings: Settings) -> Iterator[Objection]:
    admin = AdminClient({"bootstrap.servers": access.bootstrap_servers(settings), **QUIET})
    try:
        deploy.check_topics(admin, settings.partitions)
    except deploy.TopicUnfit as wrong:
        yield Objection("topics", str(wrong))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
