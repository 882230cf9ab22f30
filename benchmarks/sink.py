"""The sink against bare psycopg: the same rows into the same tables, by COPY and merge.

The bare side is given its rows ready, as tuples with their JSON written out, and only copies,
merges and commits; the sink gets decoded events and does all that it always does: locks,
checks every position, folds, writes, moves, commits.
"""

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import orjson
import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy import Table

from benchmarks.figures import Figure, figure, in_turns
from benchmarks.material import RECORD, Events, recorded
from benchmarks.place import Place, Size, Stored
from ops import access
from ops.deploy import DEMO_TENANT
from ops.settings import Settings
from schemas.codec import Codec
from schemas.events import Event
from schemas.topics import EVENTS
from sinks import subscriptions, transaction
from sinks.changes import Change, Put, columns
from sinks.database import Database, for_tenants, parameters
from sinks.projection import Projection, Rows
from sinks.subscriptions import Held
from sinks.tables import timeline_events
from streams.ownership import Ownership
from streams.projector import Projector
from streams.read_models import timeline

BATCHES = (2_000, 5_000, 10_000)
PIPELINED = 5_000  # records a batch
ASKED = 0.6
Row = tuple[Any, ...]


def run(place: Place, size: Size) -> list[Figure]:
    """New rows and changed rows at each batch size, and decoding beside the writing."""
    settings = place.beside("bench_sink")
    figures: list[Figure] = []
    place.recycle(settings)
    with closing(place.database(settings)) as database:
        for count in BATCHES:
            for name, projection in (("new", _NEW), ("changed", _CHANGED)):
                figures += _compare(place, settings, database, name, projection, count, size)
        figures += _pipelined(place, settings, database, size)
    return figures


def _put(events: Sequence[Event], rows: Rows) -> list[Change]:  # noqa: ARG001  loads nothing
    """The timeline's rows as changes of rows that may stand."""
    return [Put(timeline_events, timeline.row(event)) for event in events]


_NEW = timeline.PROJECTION
_CHANGED = replace(_NEW, name="timeline:put", fold=_put)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sink:
    """The product's way: one partition of a subscription, held for one comparison."""

    database: Database
    held: Held
    projection: Projection
    settings: Settings

    def write(self, events: Sequence[Event]) -> float:
        """Apply a batch; rows a second."""
        batch, line = recorded(events), access.root(self.settings).line()
        start = perf_counter()
        transaction.apply(self.database, self.projection, self.held, batch, line=line)
        return len(events) / (perf_counter() - start)


@dataclass(frozen=True, slots=True)
class Bare:
    """The plain way: a connection, a temporary table, COPY, INSERT … ON CONFLICT, commit."""

    connection: psycopg.Connection[Any]
    table: Table

    @classmethod
    def open(cls, url: str, table: Table) -> "Bare":
        """Connect as the sink does; make the temporary table."""
        connection = psycopg.connect(url, autocommit=True, **parameters("bare"))
        connection.execute(
            SQL("CREATE TEMPORARY TABLE stage ON COMMIT DELETE ROWS AS {} WITH NO DATA").format(
                SQL("SELECT {} FROM {}").format(_names(table), Identifier(table.name))
            )
        )
        return cls(connection, table)

    def write(self, rows: Sequence[Row]) -> float:
        """Copy and merge rows in one transaction; rows a second."""
        names, target = _names(self.table), Identifier(self.table.name)
        merged = SQL(", ").join(
            SQL("{0} = excluded.{0}").format(Identifier(name))
            for name in columns(self.table)
            if name != "id"
        )
        start = perf_counter()
        with self.connection.transaction():
            for_tenants(self.connection, [DEMO_TENANT])
            with self.connection.cursor().copy(
                SQL("COPY stage ({}) FROM STDIN").format(names)
            ) as stream:
                for row in rows:
                    stream.write_row(row)
            self.connection.execute(
                SQL(
                    "INSERT INTO {} ({}) SELECT {} FROM stage ON CONFLICT (id) DO UPDATE SET {}"
                ).format(target, names, names, merged)
            )
        return len(rows) / (perf_counter() - start)


def _names(table: Table) -> Any:  # noqa: ANN401  psycopg's composed SQL
    return SQL(", ").join(map(Identifier, columns(table)))


def ready(changes: Sequence[Change]) -> list[Row]:
    """Rows as COPY takes them."""
    return [
        tuple(
            orjson.dumps(value).decode() if isinstance(value, dict) else value
            for value in (change.row[name] for name in columns(change.table))
        )
        for change in changes
    ]


def _compare(
    place: Place, settings: Settings, database: Database, name: str, projection: Projection,
    count: int, size: Size,
) -> list[Figure]:  # fmt: skip
    """Both ways at one batch size; for changed rows both write over rows that stand."""
    count = size.batch(count)
    events, others = Events(f"sink {uuid.uuid4()}"), Events(f"bare {uuid.uuid4()}")
    sink = _Sink(
        database=database, projection=projection, settings=settings,
        held=hold(place, settings, database, projection.name),
    )  # fmt: skip
    ids: Sequence[str | None] = [None] * count
    its: Sequence[str | None] = [None] * count
    bare = Bare.open(place.url(settings), timeline_events)
    if name == "changed":
        ids, its = [[str(uuid.uuid4()) for _ in range(count)] for _ in range(2)]

    def ours() -> float:
        return sink.write([events.next(event_id=each) for each in ids])

    def plain() -> float:
        made = [others.next(event_id=each) for each in its]
        return bare.write(ready(projection.fold(made, {})))

    with closing(bare.connection):
        ours(), plain()  # the first round makes the rows that later ones change
        found = in_turns({"sink": ours, "bare": plain}, rounds=size.rounds)
    here = f"{name} rows, batches of {count:,}"
    to = f"bare psycopg: {here}"
    return [
        figure(to, found["bare"], "rows/s"),
        figure(f"sink: {here}", found["sink"], "rows/s", to=(to, found["bare"]), asked=ASKED),
    ]


def hold(place: Place, settings: Settings, database: Database, name: str) -> Held:
    """Take a partition that nobody has read before."""
    with database.connection() as connection:
        row = connection.execute(
            "SELECT coalesce(max(partition), 99) + 1 AS free FROM subscriptions"
        ).fetchone()
    assert row is not None, "an aggregate has a row"
    at = (EVENTS.name, row["free"])
    taken = subscriptions.take(
        database, place.url(settings), name, [at], owner="benchmark", topic_ids={}
    )
    return taken[at]


def _pipelined(place: Place, settings: Settings, database: Database, size: Size) -> list[Figure]:
    """From encoded records to rows: one batch after the other, and decoding one ahead."""
    count = size.batch(PIPELINED)
    codec = place.codec()
    projector = Projector(
        name="timeline", projections=(_NEW,), database=database, codec=codec,
        root=access.root(settings),
        ownership=Ownership(
            database=database, url=place.url(settings), subscriptions=(),
            bootstrap_servers=place.bootstrap_servers, owner="benchmark",
        ),
    )  # fmt: skip
    line = access.root(settings).line()

    def batches() -> tuple[Held, list[list[Stored]]]:
        held = hold(place, settings, database, _NEW.name)
        events = Events(f"pipelined {uuid.uuid4()}")
        return held, [encoded(codec, [events.next() for _ in range(count)]) for _ in range(4)]

    def decode(records: Sequence[Stored]) -> list[transaction.Recorded]:
        return projector.prepare(EVENTS.name, 0, records)

    def in_a_row() -> float:
        held, made = batches()
        start = perf_counter()
        for records in made:
            transaction.apply(database, _NEW, held, decode(records), line=line)
        return count * len(made) / (perf_counter() - start)

    def one_ahead() -> float:
        held, made = batches()
        start = perf_counter()
        with ThreadPoolExecutor(1) as ahead:
            decoded = [ahead.submit(decode, records) for records in made]
            for batch in decoded:
                transaction.apply(database, _NEW, held, batch.result(), line=line)
        return count * len(made) / (perf_counter() - start)

    ways: dict[str, Callable[[], float]] = {"in a row": in_a_row, "ahead": one_ahead}
    found = in_turns(ways, rounds=size.rounds)
    to = "decode, then write"
    return [
        figure(to, found["in a row"], "events/s"),
        figure("decode ahead of writing", found["ahead"], "events/s", to=(to, found["in a row"])),
    ]


def encoded(codec: Codec, events: Sequence[Event]) -> list[Stored]:
    """Events as records of ``clinical.events.v1``."""
    return [
        Stored(
            EVENTS.name, event["partition"], event["partition_seq"] - 1,
            event["stream_id"].encode(), codec.encode(RECORD, event),
        )
        for event in events
    ]  # fmt: skip
