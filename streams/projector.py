"""The projections' processor: clinical events in, rows of read models out, each in its own time."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from schemas.catalogue import EVENTS_NAMESPACE
from schemas.codec import Codec, Undecodable
from schemas.events import Event
from schemas.failpoints import FailPoint
from schemas.headers import place
from schemas.sealing import KeyService
from schemas.topics import EVENTS
from sinks import transaction
from sinks.database import Database
from sinks.parking import Kept
from sinks.projection import Projection
from sinks.releasing import Releasing
from sinks.subscriptions import Held
from sinks.transaction import Recorded
from streams import ports
from streams.ownership import Ownership, stopped, told

logger = logging.getLogger(__name__)
_PREFIX = f"{EVENTS_NAMESPACE}."


@dataclass(slots=True, kw_only=True)
class Projector:
    """Applies ``clinical.events.v1`` to some projections; a :class:`~streams.ports.Processor`.

    Each projection has its own transaction and drops what it has seen. One that fails pauses
    alone: the others go on, and a new owner of the partition tries it again.
    """

    name: str
    projections: tuple[Projection, ...]
    database: Database
    ownership: Ownership
    codec: Codec
    root: KeyService
    topics: tuple[str, ...] = (EVENTS.name,)
    paused: dict[tuple[str, int], str] = field(default_factory=dict)  # projection, partition
    reached: dict[tuple[str, int], int] = field(default_factory=dict)

    def take(
        self, partitions: Sequence[ports.Partition], *, generation: int
    ) -> Mapping[ports.Partition, int]:
        """See :class:`~streams.ports.Processor`."""
        taken = {partition for _, partition in partitions}
        for at in [(each.name, number) for each in self.projections for number in taken]:
            self.paused.pop(at, None)  # one key at a time: other partitions are at work
            self.reached.pop(at, None)
        return self.ownership.take(partitions, generation=generation)

    def skip(self, topic: str, partition: int, *, upto: int) -> int:
        """See :class:`~streams.ports.Processor`; a paused projection stays where it is."""
        running = [
            each.name for each in self.projections if (each.name, partition) not in self.paused
        ]
        return self.ownership.skip(topic, partition, upto=upto, only=running)

    def prepare(
        self, topic: str, partition: int, records: Sequence[ports.Record]
    ) -> list[Recorded]:
        """Decode a chunk; runs while the one before it is written."""
        with told():
            return [self._read(record) for record in records]

    def apply(self, topic: str, partition: int, batch: Sequence[Recorded]) -> int:
        """Apply a chunk to every projection that runs; return the lowest next offset of all."""
        running, trouble = 0, None
        for projection in self.projections:
            at = (projection.name, partition)
            if at in self.paused:
                continue
            try:
                self.reached[at] = self._apply(projection, topic, partition, batch)
                running += 1
            except (ports.Stale, ports.Hole, ports.Transient, ports.Broken, FailPoint):
                raise
            except Exception as error:
                trouble = error
                self.paused[at] = type(error).__name__
                said = stopped(error, f"{projection.name} {topic}/{partition}")
                logger.error("projection paused: %s", said)
        if not running:
            raise trouble or transaction.Gap("every projection of this partition is paused")
        return min(self._position(each.name, topic, partition) for each in self.projections)

    def _position(self, name: str, topic: str, partition: int) -> int:
        """Where a projection stands, paused or not."""
        at = (name, partition)
        if at in self.reached:
            return self.reached[at]
        return self.ownership.held(name, topic, partition).next_offset

    def _apply(
        self, projection: Projection, topic: str, partition: int, batch: Sequence[Recorded]
    ) -> int:
        with self.ownership.holding(projection.name, topic, partition) as held:
            return transaction.apply(self.database, projection, held, batch, line=self.root.line())

    @property
    def names(self) -> tuple[str, ...]:
        """The subscriptions whose dead letters are ours."""
        return tuple(each.name for each in self.projections)

    def releasing(self, held: Held) -> Releasing:
        """What is done with a projection's dead letters of a partition when they are released."""
        [projection] = [each for each in self.projections if each.name == held.subscription_id]
        return Releasing(projection=projection, held=held, read=self.opened)

    def opened(self, kept: Kept) -> Recorded:
        """A dead letter's record, decoded by what is known now."""
        return self._decoded(kept.offset, kept.key, kept.value)

    def _read(self, record: ports.Record) -> Recorded:
        found = self._decoded(record.offset, record.key, record.value)
        return found if found.event else found._replace(place=place(record.headers))

    def _decoded(self, offset: int, key: bytes | None, value: bytes | None) -> Recorded:
        try:
            name, event = self.codec.decode(value or b"")
            if not name.startswith(_PREFIX):
                raise Undecodable("record", f"no event but: {name}")
        except Undecodable as error:
            return Recorded(offset, key, value, None, str(error))
        return Recorded(offset, key, value, cast("Event", event))
