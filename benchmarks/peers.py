"""Compares with what one would otherwise use: HL7 parsers, and a consumer written by hand.

A peer that isn't installed is skipped with a line that says so; nothing is installed here.
"""

import asyncio
import importlib.util
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import hl7
import psycopg
from aiokafka import AIOKafkaConsumer
from psycopg.sql import SQL, Identifier

from benchmarks.figures import Figure, figure, in_turns, machine
from benchmarks.material import RECORD, Events
from benchmarks.place import FULL, PARTITIONS, Place, Size, Stored, opened
from benchmarks.run import show
from benchmarks.sink import hold, ready
from ops import access
from ops.deploy import DEMO_TENANT
from ops.simulator import day, sized
from schemas.events import Event
from schemas.feeds import Feed
from schemas.topics import EVENTS
from sinks import transaction
from sinks.changes import columns
from sinks.database import for_tenants, parameters
from sinks.transaction import Recorded
from streams.ledger.mapping.hl7v2 import map_message
from streams.ledger.mapping.message import parse
from streams.read_models import timeline
from streams.transport import CHUNK_RECORDS

MESSAGES = 1_000
HL7APY = 20  # messages a round
EVENTS_READ = 20_000
IDLE_MS = 1_000
ROUNDS_MAX = 3
Measured = tuple[list[Figure], str | None]


def measure(place: Place, size: Size) -> Iterator[Measured]:
    """Each comparison: its figures, or why it was skipped."""
    yield _parsers(size)
    yield _by_hand(place, size), None


def _parsers(size: Size) -> Measured:
    """An ADT: our parser, and all of the mapping, against the parsers of hl7 and hl7apy."""
    count = size.of(MESSAGES, least=20)
    bodies = [each.body for each in day(sized(count)) if b"|ADT^" in each.body][:count]
    feed = Feed(feed_id=uuid.uuid4(), tenant_id=DEMO_TENANT, name="bench", authority="bench")
    now = datetime.now(UTC)

    def spent(each: Any, bodies: Sequence[bytes] = bodies) -> float:  # noqa: ANN401  a function
        start = perf_counter()
        for body in bodies:
            each(body)
        return (perf_counter() - start) / len(bodies) * 1e6

    ways = {
        "python-hl7: parse": lambda: spent(lambda body: hl7.parse(body.decode())),
        "ours: parse": lambda: spent(lambda body: parse(body, charset=None)),
        "ours: parse and map to events": lambda: spent(
            lambda body: map_message(body, feed, received_at=now)
        ),
    }
    skipped = "hl7apy isn't installed here: not compared"
    if importlib.util.find_spec("hl7apy") is not None:
        from hl7apy.parser import parse_message

        few, skipped = bodies[:HL7APY], None  # each takes milliseconds
        ways["hl7apy: parse"] = lambda: spent(lambda body: parse_message(body.decode()), few)
    found = in_turns(ways, rounds=size.rounds)
    to, *others = found
    return [
        figure(to, found[to], "µs an ADT"),
        *(figure(each, found[each], "µs an ADT", to=(to, found[to])) for each in others),
    ], skipped


def _by_hand(place: Place, size: Size) -> list[Figure]:
    """Topic to timeline rows: aiokafka with executemany, and aiokafka with our sink.

    The one by hand commits offsets to Kafka after the rows: on a crash between it would write
    again, which its ON CONFLICT hides. Ours moves the position in the same transaction.
    """
    settings, codec = place.beside("bench_peers"), place.codec()
    count = size.of(EVENTS_READ, least=100)
    key = access.root(settings).line()

    def filled() -> str:
        """A topic of its own, each partition's events numbered from 1 on."""
        topic = place.new_topic("peers")
        for number in range(PARTITIONS):
            maker = Events(f"{uuid.uuid4()}")
            made = [maker.next(partition=number) for _ in range(count // PARTITIONS)]
            records = [(e["stream_id"].encode(), codec.encode(RECORD, e)) for e in made]
            place.fill(topic, records, partition=number)
        return topic

    def decoded(records: Sequence[Stored]) -> list[Event]:
        return [codec.decode_as(RECORD, record.value or b"") for record in records]  # type: ignore[misc]  # a dict of that shape

    with closing(place.database(settings)) as database:

        def ours(topic: str) -> float:
            held = {n: hold(place, settings, database, "timeline") for n in range(PARTITIONS)}

            def write(partition: int, records: Sequence[Stored]) -> None:
                places = [
                    Recorded(event["partition_seq"] - 1, None, None, event)
                    for event in decoded(records)
                ]
                transaction.apply(database, timeline.PROJECTION, held[partition], places, line=key)

            return asyncio.run(_read(place, topic, count, write))

        def by_hand(topic: str) -> float:
            statement = SQL("INSERT INTO timeline_events ({}) VALUES ({}) ON CONFLICT DO NOTHING")
            names = columns(timeline.timeline_events)
            insert = statement.format(
                SQL(", ").join(map(Identifier, names)), SQL(", ").join([SQL("%s")] * len(names))
            )
            with psycopg.connect(place.url(settings), **parameters("peer")) as connection:

                def write(_: int, records: Sequence[Stored]) -> None:
                    for_tenants(connection, [DEMO_TENANT])
                    rows = ready(timeline.fold(decoded(records), {}))
                    with connection.cursor() as cursor:
                        cursor.executemany(insert, rows)
                    connection.commit()

                return asyncio.run(_read(place, topic, count, write))

        ways = {
            "ours": lambda: ours(filled()),
            "hand": lambda: by_hand(filled()),
        }
        found = in_turns(ways, rounds=min(size.rounds, ROUNDS_MAX))
    to = ("aiokafka and executemany", found["hand"])
    return [
        figure(to[0], found["hand"], "events/s"),
        figure("aiokafka and our sink", found["ours"], "events/s", to=to),
    ]


async def _read(place: Place, topic: str, count: int, write: Any) -> float:  # noqa: ANN401
    """Read a topic from its start in chunks; events a second from the first chunk on."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=place.bootstrap_servers, group_id=f"peer-{uuid.uuid4()}",
        auto_offset_reset="earliest", enable_auto_commit=False,
    )  # fmt: skip
    await consumer.start()
    try:
        start, seen = 0.0, 0
        while seen < count // PARTITIONS * PARTITIONS:
            read = await consumer.getmany(timeout_ms=IDLE_MS, max_records=CHUNK_RECORDS)
            for place_, records in read.items():
                start = start or perf_counter()
                write(
                    place_.partition,
                    [
                        Stored(EVENTS.name, place_.partition, r.offset, r.key, r.value)
                        for r in records
                    ],
                )
                seen += len(records)
            await consumer.commit()
        return seen / (perf_counter() - start)
    finally:
        await consumer.stop()


def main() -> int:
    figures: list[Figure] = []
    with opened() as place:
        for measured, skipped in measure(place, FULL):
            figures += measured
            if skipped:
                print(skipped)
        postgresql, kafka = place.versions()
    show(figures, machine(postgresql=postgresql, kafka=kafka))
    return 0


if __name__ == "__main__":
    sys.exit(main())
