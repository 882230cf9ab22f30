"""The ledger's processor over two tenants, with an aggregate that counts beside ours."""

import itertools
import uuid
from dataclasses import dataclass

import pytest

from schemas import catalogue, commands
from schemas.sealing import Root
from sinks import ledger, tenancy
from sinks.tenancy import Secrets
from streams import log
from streams.ledger.commands import REGISTRY
from streams.ledger.commands.engine import Engine
from streams.ledger.commands.reading import Reading
from streams.ledger.processor import Ledger
from streams.ownership import Ownership
from tests.keyed import everyone
from tests.sinks.provisioned import armed, store
from tests.streams.ledger.commands import counting

__all__ = ["armed", "line", "store"]

TOPIC, RECORD = "app.commands.v1", "wardtrail.commands.Command"
ROOT = Root(bytes(range(32)))
TENANT, OTHER = uuid.UUID(int=0x7E), uuid.UUID(int=0x7F)
CLERK = str(uuid.UUID(int=0xC1E4C))
ISSUED = 1_772_443_800_000_000


@dataclass(frozen=True)
class Got:
    """A record as Kafka gives it, as far as a processor looks."""

    offset: int
    value: bytes | None
    key: bytes | None = b"CANARY is no key of ours"


class Line:
    """Asks by partition 0, as an app would by the topic."""

    def __init__(self, store, processor, codec):
        self.store, self.processor, self.codec = store, processor, codec
        self.offsets, self.numbers = itertools.count(), itertools.count(1)

    def keys(self, tenant=TENANT):
        return everyone(self.processor.keyring, self.store, tenant)

    def record(self, name, data, *, stream=1, tenant=TENANT, keys=None, envelope=None, **given):
        """A record of the topic; every field of it may be given."""
        declared = commands.TYPES[name]
        command_id = given.pop("command_id", str(uuid.UUID(int=0xC0000 + next(self.numbers))))
        fields = catalogue.schema(declared.full_record)["fields"]
        clear = self.codec.encode(
            declared.full_record, {**{field["name"]: None for field in fields}, **data}
        )
        if envelope is None:
            seal = (keys or self.keys()).seal
            envelope = seal(clear, person=None, record=uuid.UUID(command_id), field="data")
        value = {
            "command_id": command_id, "command_type": name, "schema_version": 1,
            "tenant_id": str(tenant), "stream_type": declared.stream_type,
            "stream_id": str(uuid.UUID(int=0x5000 + stream)), "expected_version": None,
            "issued_at": ISSUED, "issued_by": CLERK, "correlation_id": command_id,
            "data": envelope, "trace": None, **given,
        }  # fmt: skip
        return self.raw(self.codec.encode(RECORD, value))

    def raw(self, value):
        return Got(next(self.offsets), value)

    def begin(self, note=None, patient=None, **given):
        return self.record("count.begin", {"note": note, "patient_id": patient}, **given)

    def add(self, by, **given):
        return self.record("count.add", {"by": by}, **given)

    def send(self, *records):
        batch = self.processor.prepare(TOPIC, 0, records)
        return self.processor.apply(TOPIC, 0, batch)

    def events(self):
        return self.store.rows("SELECT * FROM events ORDER BY partition_seq")

    def results(self):
        return self.store.rows("SELECT * FROM command_results ORDER BY partition_seq")

    def letter(self):
        [row] = self.store.rows("SELECT * FROM dead_letters")
        return row


@pytest.fixture
def line(store, monkeypatch):
    codec = counting.declared(monkeypatch)
    monkeypatch.setattr(log, "topic_ids", lambda _, topics: dict.fromkeys(topics, "id-1"))
    for tenant, name in ((TENANT, "north"), (OTHER, "south")):
        tenancy.create_tenant(
            store.database, tenant_id=tenant, name=name, subdomain=name, root=ROOT,
            secret=Secrets(tenant.bytes * 2, tenant.bytes * 2),
        )  # fmt: skip
    ledger.ensure_partitions(store.database, "clinical.events.v1", 4)
    processor = Ledger(
        database=store.database, codec=codec, root=ROOT,
        ownership=Ownership(
            database=store.database, url=store.worker, subscriptions=("ledger",),
            bootstrap_servers="", owner="test",
        ),
    )  # fmt: skip
    processor.commands = Reading(
        codec=codec, keys_of=processor._keys_of, types=commands.TYPES,
        registry={**REGISTRY, "count": counting.COUNT},
        engine=Engine(
            codec=codec, types={**counting.events.TYPES}, upcasters=counting.UPCASTERS
        ),
    )  # fmt: skip
    processor.take([(TOPIC, 0)], generation=1)
    return Line(store, processor, codec)
