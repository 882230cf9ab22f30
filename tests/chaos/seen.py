"""What a line holds, read whole: its tables, its topics, every move of its positions."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from confluent_kafka import Consumer, TopicPartition
from psycopg import Connection

from ops import access
from schemas import headers
from schemas.codec import Codec
from schemas.feeds import Feed
from schemas.sealing import Keys, Subject
from schemas.topics import TOPICS
from sinks import database, tenancy
from sinks.database import Row, for_tenants
from streams.log import FETCH, QUIET
from streams.read_models import PROJECTIONS
from streams.trajectory import PROJECTION as TRAJECTORY
from streams.verification.projection import PROJECTION as VERIFICATION
from tests.chaos.parts import Line

TABLES = (
    "events", "messages", "streams", "partitions", "patient_identifiers", "subscriptions",
    "dead_letters", "command_results", "emr_verifications", "verification_results",
    *(table.name for each in (*PROJECTIONS, TRAJECTORY, VERIFICATION) for table in each.owns),
)  # fmt: skip
READ_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A record of a topic, decoded; `tenant` is what its headers name."""

    partition: int
    offset: int
    key: str
    tenant: UUID | None
    value: Mapping[str, Any]


@dataclass(slots=True, kw_only=True)
class Seen:
    """A line's rows by table, its records by topic, the moves of its positions in order.

    ``people`` are the keys of those whose texts it sealed: each line makes them by chance.
    """

    tables: dict[str, list[Row]]
    topics: dict[str, list[Logged]]
    history: list[Row] = field(default_factory=list)
    people: dict[UUID, Subject] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Seen":
        """A copy to tear at; keys can't be copied, and needn't."""
        copied = (copy.deepcopy(each, memo) for each in (self.tables, self.topics, self.history))
        tables, topics, history = copied
        return Seen(tables=tables, topics=topics, history=history, people=self.people)


def see(line: Line) -> Seen:
    """Read everything; the line is at rest, but for partitions that change hands."""
    with database.connect(line.superuser_url, name="chaos") as connection:
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            tables = {
                name: connection.execute(f"SELECT * FROM {name}").fetchall()  # names above
                for name in TABLES
            }
            history = connection.execute("SELECT * FROM chaos.history ORDER BY n").fetchall()
        people = _keys(connection, line).subjects
    codec = Codec(access.schema_ids(line.settings))
    servers = access.bootstrap_servers(line.settings)
    topics = {
        topic.name: list(_records(servers, topic.name, line.settings.partitions, codec))
        for topic in TOPICS.values()
    }
    return Seen(tables=tables, topics=topics, history=history, people=people)


def feed_and_keys(line: Line) -> tuple[Feed, Keys]:
    """The one feed of the line, and its tenant's keys."""
    with (
        database.connect(line.superuser_url, name="chaos") as connection,
        connection.transaction(),
    ):
        tenants = tenancy.tenants(connection)
        for_tenants(connection, tenants)
        (listened,) = tenancy.feeds(connection, tenants)
        return listened.feed, _keys(connection, line)


def _keys(connection: Connection[Row], line: Line) -> Keys:
    """The keys of the line's one tenant and of its people; as a superuser, who sees all."""
    with connection.transaction():
        wrapped = tenancy.wrapped_keys(connection, tenancy.tenants(connection))
        people = connection.execute("SELECT * FROM subject_keys WHERE version = 1").fetchall()
    (keys,) = tenancy.unwrap(wrapped, access.root(line.settings)).values()
    for row in people:
        subject, wrapper = UUID(row["subject_id"]), keys.wrapper(row["tenant_key_version"])
        key = wrapper.unwrap(row["wrapped"], subject=subject, version=1)
        keys.subjects[subject] = Subject(keys={1: key})
    return keys


def _records(servers: str, topic: str, partitions: int, codec: Codec) -> Iterable[Logged]:
    """All records of a topic, partition by partition."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers, "group.id": "wardtrail-chaos",
            "enable.auto.commit": False, "auto.offset.reset": "earliest", **FETCH, **QUIET,
        }
    )  # fmt: skip
    try:
        for partition in range(partitions):
            place = TopicPartition(topic, partition, 0)
            _, end = consumer.get_watermark_offsets(place, timeout=READ_SECONDS)
            consumer.assign([place])
            at = 0
            while at < end:
                batch: Sequence[Any] = consumer.consume(min(end - at, 2_000), timeout=READ_SECONDS)
                assert batch, f"a topic can't be read to its end: {topic}/{partition}"
                for record in batch:
                    assert record.error() is None, f"record unread: {topic}/{partition}"
                    at = record.offset() + 1
                    yield Logged(
                        partition=partition,
                        offset=record.offset(),
                        key=record.key().decode(),
                        tenant=headers.tenant(record.headers()),
                        value=codec.decode(record.value())[1],
                    )
    finally:
        with suppress(RuntimeError):
            consumer.close()
