"""A provisioned and migrated database for each test, and rows to put through the sinks."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

import migrations
from schemas import failpoints, sealing
from schemas.clock import instant
from sinks import roles, subscriptions
from sinks import transaction as sink
from sinks.changes import Append, Put
from sinks.database import Database, as_role
from sinks.projection import Load, Projection
from sinks.subscriptions import Held
from sinks.tables import patient_read_models, timeline_events
from sinks.transaction import Recorded
from tests import conftest

PASSWORDS = {"wt_migrate": "m", "wt_worker": "w", "wt_app": "a"}
OURS, THEIRS = str(uuid.UUID(int=0xA)), str(uuid.UUID(int=0xB))
FEED = str(uuid.UUID(int=0xFEED))
LINE = sealing.Root(bytes(range(32))).line()
TOPIC = "clinical.events.v1"
START = 1_770_000_000_000_000  # an instant in 2026, in microseconds
_TEMPLATES: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A database as its roles reach it; `admin` is the superuser, for looking."""

    admin: str
    name: str
    worker: str
    app: str
    migrate: str
    database: Database
    opened: list[Database] = field(default_factory=list)

    def open(self, role: str = "worker", *, size: int = 4, url: str | None = None) -> Database:
        """Another pool, closed with the store."""
        made = Database.open(url or getattr(self, role), name="test", size=size)
        self.opened.append(made)
        return made

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What a query gives, past every policy."""
        with psycopg.connect(self.admin, autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(query, values or None).fetchall()

    def run(self, statement: str, *values: object) -> None:
        """Do something that no role of ours may."""
        with psycopg.connect(self.admin, autocommit=True) as connection:
            connection.execute(statement, values or None)

    def subscription(self, name: str = "tally", partition: int = 0) -> dict[str, Any]:
        """The row that says where a subscription stands."""
        [row] = self.rows(
            "SELECT * FROM subscriptions WHERE subscription_id = %s AND partition = %s",
            name, partition,
        )  # fmt: skip
        return row

    def take(
        self, name: str = "tally", *partitions: int, topic: str = TOPIC, owner: str = "test"
    ) -> Held:
        """Take partitions (0 if none is named); the first one."""
        places = [(topic, each) for each in partitions or (0,)]
        taken = subscriptions.take(
            self.database, self.worker, name, places, owner=owner, topic_ids={}
        )
        return taken[places[0]]


def template(server: Any) -> str:
    """The name of the one migrated database of this server, to be copied by each test."""
    admin = server.url()
    if admin not in _TEMPLATES:
        name = f"template_{uuid.uuid4().hex[:12]}"
        roles.provision(admin, name, PASSWORDS)
        migrations.upgrade(as_role(server.url(name), "wt_migrate", "m"))
        _TEMPLATES[admin] = name
    return _TEMPLATES[admin]


@contextmanager
def made(server: Any) -> Iterator[Store]:
    """A fresh copy of the migrated template on this server."""
    admin, copied = server.url(), template(server)
    name = f"store_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER wt_owner TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(copied)
            )
        )
    roles.provision(admin, name, PASSWORDS)  # another test may have set other passwords
    url = server.url(name)
    worker = as_role(url, "wt_worker", "w")
    made = Store(
        admin=url, name=name, worker=worker,
        app=as_role(url, "wt_app", "a"), migrate=as_role(url, "wt_migrate", "m"),
        database=Database.open(worker, name="test", size=8),
    )  # fmt: skip
    try:
        yield made
    finally:
        for each in (made.database, *made.opened):
            each.close()
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture
def migrated(stack: Any) -> Iterator[conftest.Database]:
    """A migrated database of this test's own; who asks sets the passwords."""
    with conftest.fresh_database(stack, template=template(stack)) as copied:
        yield copied


@pytest.fixture
def store(stack: Any) -> Iterator[Store]:
    """A provisioned database of this test's own."""
    with made(stack) as one:
        yield one


@pytest.fixture
def armed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Arms fail points as the variable would; none is armed before or after."""

    def arm(text: str) -> None:
        monkeypatch.setattr(failpoints, "_armed", failpoints.parse(text))
        failpoints._passages.clear()

    return arm


def stream_id(number: int) -> str:
    return str(uuid.UUID(int=0x5000 + number))


def event(seq: int, *, stream: int = 0, tenant: str = OURS, **given: Any) -> dict[str, Any]:
    """An event as it is decoded; `data` and every other field may be given."""
    return {
        "event_id": str(uuid.UUID(int=0xE000000 + seq)),
        "stream_type": "patient",
        "stream_id": stream_id(stream),
        "event_version": 1,
        "event_type": "patient.updated",
        "schema_version": 1,
        "tenant_id": tenant,
        "feed_id": FEED,
        "message_id": str(uuid.UUID(int=0x3E55A6E + seq)),
        "person_id": None,
        "occurred_at": START + seq,
        "occurred_precision": "second",
        "occurred_field": "EVN-2",
        "occurred_text": "",
        "recorded_at": START + 1_000_000 + seq,
        "partition": 0,
        "partition_seq": seq,
        "global_position": seq,
        "correlation_id": FEED,
        "causation_id": FEED,
        "mapper_version": 1,
        "trace": None,
        "created_by": FEED,
        "sealed": {},
        "data": {},
        **given,
    }


def record(offset: int, *, seq: int | None = None, **given: Any) -> Recorded:
    """The record at an offset, holding the event of that place (seq = offset + 1)."""
    happened: Any = event(offset + 1 if seq is None else seq, **given)
    return Recorded(offset, b"key", f"value {offset}".encode(), happened)


def unreadable(offset: int) -> Recorded:
    return Recorded(offset, b"key", b"junk", None, "not our format")


def records(first: int, last: int, *, streams: int = 3, **given: Any) -> list[Recorded]:
    """Records of offsets `first` to `last`, the last one too."""
    return [record(n, stream=n % streams, **given) for n in range(first, last + 1)]


class Raised(Exception):  # noqa: N818  named for what happened
    """What a fold raises here."""


def tally(events: Sequence[Any], rows: Mapping[str, Sequence[Any]]) -> list[Any]:
    """Keep each stream's list of positions in one row, and a row for each event."""
    loaded = rows[patient_read_models.name]
    seqs = list(loaded[0]["data"]["seqs"]) if loaded else []
    changes: list[Any] = []
    for happened in events:
        if happened["data"].get("raise"):
            raise Raised("told to")
        seqs.append(happened["partition_seq"])
        row = {
            "id": happened["event_id"], "tenant_id": happened["tenant_id"],
            "admission_id": happened["stream_id"],
            "event_type": happened["data"].get("type", happened["event_type"]),
            "occurred_at": instant(happened["occurred_at"]), "data": happened["data"],
            "partition": happened["data"].get("partition", 0),
            "partition_seq": happened["partition_seq"],
        }  # fmt: skip
        changes.append(Append(timeline_events, row))
    last = events[-1]
    at = instant(last["recorded_at"])
    changes.append(
        Put(
            patient_read_models,
            {
                "id": last["stream_id"], "tenant_id": last["tenant_id"], "data": {"seqs": seqs},
                "created_at": at, "updated_at": at, "partition": last["partition"],
                "partition_seq": last["partition_seq"],
            },
        )
    )  # fmt: skip
    return changes


TALLY = Projection(
    name="tally",
    reads=frozenset({"patient.updated"}),
    owns=(patient_read_models, timeline_events),
    loads=(Load(table=patient_read_models, by="id"),),
    fold=tally,
)


def apply(
    store: Store, held: Held, batch: Sequence[Recorded], projection: Projection = TALLY
) -> int:
    return sink.apply(store.database, projection, held, batch, line=LINE)


def applied(store: Store) -> list[int]:
    """The positions that the tally holds, by its own account, in order; both tables agree."""
    listed = store.rows("SELECT data FROM patient_read_models")
    each = store.rows("SELECT partition_seq FROM timeline_events ORDER BY partition_seq")
    seqs = [row["partition_seq"] for row in each]
    for row in listed:
        assert row["data"]["seqs"] == sorted(row["data"]["seqs"]), "a stream's order is kept"
    assert sorted(seq for row in listed for seq in row["data"]["seqs"]) == seqs
    return seqs


def counts(store: Store, name: str = "tally", partition: int = 0) -> dict[str, int]:
    """What became of the offsets passed; they add up (nothing vanishes)."""
    row = store.subscription(name, partition)
    found = {outcome: row[outcome] for outcome in subscriptions.OUTCOMES if row[outcome]}
    assert sum(found.values()) == row["next_offset"] - row["first_offset"]
    return found
