"""Commands decided a second, from records to rows, with none, few and half of them in conflict.

One partition on one thread: departments are changed by clients who say which version they
expect, and in the share of conflicts expect another one. The ratio is to no conflicts.
"""

import random
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from uuid import UUID

from benchmarks.figures import Figure, figure, in_turns
from benchmarks.place import PARTITIONS, Place, Size, Stored
from ops import access
from ops.deploy import DEMO_TENANT
from schemas.codec import Codec
from schemas.commands import TYPES
from schemas.sealing import Keys
from schemas.topics import COMMANDS, EVENTS
from sinks import ledger, tenancy
from sinks.database import Database
from streams.ledger.processor import Ledger
from streams.ownership import Ownership

COUNT, STREAMS, BATCH = 10_000, 200, 500
SHARES = (0, 10, 50)
ISSUED = 1_772_443_800_000_000
CLERK = str(UUID(int=0xC1E4C))


def run(place: Place, size: Size) -> list[Figure]:
    """The rate at each share of conflicts; in a database of its own."""
    settings = place.beside("commands")
    with closing(place.database(settings)) as database:
        ledger.ensure_partitions(database, EVENTS.name, PARTITIONS)
        processor = Ledger(
            database=database, codec=place.codec(), root=access.root(settings),
            ownership=Ownership(
                database=database, url=place.url(settings), subscriptions=("ledger",),
                bootstrap_servers=place.bootstrap_servers, owner="benchmark",
            ),
        )  # fmt: skip
        processor.take([(COMMANDS.name, 0)], generation=1)
        clients = Clients(codec=processor.codec, keys=_keys(database, processor))
        _decided(processor, clients.creating())
        count = size.of(COUNT, least=20)
        ways = {_name(share): partial(_rate, processor, clients, share, count) for share in SHARES}
        found = in_turns(ways, rounds=size.rounds)
    none = _name(SHARES[0])
    return [
        figure(name, rates, "commands/s", to=None if name == none else (none, found[none]))
        for name, rates in found.items()
    ]


def _name(share: int) -> str:
    return f"commands: {share} % conflicts"


def _rate(processor: Ledger, clients: "Clients", share: int, count: int) -> float:
    records = [clients.changing(share) for _ in range(count)]
    start = perf_counter()
    _decided(processor, records)
    return count / (perf_counter() - start)


def _decided(processor: Ledger, records: list[Stored]) -> None:
    for start in range(0, len(records), BATCH):
        batch = processor.prepare(COMMANDS.name, 0, records[start : start + BATCH])
        processor.apply(COMMANDS.name, 0, batch)


def _keys(database: Database, processor: Ledger) -> Keys:
    with database.connection() as connection, connection.transaction():
        wrapped = tenancy.wrapped_keys(connection, [DEMO_TENANT])
    return tenancy.unwrap(wrapped, processor.root)[DEMO_TENANT]


@dataclass(slots=True, kw_only=True)
class Clients:
    """Who asks, and which version each of their streams will stand at."""

    codec: Codec
    keys: Keys
    versions: dict[str, int] = field(default_factory=dict)
    rng: random.Random = field(default_factory=lambda: random.Random(1))
    offset: int = 0

    def creating(self) -> list[Stored]:
        """The commands that make the streams."""
        for number in range(STREAMS):
            self.versions[str(UUID(int=0xDE0000 + number))] = 1
        data = {"code": "W1", "name": "Ward 1"}
        return [self._record("department.create", each, data, None) for each in self.versions]

    def changing(self, share: int) -> Stored:
        """A change of some stream; out of date in ``share`` of a hundred."""
        stream = self.rng.choice(list(self.versions))
        expected = self.versions[stream]
        if self.rng.random() * 100 < share:
            expected -= 1
        else:
            self.versions[stream] += 1
        data = {"code": f"W{self.offset}", "name": None}
        return self._record("department.update", stream, data, expected)

    def _record(
        self, name: str, stream: str, data: Mapping[str, str | None], expected: int | None
    ) -> Stored:
        declared, command_id = TYPES[name], UUID(int=self.rng.getrandbits(128), version=4)
        clear = self.codec.encode(declared.full_record, data)
        value = {
            "command_id": str(command_id), "command_type": name, "schema_version": 1,
            "tenant_id": str(DEMO_TENANT), "stream_type": declared.stream_type,
            "stream_id": stream, "expected_version": expected, "issued_at": ISSUED,
            "issued_by": CLERK, "correlation_id": str(command_id), "trace": None,
            "data": self.keys.seal(clear, person=None, record=command_id, field="data"),
        }  # fmt: skip
        self.offset += 1
        return Stored(
            topic=COMMANDS.name, partition=0, offset=self.offset - 1, key=stream.encode(),
            value=self.codec.encode(COMMANDS.records[0], value),
        )  # fmt: skip
