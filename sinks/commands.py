"""Results of commands: asked for as whoever may see them, and waited for."""

import logging
import threading
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import datetime
from uuid import UUID

from sinks import relay
from sinks.queries import Snapshot
from sinks.reading import Reader, Readers

CHANNEL = "wardtrail_commands"  # the ledger's notice of results, in the commit that wrote them
POLL_SECONDS = 0.25  # how long a lost notice goes unnoticed
AWAY_SECONDS = 1.0
CONNECTIONS = 2  # of the thread that looks: one listens, one asks
WAITING_MAX = 1_000  # commands at once; each costs an entry of a query's list

logger = logging.getLogger(__name__)
Asked = tuple[Reader, UUID]  # who asks, for which command


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a command; ids are UUID texts.

    ``version`` is the stream's afterwards: where a command was refused, the one it met.
    ``event_partition`` and ``event_seq`` say where its last event stands, if it became any.
    """

    command_id: str
    command_type: str
    stream_type: str
    stream_id: str
    outcome: str
    rule: str | None
    said: str | None
    version: int
    events: int
    event_partition: int | None
    event_seq: int | None
    recorded_at: datetime


class WaitingFull(Exception):  # noqa: N818  named for what is wrong
    """As many wait as may at once."""


def results(connection: Snapshot, command_ids: Collection[UUID]) -> Mapping[UUID, Result]:
    """The results there are of these commands, as far as the snapshot shows them."""
    rows = connection.execute(_RESULTS, (list(command_ids),)).fetchall()
    names = [each.name for each in fields(Result)]
    return {UUID(row["command_id"]): Result(**{name: row[name] for name in names}) for row in rows}


@dataclass(slots=True, kw_only=True)
class Waiting:
    """A thread that tells results to those who wait for them.

    One query per reader asks for all that it waits for, at every notice, and every
    ``POLL_SECONDS`` for those whose notice was lost.
    """

    readers: Readers
    _asked: dict[Asked, list["Future[Result]"]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look."""
        self._thread = threading.Thread(target=self._follow, name="results", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; who still waits is told nothing any more."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(POLL_SECONDS + self.readers.seconds)

    def of(self, reader: Reader, command_id: UUID) -> Result | None:
        """The result there is, asked for now."""
        with self.readers.of(reader) as snapshot:
            return results(snapshot, [command_id]).get(command_id)

    def ask(self, reader: Reader, command_id: UUID) -> "Future[Result]":
        """The result, once there is one; to be given up with :meth:`leave`.

        Raises :class:`WaitingFull`.
        """
        told: Future[Result] = Future()
        with self._lock:
            if sum(map(len, self._asked.values())) >= WAITING_MAX:
                raise WaitingFull(f"as many wait for results as may: {WAITING_MAX}")
            self._asked.setdefault((reader, command_id), []).append(told)
        return told

    def leave(self, reader: Reader, command_id: UUID, told: "Future[Result]") -> None:
        """Wait no longer; nothing happens if the result has come."""
        with self._lock:
            waiting = self._asked.get((reader, command_id), [])
            with suppress(ValueError):
                waiting.remove(told)
            if not waiting:
                self._asked.pop((reader, command_id), None)

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                with relay.listening(self.readers.database, CHANNEL) as pause:
                    while not self._stop.is_set():
                        self._look()
                        pause(POLL_SECONDS)
            except Exception as trouble:  # were the thread to end, nobody would be told any more
                logger.warning("results can't be read now: %s", type(trouble).__name__)
                self._stop.wait(AWAY_SECONDS)

    def _look(self) -> None:
        """Tell what has come by now."""
        with self._lock:
            asked = list(self._asked)
        for reader in {reader for reader, _ in asked}:
            wanted = [command for whose, command in asked if whose == reader]
            with self.readers.of(reader) as snapshot:
                found = results(snapshot, wanted)
            for command_id, result in found.items():
                with self._lock:
                    waiting = self._asked.pop((reader, command_id), [])
                for told in waiting:
                    if told.set_running_or_notify_cancel():
                        told.set_result(result)


_RESULTS = """
SELECT command_id, command_type, stream_type, stream_id, outcome, rule, said, version, events,
       event_partition, event_seq, recorded_at
FROM command_results
WHERE command_id = ANY(%s)
"""
