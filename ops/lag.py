"""How far every processor is behind, in records and in seconds, by partition.

    with Gauge.open(settings) as gauge:
        lag = gauge.measure()

Positions are read first, in one snapshot, and the ends of the topics afterwards: so if every
part is 0 and nobody sends, everything sent has arrived.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from ops import access
from ops.behind import Behind, Lag, Place, Stopped
from ops.settings import Settings
from schemas.topics import (
    COMMAND_RESULTS,
    COMMANDS,
    ERASURES,
    EVENTS,
    HL7V2,
    LETTERS,
    POINTS,
    VERIFICATIONS,
)
from sinks import queries, verified
from sinks.queries import Backlog, Standing
from sinks.subscriptions import OUTCOMES
from sinks.verified import Undecided
from streams.log import FETCH, REPLY_SECONDS, BrokerAway, TopicMissing
from streams.ports import group

PEEK_SECONDS = 3.0  # for the age of waiting records; what isn't known then shows as unknown
JUDGE = "judge"  # whose work waits in a table of marks, not in a topic


# librdkafka would print to the terminal, over what is shown there.
_QUIET = logging.getLogger("wardtrail.librdkafka")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """A processor, its subscriptions, and the topic that all of them read."""

    processor: str
    subscriptions: tuple[str, ...]
    topic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Publisher:
    """A relay: its subscription, the topic it writes, the table it reads and its time column.

    ``unnumbered`` tells rows that wait for the relay to place them, where it does that.
    """

    subscription: str
    topic: str
    table: str
    time: str
    unnumbered: LiteralString = "false"


READERS = (
    Reader(processor="ledger", subscriptions=("ledger",), topic=HL7V2.name),
    Reader(processor="ledger", subscriptions=("ledger",), topic=COMMANDS.name),
    Reader(processor="ledger", subscriptions=("ledger",), topic=ERASURES.name),
    Reader(
        processor="read-models",
        subscriptions=("patients", "admissions", "timeline", "work", "flightplans"),
        topic=EVENTS.name,
    ),
    Reader(processor="trajectory", subscriptions=("trajectory",), topic=EVENTS.name),
    Reader(processor="verification", subscriptions=("verification",), topic=EVENTS.name),
)
PUBLISHERS = (
    Publisher(subscription="relay", topic=EVENTS.name, table="events", time="recorded_at"),
    Publisher(
        subscription="relay:commands",
        topic=COMMAND_RESULTS.name,
        table="command_results",
        time="recorded_at",
    ),
    Publisher(
        subscription="relay:points",
        topic=POINTS.name,
        table="trajectory_points",
        time="known_from",
    ),
    Publisher(
        subscription="relay:verification",
        topic=VERIFICATIONS.name,
        table="verification_results",
        time="judged_at",
    ),
    Publisher(
        subscription="relay:letters",
        topic=LETTERS.name,
        table="dead_letters",
        time="created_at",
        unnumbered="row.announced IS DISTINCT FROM row.state",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """Measures with connections to the brokers that it keeps."""

    database_url: str
    admin: AdminClient
    consumer: Consumer

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator["Gauge"]:
        """A gauge for as long as the block runs; raises `NotConfigured`."""
        servers = access.bootstrap_servers(settings)
        url = access.role_url(settings, "wt_worker")
        reading = {
            "bootstrap.servers": servers,
            "group.id": "wardtrail-gauge",  # never joined: partitions are assigned by hand
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.message.max.bytes": 1024,  # one record of each is enough
            **FETCH,
        }
        consumer = Consumer(reading, logger=_QUIET)
        try:
            admin = AdminClient({"bootstrap.servers": servers}, logger=_QUIET)
            yield cls(database_url=url, admin=admin, consumer=consumer)
        finally:
            consumer.close()

    def measure(self) -> Lag:
        """Look once; raises `DatabaseAway`, `NotMigrated`, `BrokerAway`, `TopicMissing`."""
        with _asking():
            count = self._partitions()
        with queries.as_overseer(self.database_url) as snapshot:
            standings = {
                (each.subscription_id, each.topic, each.partition): each
                for each in queries.standings(snapshot)
            }
            backlogs = {
                each.subscription: queries.backlog(
                    snapshot, each.subscription,
                    table=each.table, time=each.time, partitions=count[each.topic],
                    unnumbered=each.unnumbered,
                )
                for each in PUBLISHERS
            }  # fmt: skip
            judged = verified.undecided(snapshot, partitions=count.get(VERIFICATIONS.name, []))
        now = datetime.now(UTC)
        with _asking():
            rows = list(self._readers(count, standings, now))
        published = [
            _publisher(each, standings, backlog, now)
            for each in PUBLISHERS
            for backlog in backlogs[each.subscription]
        ]
        published += [_judge(each, now) for each in judged]
        order = {name: number for number, name in enumerate(_ORDER)}
        rows = sorted(
            [*rows, *published], key=lambda each: (order[each.subscription], each.partition)
        )
        return Lag(at=now, partitions=tuple(rows))

    def _partitions(self) -> dict[str, list[int]]:
        """The partitions of every topic of the line."""
        topics = self.admin.list_topics(timeout=REPLY_SECONDS).topics
        found: dict[str, list[int]] = {}
        for name in dict.fromkeys(each.topic for each in (*READERS, *PUBLISHERS)):
            if name not in topics:
                raise TopicMissing(f"no such topic: {name}")
            found[name] = sorted(topics[name].partitions)
        return found

    def _readers(
        self,
        count: Mapping[str, Sequence[int]],
        standings: Mapping[tuple[str, str, int], Standing],
        now: datetime,
    ) -> Iterator[Behind]:
        places = [(each.topic, number) for each in READERS for number in count[each.topic]]
        first, end = (self._offsets(places, spec) for spec in (_EARLIEST, _LATEST))
        committed: dict[str, dict[Place, int]] = defaultdict(dict)
        for each in READERS:
            committed[each.processor] |= self._committed(each, count[each.topic])
        read = [
            (each.processor, name, (each.topic, number))
            for each in READERS
            for name in each.subscriptions
            for number in count[each.topic]
        ]
        held = {(name, place): standings.get((name, *place)) for _, name, place in read}
        # What retention removed before anybody read it doesn't wait any more.
        at = {
            (name, place): max(standing.next_offset if standing else 0, first[place])
            for (name, place), standing in held.items()
        }
        ages = self._ages({(*place, n) for (_, place), n in at.items() if n < end[place]}, now)
        for processor, name, place in read:
            standing, here = held[name, place], at[name, place]
            records = max(0, end[place] - here)
            yield Behind(
                processor=processor,
                subscription=name,
                topic=place[0],
                partition=place[1],
                records=records,
                seconds=ages.get((*place, here)) if records else 0.0,
                next_offset=standing.next_offset if standing else 0,
                committed_offset=committed[processor].get(place),
                **_held(standing),
            )

    def _offsets(self, places: Sequence[Place], spec: OffsetSpec) -> dict[Place, int]:
        asked = self.admin.list_offsets(
            {TopicPartition(*place): spec for place in places}, request_timeout=REPLY_SECONDS
        )
        return {
            (tp.topic, tp.partition): future.result(REPLY_SECONDS).offset
            for tp, future in asked.items()
        }

    def _committed(self, reader: Reader, partitions: Sequence[int]) -> dict[Place, int]:
        """The group's committed offsets, where it has any."""
        wanted = [TopicPartition(reader.topic, number) for number in partitions]
        request = ConsumerGroupTopicPartitions(group(reader.processor), wanted)
        asked = self.admin.list_consumer_group_offsets([request], request_timeout=REPLY_SECONDS)
        answer = next(iter(asked.values())).result(REPLY_SECONDS)
        return {
            (tp.topic, tp.partition): tp.offset
            for tp in answer.topic_partitions
            if tp.offset >= 0  # none is below zero
        }

    def _ages(
        self, wanted: set[tuple[str, int, int]], now: datetime
    ) -> dict[tuple[str, int, int], float]:
        """How old the records at these offsets are, in seconds, as far as they come in time."""
        ages: dict[tuple[str, int, int], float] = {}
        deadline = time.monotonic() + PEEK_SECONDS
        left = set(wanted)
        while left and time.monotonic() < deadline:
            # One position in a partition at a time: several subscriptions may read the same.
            chosen = {(topic, number): at for topic, number, at in sorted(left)}
            self.consumer.assign([TopicPartition(*place, at) for place, at in chosen.items()])
            missing = set(chosen)
            while missing and time.monotonic() < deadline:
                message = self.consumer.poll(0.1)
                if message is None or message.error() is not None:
                    continue
                place = (message.topic(), message.partition())
                if place in missing:
                    missing.discard(place)
                    age = now.timestamp() - message.timestamp()[1] / 1000
                    ages[(*place, chosen[place])] = max(0.0, round(age, 3))
            left -= {(*place, at) for place, at in chosen.items()}
        self.consumer.unassign()
        return ages


def _publisher(
    publisher: Publisher,
    standings: Mapping[tuple[str, str, int], Standing],
    backlog: Backlog,
    now: datetime,
) -> Behind:
    held = standings.get((publisher.subscription, publisher.topic, backlog.partition))
    return Behind(
        processor=publisher.subscription,
        subscription=publisher.subscription,
        topic=publisher.topic,
        partition=backlog.partition,
        records=backlog.rows,
        seconds=_waited(backlog.since, now),
        next_offset=None,
        committed_offset=None,
        **_held(held),
    )


def _judge(undecided: Undecided, now: datetime) -> Behind:
    """The patients of a partition's events who are due; a feed's progress alone has no age."""
    nobody = _held(None)
    return Behind(
        processor=JUDGE,
        subscription=JUDGE,
        topic=VERIFICATIONS.name,
        partition=undecided.partition,
        records=undecided.patients,
        seconds=_waited(undecided.since, now),
        next_offset=None,
        committed_offset=None,
        **{**nobody, "outcomes": {**nobody["outcomes"], "parked": undecided.failed}},
    )


def _waited(since: datetime | None, now: datetime) -> float:
    """Seconds since something began to wait; 0 where nothing does."""
    return max(0.0, round((now - since).total_seconds(), 3)) if since else 0.0


def _held(held: Standing | None) -> dict[str, Any]:
    """What a subscription's row says, or that nobody took it yet."""
    if held is None:
        return {
            "last_position": 0,
            "epoch": 0,
            "owner": None,
            "outcomes": dict.fromkeys(OUTCOMES, 0),
        }
    return {
        "last_position": held.last_position,
        "epoch": held.epoch,
        "owner": held.owner,
        "outcomes": held.outcomes,
        "stopped": _stopped(held),
    }


def _stopped(held: Standing) -> Stopped | None:
    if held.stopped is None or held.stopped_said is None or held.stopped_at is None:
        return None
    return Stopped(kind=held.stopped, said=held.stopped_said, since=held.stopped_at)


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except KafkaException as error:
        raise BrokerAway(f"the brokers can't answer now: {error.args[0].name()}") from error
    except TimeoutError as error:
        raise BrokerAway("the brokers don't answer within the time-out") from error


_ORDER = (
    "ledger", "relay", "relay:commands", "patients", "admissions", "timeline", "work",
    "flightplans", "trajectory", "relay:points", "verification", JUDGE, "relay:verification",
    "relay:letters",
)  # fmt: skip
_EARLIEST, _LATEST = OffsetSpec.earliest(), OffsetSpec.latest()
