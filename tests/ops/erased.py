"""A hospital whose people are erased: real rows, the real log, and who tells and folds it."""

import copy
import dataclasses
import itertools
import secrets
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from ops.erasing import Eraser
from schemas import identity
from schemas.sealing import Root
from schemas.topics import COMMANDS, ERASURES, EVENTS, HL7V2
from sinks import erasing, ledger, subscriptions, tenancy
from sinks.database import Database, for_tenants
from sinks.erasing import Asked
from sinks.keyring import Keyring
from sinks.stored import as_read
from sinks.tenancy import Secrets
from sinks.transaction import Recorded
from streams import erasures, log
from streams.ledger.processor import Ledger
from streams.ownership import Ownership
from streams.read_models import PROJECTIONS
from streams.trajectory import PROJECTION as TRAJECTORY
from tests.keyed import everyone
from tests.sinks.provisioned import apply
from tests.streams.ledger.told import CODEC, Got, numbered
from tests.topics import PARTITIONS, make_erasures

ROOT = Root(bytes(range(32)))
RECORD = HL7V2.records[0]
RECEIVED = 1_772_443_800_000_000
FOLDED = (*PROJECTIONS, TRAJECTORY)
decode = as_read(CODEC)


@contextmanager
def backup(store):
    """The database as it is now, file by file, under another name; a store on it."""
    name = f"backup_{uuid.uuid4().hex[:12]}"
    server = store.admin.rsplit("/", 1)[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (store.name,),
        )
        connection.execute(f"CREATE DATABASE {name} OWNER wt_owner TEMPLATE {store.name}")
        connection.execute(f"GRANT CONNECT, TEMPORARY ON DATABASE {name} TO wt_migrate, wt_worker")
    store.database.pool.check()  # those that were ended: one of a second ago is trusted
    urls = {
        each: getattr(store, each).replace(store.name, name)
        for each in ("admin", "worker", "app", "migrate")
    }
    restored = dataclasses.replace(
        store, name=name, database=Database.open(urls["worker"], name="test", size=8), **urls
    )
    try:
        yield restored
    finally:
        restored.database.close()
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass
class Ward:
    """One tenant with a feed; `servers` is where the log of erasures is."""

    store: object
    servers: str
    tenant: uuid.UUID = field(default_factory=uuid.uuid4)
    feed: uuid.UUID = field(default_factory=uuid.uuid4)

    def __post_init__(self):
        make_erasures(self.servers, HL7V2, COMMANDS)
        tenancy.create_tenant(
            self.store.database, tenant_id=self.tenant, name=str(self.tenant), subdomain=None,
            root=ROOT, secret=Secrets(secrets.token_bytes(32), secrets.token_bytes(32)),
        )  # fmt: skip
        tenancy.create_feed(
            self.store.database, self.tenant, "ward", feed_id=self.feed,
            settings={"authority": "NORTH"},
        )  # fmt: skip
        ledger.ensure_partitions(self.store.database, EVENTS.name, PARTITIONS)
        self.numbers = itertools.count(1)
        self.processor = self.worker()
        places = [(HL7V2.name, n) for n in range(PARTITIONS)]
        at = subscriptions.positions(self.store.database, ["ledger"], places)
        self.offsets = [itertools.count(at[place]) for place in places]
        self.at = {}
        for partition, _, upto, _ in log.pieces(self.servers, ERASURES.name, {}):
            self.at[partition] = upto
        for partition, upto in self.at.items():  # what other tests announced
            self.processor.skip(ERASURES.name, partition, upto=upto)

    def worker(self):
        """A ledger's process of its own, with its own keys at hand."""
        made = Ledger(
            database=self.store.database, codec=CODEC, root=ROOT,
            ownership=Ownership(
                database=self.store.database, url=self.store.worker, subscriptions=("ledger",),
                bootstrap_servers=self.servers, owner="test",
            ),
        )  # fmt: skip
        topics = (HL7V2.name, COMMANDS.name, ERASURES.name)
        made.take([(topic, n) for topic in topics for n in range(PARTITIONS)], generation=1)
        return made

    def keys(self):
        return everyone(Keyring(self.store.database, ROOT), self.store, self.tenant)

    def send(self, *bodies, partition=0, processor=None):
        """A batch of messages by one partition."""
        records, keys = [], Keyring(self.store.database, ROOT).tenant(self.tenant)
        for body in bodies:
            message_id = uuid.uuid5(self.tenant, str(next(self.numbers)))
            value = {
                "message_id": str(message_id), "tenant_id": str(self.tenant),
                "feed_id": str(self.feed), "received_at": RECEIVED, "message_type": "ADT",
                "size_bytes": len(body), "trace": None,
                "body": keys.seal(body, person=None, record=message_id, field="body"),
            }  # fmt: skip
            records.append(Got(next(self.offsets[partition]), CODEC.encode(RECORD, value)))
        processor = processor or self.processor
        batch = processor.prepare(HL7V2.name, partition, records)
        return processor.apply(HL7V2.name, partition, batch)

    def tell(self):
        """Have the ledger read the log of erasures to its end."""
        for partition, _, upto, found in log.pieces(self.servers, ERASURES.name, self.at):
            records = [Got(each.offset(), each.value(), each.key()) for each in found]
            if records:
                batch = self.processor.prepare(ERASURES.name, partition, records)
                self.processor.apply(ERASURES.name, partition, batch)
            self.at[partition] = upto

    def fold(self):
        """Have every projection fold what the ledger holds, of everybody."""
        with self.store.database.connection() as connection, connection.transaction():
            for_tenants(connection, tenancy.tenants(connection))
            rows = connection.execute(
                "SELECT * FROM events ORDER BY partition, partition_seq"
            ).fetchall()
        for projection, partition in itertools.product(FOLDED, range(PARTITIONS)):
            held = self.store.take(projection.name, partition, topic=EVENTS.name)
            found = [
                Recorded(row["partition_seq"] - 1, b"key", b"value", decode(row))
                for row in rows
                if row["partition"] == partition and row["partition_seq"] > held.last_position
            ]
            if found:
                apply(self.store, held, found, projection)

    def follow(self, said=""):
        """What workers do meanwhile."""
        if not said or said.startswith("waiting for the ledger"):
            self.tell()
            self.fold()

    def events(self, **wanted):
        rows = self.seen("SELECT * FROM events ORDER BY partition, partition_seq")
        return [row for row in rows if all(str(row[name]) == wanted[name] for name in wanted)]

    def points(self):
        return self.seen("SELECT * FROM trajectory_points")

    def seen(self, query):
        """As a worker sees it."""
        with self.store.database.connection() as connection, connection.transaction():
            for_tenants(connection, [self.tenant])
            return connection.execute(query).fetchall()

    def patient(self, mrn):
        lookup = identity.lookup(self.keys().identity, numbered(mrn))
        [row] = self.store.rows(
            "SELECT patient_id FROM patient_identifiers WHERE value_hmac = %s AND tenant_id = %s",
            uuid.UUID(bytes=lookup), self.tenant,
        )  # fmt: skip
        return row["patient_id"]

    def messages(self, **wanted):
        rows = self.store.rows(
            "SELECT * FROM messages WHERE tenant_id = %s"
            ' ORDER BY topic DESC, partition, "offset"', self.tenant,
        )  # fmt: skip
        return [row for row in rows if all(str(row[name]) == wanted[name] for name in wanted)]

    def request(self, patient, *, confirmed=1, database=None):
        return erasing.request(
            database or self.store.database,
            Asked(
                tenant_id=self.tenant, patient_id=patient, confirmed=confirmed,
                verification_method="in-person", requested_by="test", purpose="asked for it",
            ),
        )  # fmt: skip

    def eraser(self, **more):
        given = {
            "database": self.store.database, "migrate_url": self.store.migrate,
            "admin_url": self.store.admin, "bootstrap_servers": self.servers, "codec": CODEC,
            "service": ROOT, "held_seconds": 0.1, "wait_seconds": 0.0, "tell": self.follow,
        }  # fmt: skip
        return Eraser(**(given | more))

    def erase(self, patient, *, confirmed=1, **more):
        request = self.request(patient, confirmed=confirmed)
        return self.run(request, **more)

    def run(self, request, **more):
        [done] = self.eraser(**more).run(self.tenant, [request.id])
        return done

    def run_all(self, requests):
        return self.eraser().run(self.tenant, [each.id for each in requests])

    def on(self, store):
        """The same hospital on another database, where a ledger goes on by its positions."""
        other = copy.copy(self)
        other.store = store
        other.processor = other.worker()
        held = store.rows(
            "SELECT partition, next_offset FROM subscriptions"
            " WHERE subscription_id = 'ledger' AND topic = %s", ERASURES.name,
        )  # fmt: skip
        other.at = {row["partition"]: row["next_offset"] for row in held}
        return other

    def replay(self, database=None):
        done = self.replayed(database)
        assert not done.waiting
        return done.destroyed

    def replayed(self, database=None):
        return erasures.replay(database or self.store.database, self.servers, lambda: CODEC, ROOT)

    def announced(self, request):
        """The announcements of a request that the log holds."""
        return [
            each
            for _, _, _, found in log.pieces(self.servers, ERASURES.name, {})
            for record in found
            if (each := CODEC.decode(record.value())[1])["request_id"] == str(request.id)
        ]

    def model(self, patient):
        [row] = self.store.rows("SELECT * FROM patient_read_models WHERE id = %s", patient)
        return row["data"]

    @property
    def patients(self):
        """Everybody by the number that they are known for, of the form M1, M2, …"""
        key = self.keys().identity
        known = {
            row["value_hmac"]: row["patient_id"]
            for row in self.store.rows("SELECT value_hmac, patient_id FROM patient_identifiers")
        }
        asked = {n: uuid.UUID(bytes=identity.lookup(key, numbered(f"M{n}"))) for n in range(1000)}
        return {f"M{n}": known[each] for n, each in asked.items() if each in known}
