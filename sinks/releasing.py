"""Releasing: a projection folds what was parked, in order, as if it came now."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from psycopg import Connection

from schemas.events import Event
from sinks import folding, relay, tenancy
from sinks.database import Row, for_tenants
from sinks.parking import Kept, Unfit
from sinks.projection import Projection
from sinks.subscriptions import Held
from sinks.transaction import TYPE_UNKNOWN, Recorded, skips
from sinks.write import write


@dataclass(slots=True, kw_only=True)
class Releasing:
    """What a projection does with its dead letters when they are released: fold them, in order.

    ``read`` decodes a record by what this release knows. See :class:`sinks.parking.Releasing`.
    """

    projection: Projection
    held: Held
    read: Callable[[Kept], Recorded]
    _first: int | None = None

    def apply(self, connection: Connection[Row], kept: Sequence[Kept]) -> list[str]:
        """Fold the records and write; raises :class:`~sinks.parking.Unfit`."""
        streams: dict[str, list[Event]] = {}
        outcomes = []
        events = [self._event(letter) for letter in kept]
        gone = tenancy.gone(connection, {event["tenant_id"] for event in events})
        for event in events:
            if event["tenant_id"] in gone:  # its deletion is under way
                outcomes.append("ignored")
            elif event["event_type"] in self.projection.reads:
                streams.setdefault(event["stream_id"], []).append(event)
                self._first = min(self._first or event["partition_seq"], event["partition_seq"])
                outcomes.append("applied")
            elif skips(self.projection, self.held, event):
                outcomes.append("ignored")
            else:
                raise Unfit(**TYPE_UNKNOWN)
        for_tenants(connection, {event["tenant_id"] for event in events})
        write(connection, list(folding.folded(connection, self.projection, self.held, streams)))
        return outcomes

    def end(self, connection: Connection[Row]) -> None:
        """Have what was written published: its positions lie behind the relay's."""
        if self._first is None:
            return
        if self.projection.relay is not None:
            relay.again(connection, self.projection.relay, self.held.partition, self._first - 1)
        if self.projection.notify is not None:
            told = (self.projection.notify, str(self.held.partition))
            connection.execute("SELECT pg_notify(%s, %s)", told)

    def _event(self, letter: Kept) -> Event:
        if not letter.keys:
            raise Unfit(
                stage="fold", cause="out_of_order",
                reason="nothing waited for it, so what came after it is applied"
                f" (hint: wardtrail rebuild {self.projection.name})",
            )  # fmt: skip
        record = self.read(letter)
        if record.event is None:
            reason = record.undecodable or "unreadable record"
            raise Unfit(stage="decode", cause="undecodable", reason=reason)
        if record.event["stream_id"] not in letter.keys:
            raise Unfit(stage="decode", cause="undecodable", reason="it is of another stream")
        return record.event
