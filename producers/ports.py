"""What the intake needs from the rest of the line: feeds, keys, and a log that holds records."""

import asyncio
from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from schemas.feeds import Feed
from schemas.sealing import Keys


class KeysAway(Exception):  # noqa: N818  named for what is wrong
    """A tenant's keys can't be had now; nothing is taken until they can."""


class NotDurable(Exception):  # noqa: N818  named for what is wrong
    """The brokers don't hold the record, or we can't know; sending again is safe."""


class RecordTooLarge(Exception):  # noqa: N818  named for what is wrong
    """The record is larger than the topic takes; sending it again is pointless."""


class Feeds(Protocol):
    """Feeds and keys by value, out of memory: asked for every message, so a change is seen soon."""

    def by_port(self, port: int) -> Feed | None:
        """The feed that a listening port belongs to; None where there is none."""
        ...

    def keys(self, tenant_id: UUID) -> Keys:
        """The tenant's keys; raises :class:`KeysAway`."""
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
