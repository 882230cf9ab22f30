"""What the intake needs from the rest of the line: feeds, keys, and a log that holds records."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from schemas.feeds import Feed
from schemas.sealing import Keys


class FeedUnread(Exception):  # noqa: N818  named for what is wrong
    """The message is, or may be, of a feed whose settings can't be read: nobody may answer it."""


class KeysAway(Exception):  # noqa: N818  named for what is wrong
    """A tenant's keys can't be had now; nothing is taken until they can."""


class NotDurable(Exception):  # noqa: N818  named for what is wrong
    """The brokers don't hold the record, or we can't know; sending again is safe."""


class RecordTooLarge(Exception):  # noqa: N818  named for what is wrong
    """The record is larger than the topic takes; sending it again is pointless."""


class Feeds(Protocol):
    """Feeds and keys by value, out of memory: asked for every message, so a change is seen soon."""

    def by_port(self, port: int) -> Sequence[Feed]:
        """The feeds that come by a listening port, paused ones too."""
        ...

    def keys(self, tenant_id: UUID) -> Keys:
        """The tenant's keys; raises :class:`KeysAway`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A message that wasn't taken, without anything of it.

    ``tenant_id`` is None where the port is several tenants', ``feed_id`` where it fitted none or
    several; ``sender_hmac`` is the keyed hash of MSH-3 and MSH-4 where the tenant is known.
    """

    port: int
    reason: str
    tenant_id: UUID | None
    feed_id: UUID | None
    sender_hmac: UUID | None


class Refusals(Protocol):
    """Where refused messages are counted."""

    def note(self, refused: Refused) -> None:
        """Count one; returns at once and never raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Became:
    """What became of a message: ``applied``, ``ignored``, ``dead`` or ``parked``, and why.

    ``cause`` is a code, by which the sender is answered; ``reason`` is that in words.
    """

    outcome: str
    reason: str | None
    cause: str | None = None


class Outcomes(Protocol):
    """Where the outcomes of messages are known, for feeds that are answered by them."""

    def ask(self, feed: Feed, message_id: UUID) -> asyncio.Future[Became | None]:
        """Done in a bounded time; None where it isn't known by then. May be cancelled."""
        ...


class Publisher(Protocol):
    """A log that answers when it holds a record."""

    def publish(
        self, topic: str, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> asyncio.Future[None]:
        """Hand over a record now, in the order of the calls; done when the brokers hold it.

        The future raises :class:`NotDurable` or :class:`RecordTooLarge`.
        """
        ...
