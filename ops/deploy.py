"""Deploying: roles, migrations, topics, schemas, and on the embedded stack the tenant `demo`."""

import secrets
import time
from collections.abc import Callable
from uuid import UUID, uuid5

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

import migrations
from ops import access
from ops.settings import Settings
from schemas.registry import Registry
from schemas.topics import EVENTS, RECORD_BYTES_MAX, TOPICS, Topic
from sinks import ledger, roles, tenancy
from sinks.database import Database
from streams.log import QUIET, BrokerAway

DEMO_TENANT = UUID("d3e0a4b1-6f0c-5b5e-8d53-5f3f5a0f7e11")
DEMO = "demo"
REPLY_SECONDS = 20.0
Progress = Callable[[str], None]


class TopicUnfit(Exception):  # noqa: N818  named for what is wrong
    """A topic exists with fewer guarantees, or other partitions, than its declaration."""


def migrate(settings: Settings, *, progress: Progress = lambda _: None) -> None:
    """Bring database, topics and registry to what this code declares; runs again without harm."""
    progress("roles and database")
    roles.provision(
        access.admin_url(settings), _database_name(settings), access.passwords(settings)
    )
    progress("migrations")
    migrations.upgrade(access.role_url(settings, "wt_migrate"))
    progress("topics")
    make_topics(access.bootstrap_servers(settings), settings.partitions)
    progress("schemas")
    if settings.schema_registry_url is None:
        raise access.NotConfigured("no registry is up or named (hint: wardtrail up)")
    ids = Registry(settings.schema_registry_url).register_all()
    access.write_private(settings.home / "schema-ids.json", ids.dumps())
    database = Database.open(access.role_url(settings, "wt_worker"), name="migrate", size=1)
    try:
        ledger.ensure_partitions(database, EVENTS.name, settings.partitions)
        tenancy.ensure_app_feeds(database)
        if settings.postgres is not None:
            progress("tenant demo")
            make_demo(settings, database)
    finally:
        database.close()


def make_topics(bootstrap_servers: str, partitions: int) -> None:
    """Create the topics that are missing; :class:`TopicUnfit` where one is less than declared."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, **QUIET})
    try:
        there = admin.list_topics(timeout=REPLY_SECONDS)
        replicas = min(len(there.brokers), 3)
        missing = [
            _new(topic, partitions, replicas)
            for topic in TOPICS.values()
            if topic.name not in there.topics
        ]
        if missing:
            made = admin.create_topics(missing, operation_timeout=REPLY_SECONDS)
            for future in made.values():
                future.result(REPLY_SECONDS)
        _await_topics(admin)
        check_topics(admin, partitions)
    except (KafkaException, TimeoutError) as error:
        raise BrokerAway(f"topics can't be made now: {type(error).__name__}") from error


def _await_topics(admin: AdminClient) -> None:
    """Wait until a broker tells of every topic: what was just made spreads in its own time."""
    deadline = time.monotonic() + REPLY_SECONDS
    while not TOPICS.keys() <= admin.list_topics(timeout=REPLY_SECONDS).topics.keys():
        if time.monotonic() >= deadline:
            raise TimeoutError
        time.sleep(0.05)


def check_topics(admin: AdminClient, partitions: int) -> None:
    """Raise :class:`TopicUnfit` unless every topic is at least what it declares."""
    names = list(TOPICS)
    described = admin.describe_topics(TopicCollection(names), request_timeout=REPLY_SECONDS)
    for name, future in described.items():
        found = len(future.result(REPLY_SECONDS).partitions)
        if found != partitions:
            raise TopicUnfit(
                f"{name} has {found} partitions; they are fixed per topic version "
                f"(hint: WARDTRAIL_PARTITIONS={found}), set: {partitions}"
            )
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    for resource, answer in admin.describe_configs(
        resources, request_timeout=REPLY_SECONDS
    ).items():
        entries, topic = answer.result(REPLY_SECONDS), TOPICS[resource.name]
        if entries["cleanup.policy"].value != topic.cleanup_policy:
            raise TopicUnfit(
                f"{topic.name} must have cleanup.policy {topic.cleanup_policy}, "
                f"has: {entries['cleanup.policy'].value}"
            )
        if int(entries["max.message.bytes"].value) < RECORD_BYTES_MAX:
            raise TopicUnfit(
                f"{topic.name} must have max.message.bytes {RECORD_BYTES_MAX} or more, "
                f"has: {entries['max.message.bytes'].value}"
            )
        if int(entries["min.insync.replicas"].value) < topic.min_insync_replicas:
            raise TopicUnfit(
                f"{topic.name} must have min.insync.replicas {topic.min_insync_replicas} or more, "
                f"has: {entries['min.insync.replicas'].value}"
            )


def make_demo(settings: Settings, database: Database) -> None:
    """The tenant and the feed that the embedded stack comes with; takes any sender.

    Not again after it was deleted.
    """
    with database.connection() as connection:
        if tenancy.gone(connection, [DEMO_TENANT]):
            return
    tenancy.create_tenant(
        database,
        access.root(settings),
        tenant_id=DEMO_TENANT,
        name="Demo hospital",
        subdomain=DEMO,
        secret=tenancy.Secrets(secrets.token_bytes(32), secrets.token_bytes(32)),
    )
    tenancy.create_feed(
        database, DEMO_TENANT, DEMO,
        feed_id=uuid5(DEMO_TENANT, DEMO), settings={"processing_ids": []},
    )  # fmt: skip


def _new(topic: Topic, partitions: int, replicas: int) -> NewTopic:
    return NewTopic(
        topic.name,
        num_partitions=partitions,
        replication_factor=replicas,
        config={
            "cleanup.policy": topic.cleanup_policy,
            "retention.ms": str(topic.retention_ms),
            "max.message.bytes": str(RECORD_BYTES_MAX + 64 * 1024),
            "min.insync.replicas": str(min(topic.min_insync_replicas, replicas)),
        },
    )


def _database_name(settings: Settings) -> str:
    url = settings.database_url
    if url is None:
        raise access.NotConfigured("no database is up or named (hint: wardtrail up)")
    return url.partition("?")[0].rpartition("/")[2] or "wardtrail"
