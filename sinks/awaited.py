"""What became of messages, told to those who answer by it."""

import logging
import threading
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from sinks import relay
from sinks.database import Database, for_tenants

CHANNEL = "wardtrail_messages"  # the ledger's notice of messages, in the commit that wrote them
POLL_SECONDS = 0.25  # how long a lost notice goes unnoticed
AWAY_SECONDS = 1.0
CONNECTIONS = 2  # of the thread that looks: one listens, one asks
# Messages at once: as many small ones as one feed may have in flight.
WAITING_MAX = 16_384
STOP_SECONDS = 5.0

logger = logging.getLogger(__name__)
Key = tuple[UUID, UUID, UUID]  # tenant, feed, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Became:
    """What became of a message: applied, ignored or dead, and why; nothing of its content.

    The cause is a code, the reason words; a message that was applied has no cause.
    """

    outcome: str
    reason: str | None
    cause: str | None


class WaitingFull(Exception):  # noqa: N818  named for what is wrong
    """As many wait as may at once."""


@dataclass(slots=True, kw_only=True)
class Awaited:
    """A thread that looks for the rows of messages that somebody waits for.

    One query asks for all of them, at every notice and every ``POLL_SECONDS``; it sees the
    tenants that are waited for and no other. A message that was known before is told at once.
    While nobody waits, nothing is asked and no connection held.
    """

    database: Database
    _asked: dict[Key, list["Future[Became]"]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _woken: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._follow, name="outcomes", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; who still waits is told nothing any more."""
        self._stop.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def ask(self, key: Key) -> "Future[Became]":
        """What became of the message, once it is known; to be given up with :meth:`leave`.

        Raises :class:`WaitingFull`.
        """
        told: Future[Became] = Future()
        with self._lock:
            if len(self._asked) >= WAITING_MAX:
                raise WaitingFull(f"as many wait for outcomes as may: {WAITING_MAX}")
            self._asked.setdefault(key, []).append(told)
        self._woken.set()
        return told

    def leave(self, key: Key, told: "Future[Became]") -> None:
        """Wait no longer; nothing happens if it was told."""
        with self._lock:
            waiting = self._asked.get(key, [])
            with suppress(ValueError):
                waiting.remove(told)
            if not waiting:
                self._asked.pop(key, None)

    def _follow(self) -> None:
        while not self._stop.is_set():
            self._woken.wait()
            self._woken.clear()
            try:
                with relay.listening(self.database, CHANNEL) as pause:
                    while self._asked and not self._stop.is_set():
                        self._look()
                        pause(POLL_SECONDS if self._asked else 0.0)
            except Exception as trouble:  # were the thread to end, nobody would be told any more
                logger.warning("outcomes can't be read now: %s", type(trouble).__name__)
                self._stop.wait(AWAY_SECONDS)
                self._woken.set()

    def _look(self) -> None:
        """Tell what has come by now."""
        with self._lock:
            asked = list(self._asked)
        for key, became in _found(self.database, asked).items():
            with self._lock:
                waiting = self._asked.pop(key, [])
            for told in waiting:
                if told.set_running_or_notify_cancel():
                    told.set_result(became)


def _found(database: Database, asked: list[Key]) -> dict[Key, Became]:
    if not asked:
        return {}
    tenants, feeds, ids = (list(each) for each in zip(*asked, strict=True))
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenants)
        rows = connection.execute(_OUTCOMES, (tenants, feeds, ids)).fetchall()
    return {
        (UUID(row["tenant_id"]), UUID(row["feed_id"]), UUID(row["message_id"])): Became(
            outcome=row["outcome"], reason=row["reason"], cause=row["cause"]
        )
        for row in rows
    }


_OUTCOMES = """
SELECT messages.tenant_id, messages.feed_id, messages.message_id, outcome, reason, cause
FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS asked (tenant_id, feed_id, message_id)
JOIN messages USING (tenant_id, feed_id, message_id)
"""
