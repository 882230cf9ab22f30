"""The relay: publishes rows by their positions, and moves on when the brokers hold them."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.codec import Undecodable
from schemas.failpoints import FailPoint, hit
from schemas.headers import Headers
from schemas.registry import RegistryAway
from schemas.topics import RECORD_BYTES_MAX
from sinks import relay as rows
from sinks.database import Database, DatabaseAway, Row
from sinks.relay import LEASE_SECONDS, RowsMissing, Source
from sinks.subscriptions import Held, Stale
from streams import log

BATCH_ROWS = 2_000  # per partition and round
POLL_SECONDS = 0.5  # how long a lost notice goes unnoticed
RENEW_SECONDS = LEASE_SECONDS / 3
DELIVERY_SECONDS = 30.0  # then the producer is made anew and the rows are read again
BACKOFF_SECONDS = (0.1, 30.0)

logger = logging.getLogger(__name__)


class HistoryLost(Exception):  # noqa: N818  named for what is wrong
    """The topic holds a position that the database doesn't have: the database lost commits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A row as it is published; ``position`` is its ``partition_seq``."""

    position: int
    key: bytes
    value: bytes
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What a relay publishes: where the rows are, how one is encoded, how one read back."""

    source: Source
    channel: str | None  # on which a writer wakes the relay; None: it looks by itself
    encode: Callable[[Row], Outgoing]
    position: Callable[[bytes], int]
    # What gives rows their positions before they're read, where their writers don't.
    number: Callable[[Database, str, Collection[int]], object] | None = None
    poll_seconds: float = POLL_SECONDS


class NotDelivered(Exception):  # noqa: N818  named for what is wrong
    """The brokers don't hold all rows of a round."""


# What passes: the relay forgets what it believes and begins again from the stored positions.
AWAY = (DatabaseAway, log.BrokerAway, RegistryAway, NotDelivered, Stale, FailPoint)


@dataclass(slots=True, kw_only=True)
class Relay:
    """Publishes one source under leases in ``subscriptions``; runs in a thread of its own."""

    publication: Publication
    database: Database
    bootstrap_servers: str
    partitions: int
    owner: str
    published: int = 0
    failure: str | None = None
    _held: dict[int, Held] = field(default_factory=dict)
    _at: dict[int, int] = field(default_factory=dict)  # positions, as moved by us
    _leased_until: float = 0.0
    _renew_at: float = 0.0
    _producer: Producer | None = None

    def run(self, stop: threading.Event) -> None:
        """Relay until ``stop``; a broken invariant ends it and is told in :attr:`failure`."""
        backoff = BACKOFF_SECONDS[0]
        while not stop.is_set():
            try:
                with self._listening(stop) as wait:
                    self._follow(stop, wait)
                backoff = BACKOFF_SECONDS[0]
            except AWAY as trouble:
                logger.warning("relay: again in %.1f s: %s", backoff, trouble)
                self._forget()
                stop.wait(backoff)
                backoff = min(backoff * 2, BACKOFF_SECONDS[1])
            except (HistoryLost, RowsMissing) as broken:
                self.failure = str(broken)
                logger.critical("relay stopped: %s", broken)
                break
            except Exception as error:  # a thread that died in silence would show only as lag
                self.failure = type(error).__name__
                logger.critical("relay stopped: %s", self.failure)
                break
        self._close()

    def _listening(
        self, stop: threading.Event
    ) -> AbstractContextManager[Callable[[float], object]]:
        channel = self.publication.channel
        return nullcontext(stop.wait) if channel is None else rows.listening(self.database, channel)

    def _follow(self, stop: threading.Event, wait: Callable[[float], object]) -> None:
        while not stop.is_set():
            self._renew()
            if not self.round():
                wait(self.publication.poll_seconds)

    def round(self) -> int:
        """Publish the next rows of every partition that is ours; return how many."""
        held = dict(self._held)  # as they're read: a lease renewed meanwhile may begin elsewhere
        source, number = self.publication.source, self.publication.number
        if number is not None and held:
            number(self.database, source.topic, held)
        read = {
            partition: rows.read(
                self.database, source, each,
                after=self._at[partition], limit=BATCH_ROWS,
            )
            for partition, each in held.items()
        }  # fmt: skip
        batches = {
            partition: [self.publication.encode(row) for row in batch]
            for partition, batch in read.items()
            if batch
        }
        if not batches:
            return 0
        if time.monotonic() >= self._leased_until:
            raise Stale("the lease ran out while rows were read")
        self._publish(batches)
        hit("relay: published")
        for partition, batch in batches.items():
            rows.move(self.database, held[partition], to=batch[-1].position)
            self._at[partition] = batch[-1].position
        hit("relay: moved")
        count = sum(map(len, batches.values()))
        self.published += count
        return count

    def _publish(self, batches: Mapping[int, Sequence[Outgoing]]) -> None:
        """Hand the rows to the brokers and wait until they hold all of them.

        After a refused record an idempotent producer goes on with the next one and loses it
        for good (measured), so any failure ends this producer.
        """
        topic = self.publication.source.topic
        producer = self._producer = self._producer or self._make()
        failures: list[str] = []
        missing = 0

        def delivered(error: KafkaError | None, _: Message) -> None:
            nonlocal missing
            missing -= 1
            if error is not None:
                failures.append(error.name())

        for partition, batch in batches.items():
            for row in batch:
                self._produce(producer, topic, partition, row, delivered)
                missing += 1
        deadline = time.monotonic() + DELIVERY_SECONDS
        while missing and not failures and time.monotonic() < deadline:
            try:
                producer.flush(0.5)
            except (KafkaException, SystemError) as error:
                # Fatal: a refused record would leave a gap. The client raises that amid the
                # delivery reports, and a report that is called then fails with SystemError.
                raise NotDelivered(f"the producer ended: {type(error).__name__}") from error
            self._renew()
        if missing or failures:
            raise NotDelivered(f"rows are not with the brokers: {failures[:1] or 'time-out'}")

    def _produce(
        self,
        producer: Producer,
        topic: str,
        partition: int,
        row: Outgoing,
        delivered: Callable[[KafkaError | None, Message], None],
    ) -> None:
        try:
            producer.produce(
                topic, partition=partition, key=row.key, value=row.value,
                headers=row.headers, on_delivery=delivered,
            )  # fmt: skip
        except (BufferError, KafkaException) as error:
            raise NotDelivered(f"row not taken by the producer: {type(error).__name__}") from error

    def _renew(self) -> None:
        """Renew our leases, take free partitions; check each new one against the topic."""
        now = time.monotonic()
        if now < self._renew_at:
            return
        held = self._lease()
        for partition, each in held.items():
            before = self._held.get(partition)
            if before is None or before.epoch != each.epoch:
                if time.monotonic() >= now + RENEW_SECONDS:  # the checks mustn't outlast the lease
                    now = time.monotonic()
                    self._lease()
                self._check(each)
                self._at[partition] = each.last_position
        lost = self._held.keys() - held.keys()
        self._held = held
        self._leased_until, self._renew_at = now + LEASE_SECONDS, now + RENEW_SECONDS
        if lost:
            raise Stale(f"another relay has taken partitions: {sorted(lost)}")

    def _lease(self) -> dict[int, Held]:
        leased = rows.lease(
            self.database, self.publication.source, partitions=self.partitions, owner=self.owner
        )
        return {each.partition: each for each in leased}

    def _check(self, held: Held) -> None:
        """Stop where the topic is ahead of the table: the database lost what was published."""
        source = self.publication.source
        published = self._published(held.partition)
        own = source.topic if source.own else None
        head = rows.head(self.database, held.partition, source.inbound, own)
        if published > head:
            raise HistoryLost(
                f"{source.topic}/{held.partition} holds {published}, the database only {head}: "
                "the database lost commits; restore it to a later point"
            )

    def _published(self, partition: int) -> int:
        """The highest position among the topic's last records; a foreign record has none."""
        topic = self.publication.source.topic
        highest = 0
        for record in log.last_records(self.bootstrap_servers, topic, partition):
            try:
                highest = max(highest, self.publication.position(record.value() or b""))
            except (Undecodable, KeyError):
                logger.warning("not ours: %s/%d at %d", topic, partition, record.offset())
        return highest

    def _make(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "enable.idempotence": True,
                "enable.gapless.guarantee": True,
                "acks": "all",
                "message.timeout.ms": 0,
                "linger.ms": 2,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",
                "message.max.bytes": RECORD_BYTES_MAX,
                "queue.buffering.max.messages": 1_000_000,
                **log.QUIET,
            }
        )

    def _forget(self) -> None:
        """Drop the producer with all it holds, and what we believe of our leases."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaException, SystemError):  # a fatal one says again that it is
                producer.purge()
                producer.flush(1.0)
        self._held, self._at, self._renew_at = {}, {}, 0.0

    def _close(self) -> None:
        self._forget()
        try:
            rows.release(self.database, self.publication.source, owner=self.owner)
        except DatabaseAway:
            logger.info("leases not given up: they run out by themselves")
