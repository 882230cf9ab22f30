"""The ledger's processor over real rows, and short ADT messages about who is whom."""

import itertools
import uuid
from collections import Counter
from dataclasses import dataclass

import pytest

from schemas import identity
from schemas.codec import Codec, Ids
from schemas.identity import Identifier
from schemas.sealing import Root
from sinks import joins, ledger, tenancy
from sinks.tenancy import Secrets
from streams import log
from streams.ledger.processor import Ledger
from streams.ownership import Ownership
from tests.keyed import everyone

TOPIC, RECORD = "emr.hl7v2.v1", "wardtrail.raw.Hl7v2Message"
CODEC = Codec(Ids.in_order())
ROOT = Root(bytes(range(32)))
TENANT, OTHER = uuid.UUID(int=0x7E), uuid.UUID(int=0x7F)
FEEDS = {TENANT: uuid.UUID(int=0xF1), OTHER: uuid.UUID(int=0xF2)}
RECEIVED = 1_772_443_800_000_000
PARTITIONS = 4


@dataclass(frozen=True)
class Got:
    """A record as Kafka gives it, as far as a processor looks."""

    offset: int
    value: bytes
    key: bytes = b"key"


class Line:
    """The ledger's processor, and what it wrote."""

    def __init__(self, store, processor):
        self.store, self.processor = store, processor
        self.offsets = [itertools.count() for _ in range(PARTITIONS)]
        self.numbers = itertools.count(1)

    def keys(self, tenant=TENANT):
        return everyone(self.processor.keyring, self.store, tenant)

    def send(self, *bodies, partition=0, tenant=TENANT):
        """A batch of messages by one partition."""
        records = []
        for body in bodies:
            message_id = uuid.UUID(int=0x90000 + next(self.numbers))
            sealed = self.keys(tenant).seal(body, person=None, record=message_id, field="body")
            value = {
                "message_id": str(message_id), "tenant_id": str(tenant),
                "feed_id": str(FEEDS[tenant]), "received_at": RECEIVED,
                "message_type": "ADT", "size_bytes": len(body), "body": sealed, "trace": None,
            }  # fmt: skip
            records.append(Got(next(self.offsets[partition]), CODEC.encode(RECORD, value)))
        batch = self.processor.prepare(TOPIC, partition, records)
        return self.processor.apply(TOPIC, partition, batch)

    def patient(self, mrn, tenant=TENANT):
        """The patient whom a number is known for."""
        lookup = identity.lookup(self.keys(tenant).identity, numbered(mrn))
        [row] = self.store.rows(
            "SELECT patient_id FROM patient_identifiers WHERE value_hmac = %s",
            uuid.UUID(bytes=lookup),
        )
        return str(row["patient_id"])

    def survivor(self, mrn, tenant=TENANT):
        """Who that patient is now."""
        rows = self.store.rows("SELECT * FROM patient_aliases WHERE undone_at IS NULL")
        into = {str(row["patient_id"]): str(row["into_patient_id"]) for row in rows}
        patient = self.patient(mrn, tenant)
        while patient in into:
            patient = into[patient]
        return patient

    def admission(self, visit):
        return str(identity.admission(self.keys().identity, numbered(visit)))

    def events(self, **wanted):
        """The events, or those of a type or a stream, in order."""
        rows = self.store.rows("SELECT * FROM events ORDER BY partition, partition_seq")
        return [
            row for row in rows if all(str(row[name]) == wanted[name] for name in wanted)
        ]  # fmt: skip

    def visits(self):
        """The visits by the patient who has them now; a joined one is none."""
        owner = {}
        for row in self.events(stream_type="admission"):
            if row["event_type"] == joins.JOINED:
                owner.pop(str(row["stream_id"]), None)
            else:
                owner[str(row["stream_id"])] = row["data"]["patient_id"]
        return owner

    def told(self):
        """What holds now of everybody, however it came: types by stream, aliases, numbers."""
        streams = Counter((str(row["stream_id"]), row["event_type"]) for row in self.events())
        into = self.store.rows(
            "SELECT patient_id, into_patient_id, kind FROM patient_aliases"
            " WHERE undone_at IS NULL ORDER BY 1"
        )
        known = self.store.rows("SELECT value_hmac, patient_id FROM patient_identifiers ORDER BY 1")
        return streams, [tuple(row.values()) for row in into], [tuple(r.values()) for r in known]


@pytest.fixture
def line(store, monkeypatch):
    """The ledger's processor over two tenants with a feed each, holding every partition."""
    monkeypatch.setattr(log, "topic_ids", lambda _, topics: dict.fromkeys(topics, "id-1"))
    return made(store)


def made(store):
    for tenant, feed in FEEDS.items():
        name = f"t{tenant.int}"
        tenancy.create_tenant(
            store.database, tenant_id=tenant, name=name, subdomain=name, root=ROOT,
            secret=Secrets(tenant.bytes * 2, feed.bytes * 2),
        )  # fmt: skip
        tenancy.create_feed(store.database, tenant, name, feed_id=feed, settings={})
    ledger.ensure_partitions(store.database, "clinical.events.v1", PARTITIONS)
    processor = Ledger(
        database=store.database, codec=CODEC, root=ROOT,
        ownership=Ownership(
            database=store.database, url=store.worker, subscriptions=("ledger",),
            bootstrap_servers="", owner="test",
        ),
    )  # fmt: skip
    processor.take([(TOPIC, number) for number in range(PARTITIONS)], generation=1)
    return Line(store, processor)


def numbered(value):
    return Identifier(value=value, authority="NORTH")


def ids(values, kind="MR"):
    return "~".join(f"{value}^^^NORTH^{kind}" for value in values.split("~"))


def adt(
    trigger="A01", mrn="A", *, visit="VA", mrg=None, minute=0, mrg_visit="", bed="W1^R2^B3",
    account="", mrg_account="",
):  # fmt: skip
    """A message about one patient, and about another one in its MRG."""
    at = f"2026030209{minute:02}00"
    lines = [
        f"MSH|^~\\&|ADT|N|||{at}||ADT^{trigger}|77|P|2.5",
        f"EVN|{trigger}|{at}",
        f"PID|1||{ids(mrn)}||Rook^Ada||19010203|F"
        + (f"||||||||||{account}^^^NORTH^AN" if account else ""),
    ]
    if mrg is not None:
        number = mrg_account and f"{mrg_account}^^^NORTH^AN"
        lines.append(f"MRG|{ids(mrg)}||{number}||{mrg_visit and mrg_visit + '^^^NORTH^VN'}")
    if visit:
        lines.append(f"PV1|1|I|{bed}||||D7^Doctor||||||||||||{visit}^^^NORTH^VN")
    return "\r".join([*lines, ""]).encode()


def merge(target, source, *, minute=5, trigger="A40"):
    return adt(trigger, target, mrg=source, minute=minute, visit="")


def unlink(one, other, *, minute=9):
    at = f"2026030209{minute:02}00"
    return "\r".join(
        [f"MSH|^~\\&|ADT|N|||{at}||ADT^A37|77|P|2.5", f"EVN|A37|{at}",
         f"PID|1||{ids(one)}", f"PID|2||{ids(other)}", ""]
    ).encode()  # fmt: skip


def wiped(line):
    """As before the first message; the same line goes on."""
    line.store.run(
        "TRUNCATE events, streams, messages, patient_identifiers, patient_merges, patient_aliases,"
        " admission_aliases, visit_accounts, dead_letters"
    )
    line.store.run("UPDATE partitions SET next_seq = 1")
