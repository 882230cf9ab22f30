"""The place: real servers in a home of their own, and what the benchmarks need from them."""

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import migrations
from ops import access, deploy
from ops.settings import Settings
from ops.stack import stack
from ops.stack.state import read
from schemas.codec import Codec
from sinks import roles
from sinks.database import Database
from streams.log import FETCH

PARTITIONS = 4
SEGMENTS = 30  # of 16 MiB: what min_wal_size keeps
CHILD_SECONDS = 180.0
REPLY_SECONDS = 20.0
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured: ``scale`` multiplies counts, ``rounds`` is how often."""

    rounds: int
    scale: float

    def of(self, count: int, *, least: int = 1) -> int:
        """A count at this size."""
        return max(least, int(count * self.scale))

    def batch(self, count: int) -> int:
        """A batch's records: what is asked of a batch size holds for that size alone."""
        return count if self.scale >= QUICK.scale else self.of(count, least=20)


FULL = Size(rounds=7, scale=1.0)
QUICK = Size(rounds=3, scale=0.25)
TINY = Size(rounds=1, scale=0.01)


class Stored(NamedTuple):
    """A record as it lies in a topic; a :class:`~streams.ports.Record`."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Servers that are up and migrated."""

    settings: Settings

    @property
    def bootstrap_servers(self) -> str:
        """Where the broker is."""
        return access.bootstrap_servers(self.settings)

    def codec(self) -> Codec:
        """The codec with the registry's ids."""
        return Codec(access.schema_ids(self.settings))

    def database(self, settings: Settings | None = None) -> Database:
        """The database as workers open it, by their role and policies."""
        return Database.open(self.url(settings), name="benchmark", size=8)

    def url(self, settings: Settings | None = None) -> str:
        """The database's URL for a worker."""
        return access.role_url(settings or self.settings, "wt_worker")

    def beside(self, name: str) -> Settings:
        """Settings with another database on the same server, new and migrated."""
        assert self.settings.database_url is not None, "the stack is up"
        made = f"{name}_{uuid.uuid4().hex[:8]}"
        url = self.settings.database_url.rpartition("/")[0] + f"/{made}"
        other = replace(self.settings, database_url=url)
        roles.provision(access.admin_url(other), made, access.passwords(other))
        migrations.upgrade(access.role_url(other, "wt_migrate"))
        with closing(self.database(other)) as database:
            deploy.make_demo(other, database)
        return other

    def recycle(self, settings: Settings) -> None:
        """Write and checkpoint segments of the WAL, as a server has them that has run for a while.

        A segment that must be made stalls the commit that needs it, whoever's it is.
        """
        with psycopg.connect(access.admin_url(settings), autocommit=True) as connection:
            for _ in range(SEGMENTS):
                connection.execute(
                    "SELECT pg_logical_emit_message(false, 'wardtrail', repeat('x', 1 << 24))"
                )
            connection.execute("CHECKPOINT")

    def new_topic(self, name: str) -> str:
        """A topic with a name of its own."""
        made = f"bench-{name}-{uuid.uuid4().hex[:8]}"
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers})
        topic = NewTopic(made, num_partitions=PARTITIONS, replication_factor=1)
        for future in admin.create_topics([topic]).values():
            future.result(REPLY_SECONDS)
        return made

    def fill(
        self, topic: str, records: Sequence[tuple[bytes, bytes]], *, partition: int = -1
    ) -> None:
        """Put keys and values into a topic: into one partition, or each where its key says."""
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap_servers, "compression.type": "lz4",
                "partitioner": "murmur2_random", "linger.ms": 5, "acks": "all",
                "enable.idempotence": True, "queue.buffering.max.messages": 1_000_000,
            }
        )  # fmt: skip
        for key, value in records:
            producer.produce(topic, value, key, partition=partition)
        left = producer.flush(CHILD_SECONDS)
        assert left == 0, f"records are not with the broker: {left}"

    def drain(self, topic: str, after: Sequence[int] = ()) -> list[list[Stored]]:
        """All that lies in a topic, by partition, from these offsets on."""
        return [
            list(self._partition(topic, number, after[number] if after else 0))
            for number in range(PARTITIONS)
        ]

    def ends(self, topic: str) -> list[int]:
        """The next offset of each partition."""
        configured = {"bootstrap.servers": self.bootstrap_servers, "group.id": "benchmark"}
        with closing(Consumer(configured)) as consumer:
            return [
                int(
                    consumer.get_watermark_offsets(
                        TopicPartition(topic, number), timeout=REPLY_SECONDS
                    )[1]
                )
                for number in range(PARTITIONS)
            ]

    def _partition(self, topic: str, partition: int, start: int) -> Iterator[Stored]:
        configured = {
            "bootstrap.servers": self.bootstrap_servers, "group.id": "benchmark",
            "enable.auto.commit": False, **FETCH,
        }  # fmt: skip
        with closing(Consumer(configured)) as consumer:
            place = TopicPartition(topic, partition, start)
            _, high = consumer.get_watermark_offsets(place, timeout=REPLY_SECONDS)
            consumer.assign([place])
            while start < high:
                for message in consumer.consume(10_000, timeout=1.0):
                    assert message.error() is None, "the broker gives what it holds"
                    start = message.offset() + 1
                    yield Stored(topic, partition, message.offset(), message.key(), message.value())

    @contextmanager
    def child(self, script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A process of ours that runs a script of this folder; ended when the block ends."""
        environment = {
            **os.environ, **self.settings.environ(), "WARDTRAIL_HOME": str(self.settings.home),
        }  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / script), *arguments],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def versions(self) -> tuple[str, str]:
        """PostgreSQL's version and Kafka's."""
        with closing(self.database()) as database, database.connection() as connection:
            row = connection.execute("SHOW server_version").fetchone()
        assert row is not None, "a server has a version"
        return str(row["server_version"]).split()[0], _kafka_version()


@contextmanager
def opened() -> Iterator[Place]:
    """Servers in a temporary home, taken down and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="wardtrail-bench-") as folder:
        Path(folder).chmod(0o711)  # PostgreSQL's own account passes through
        settings = Settings.load(
            {
                **os.environ,
                "WARDTRAIL_HOME": str(Path(folder) / "home"),
                "WARDTRAIL_PARTITIONS": str(PARTITIONS),
                "WARDTRAIL_LOG_LEVEL": "error",
            }
        )
        try:
            stack.up(settings)
            joined = settings.joined(read(settings.home))
            deploy.migrate(joined)
            yield Place(settings=joined)
        finally:
            stack.down(settings)
            stack.wipe(settings)


def _kafka_version() -> str:
    """As the embedded stack's description pins it."""
    pinned = (ROOT / "ops/stack/pom.xml").read_text(encoding="utf-8")
    found = (
        pinned.partition("kafka_2.13</artifactId>")[2].partition("<version>")[2].partition("<")[0]
    )
    return found or "unknown"
