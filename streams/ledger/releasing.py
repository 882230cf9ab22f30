"""Releasing: the ledger's dead letters come in again by the door that fresh records come by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.sealing import KeyService
from schemas.topics import COMMANDS, EVENTS
from sinks import relay, retrying
from sinks.numbering import Entry
from sinks.parking import Kept, Transaction, Unfit
from sinks.subscriptions import Held
from streams import ports
from streams.ledger.mapped import Mapped
from streams.ownership import PASSING

COMMANDS_RELAY = "relay:commands"


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """A record out of a dead letter, as far as the processor looks."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()
    timestamp: int = 0


class Door(Protocol):
    """How records come into the ledger: its processor."""

    @property
    def root(self) -> KeyService:
        """What wraps keys."""

    def prepare(
        self, topic: str, partition: int, records: Sequence[ports.Record]
    ) -> list[Mapped] | list[Entry]:
        """Decode, open and map records."""

    def through(
        self, batch: Sequence[Mapped | Entry], write: Callable[[list[Entry]], list[str]]
    ) -> list[str]:
        """Resolve whom they name, and have them written."""


@dataclass(slots=True, kw_only=True)
class Releasing:
    """What the ledger does with records that are released; see :class:`sinks.parking.Releasing`."""

    door: Door
    held: Held
    _first: int | None = None

    def apply(self, connection: Transaction, kept: Sequence[Kept]) -> list[str]:
        """Map the records and append what they say, as if they came now."""
        try:
            return self._apply(connection, kept)
        except ports.Transient as trouble:
            if isinstance(trouble.__cause__, PASSING):
                raise trouble.__cause__ from None
            # A feed or a tenant's key that can't be read: mended by somebody, then asked again.
            raise Unfit(stage="open", cause="unreadable", reason=str(trouble)) from None

    def end(self, connection: Transaction) -> None:
        """Have what became of commands published: the relay has passed their positions."""
        if self._first is not None:
            relay.again(connection, COMMANDS_RELAY, self.held.partition, self._first)

    def _apply(self, connection: Transaction, kept: Sequence[Kept]) -> list[str]:
        emptied = {
            each.offset: retrying.taken_out(each.offset, each.message)
            for each in kept
            if each.value is None and each.message is not None
        }
        read = self.door.prepare(
            self.held.topic, self.held.partition,
            [self._record(each) for each in kept if each.offset not in emptied],
        )  # fmt: skip
        prepared: dict[int, Mapped | Entry] = {each.offset: each for each in read}
        for each in kept:
            found = prepared.get(each.offset)
            name = None if found is None else found.known_as()
            if name is not None and each.message not in (None, name):
                raise Unfit(stage="decode", cause="undecodable", reason="it is another message")

        def write(entries: list[Entry]) -> list[str]:
            with connection.transaction():
                return retrying.retry(
                    connection, self.held, entries,
                    topic=EVENTS.name, line=self.door.root.line(),
                )  # fmt: skip

        outcomes = self.door.through(
            [emptied.get(each.offset) or prepared[each.offset] for each in kept], write
        )
        if self.held.topic == COMMANDS.name:
            self._first = min(each.offset for each in kept)
        return outcomes

    def _record(self, kept: Kept) -> Released:
        return Released(
            topic=self.held.topic, partition=self.held.partition,
            offset=kept.offset, key=kept.key, value=kept.value,
        )  # fmt: skip
