"""The line's stages, one after the other over the same simulated day: ledger, relay, projections.

Nothing plain does what they do, so these have no ratio; each is one partition at a time on one
thread, as far as the machine lets it.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

from benchmarks.figures import Figure, figure
from benchmarks.place import PARTITIONS, Place, Size, Stored
from ops import access
from ops.deploy import DEMO_TENANT
from ops.simulator import day, sized
from producers import intake, peek
from schemas.codec import Codec
from schemas.feeds import Feed
from schemas.sealing import Keys
from schemas.topics import EVENTS, HL7V2
from sinks import tenancy
from sinks.database import Database
from sinks.projection import Projection
from streams import ports, publications
from streams.ledger.processor import Ledger
from streams.ownership import Ownership
from streams.projector import Projector
from streams.read_models import PROJECTIONS
from streams.relay import Relay
from streams.trajectory import PROJECTION
from streams.transport import CHUNK_RECORDS

MESSAGES = 8_000
ROUNDS_MAX = 3
OWNER = "benchmark"


def run(place: Place, size: Size) -> list[Figure]:
    """Each stage's rate; a new day each round."""
    rates: dict[str, list[float]] = {}
    with closing(place.database()) as database:
        stages = _Stages(place=place, database=database, codec=place.codec())
        for number in range(min(size.rounds, ROUNDS_MAX)):
            for name, rate in stages.play(size.of(MESSAGES, least=70), seed=1_000 + number):
                rates.setdefault(name, []).append(rate)
    return [
        figure(name, values, "messages/s" if name.startswith("ledger") else "events/s")
        for name, values in rates.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stages:
    """The processors over the line's own database and topics."""

    place: Place
    database: Database
    codec: Codec

    def play(self, messages: int, *, seed: int) -> list[tuple[str, float]]:
        """One day through all stages; the names and what each did a second."""
        published = self.place.ends(EVENTS.name)
        self.place.fill(HL7V2.name, self._raw(messages, seed))
        rates = self._ledger(seed)
        rates.append(("relay", self._relay()))
        events = self.place.drain(EVENTS.name, published)
        for projection in (PROJECTION, *PROJECTIONS):
            rates.append(
                (f"projection: {projection.name}", self._project(projection, events, seed))
            )
        return rates

    def _raw(self, messages: int, seed: int) -> list[tuple[bytes, bytes]]:
        """The day's messages as the intake publishes them, sealed."""
        feed, keys = self._feed()
        now = datetime.now(UTC)
        made = []
        for message in day(sized(messages, seed=seed)):
            header = peek.peek(message.body)
            assert isinstance(header, peek.Header), "the simulator writes MSH"
            record = intake.record(message.body, header, feed, keys, self.codec, received_at=now)
            made.append((record.key, record.value))
        return made

    def _feed(self) -> tuple[Feed, Keys]:
        with self.database.connection() as connection, connection.transaction():
            feeds = tenancy.feeds(connection, [DEMO_TENANT])
            wrapped = tenancy.wrapped_keys(connection, [DEMO_TENANT])
        return feeds[0].feed, tenancy.unwrap(wrapped, access.root(self.place.settings))[DEMO_TENANT]

    def _ledger(self, seed: int) -> list[tuple[str, float]]:
        """Raw records to numbered events: decoding and mapping, then the transaction."""
        ledger = Ledger(
            database=self.database, ownership=self._ownership("ledger"), codec=self.codec,
            root=access.root(self.place.settings),
        )  # fmt: skip
        places = [(HL7V2.name, number) for number in range(PARTITIONS)]
        taken = ledger.take(places, generation=seed)
        raw = self.place.drain(HL7V2.name, [taken[each] for each in places])
        prepared = applied = 0.0
        for records in _chunks(raw):
            start = perf_counter()
            batch = ledger.prepare(HL7V2.name, records[0].partition, records)
            between = perf_counter()
            ledger.apply(HL7V2.name, records[0].partition, batch)
            prepared += between - start
            applied += perf_counter() - between
        count = sum(map(len, raw))
        return [
            ("ledger: prepare", count / prepared),
            ("ledger: apply", count / applied),
            ("ledger", count / (prepared + applied)),
        ]

    def _relay(self) -> float:
        """Rows of ``events`` to ``clinical.events.v1``, held by the broker."""
        relay = Relay(
            publication=publications.clinical_events(self.codec), database=self.database,
            bootstrap_servers=self.place.bootstrap_servers, partitions=PARTITIONS, owner=OWNER,
        )  # fmt: skip
        relay._renew()  # to lease without the thread that run() would be
        start = perf_counter()
        while relay.round():
            pass
        rate = relay.published / (perf_counter() - start)
        relay._close()  # as run() ends
        return rate

    def _project(
        self, projection: Projection, events: Sequence[Sequence[Stored]], seed: int
    ) -> float:
        """Records to rows, decoding included."""
        projector = Projector(
            name=projection.name, projections=(projection,), database=self.database,
            ownership=self._ownership(projection.name), codec=self.codec,
            root=access.root(self.place.settings),
        )  # fmt: skip
        projector.take([(EVENTS.name, number) for number in range(PARTITIONS)], generation=seed)
        start = perf_counter()
        for records in _chunks(events):
            partition = records[0].partition
            batch = projector.prepare(EVENTS.name, partition, records)
            projector.apply(EVENTS.name, partition, batch)
        return sum(map(len, events)) / (perf_counter() - start)

    def _ownership(self, subscription: str) -> Ownership:
        return Ownership(
            database=self.database, url=self.place.url(), subscriptions=(subscription,),
            bootstrap_servers=self.place.bootstrap_servers, owner=OWNER,
        )  # fmt: skip


def _chunks(partitions: Sequence[Sequence[Stored]]) -> list[Sequence[ports.Record]]:
    """As the transport cuts them."""
    return [
        records[start : start + CHUNK_RECORDS]
        for records in partitions
        for start in range(0, len(records), CHUNK_RECORDS)
    ]
