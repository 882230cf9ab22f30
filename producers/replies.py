"""The messages of one connection that wait for their answers, in the order of their arrival."""

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from producers import answers, intake
from producers.answers import Trouble
from producers.counters import Counters
from producers.mllp import encode
from producers.peek import Header, NoHeader
from producers.ports import RecordTooLarge
from producers.quotas import Quotas
from schemas.failpoints import hit

ENTRY_BYTES = 1024  # what a message in flight costs beside its own bytes


class Answering(Protocol):
    """What the answers of a server's connections have in common."""

    transient_answer: str | None
    counters: Counters
    quotas: Quotas

    def own_id(self) -> str:
        """A new MSH-10 for an answer."""
        ...


@dataclass(slots=True)
class Entry:
    """A message that waits for its turn to be answered."""

    header: Header | NoHeader
    size: int
    future: asyncio.Future[None] | None = None
    rejection: intake.Rejection | None = None
    feed_id: UUID | None = None


class Replies:
    """A queue whose head leaves when the brokers hold it, whatever came true behind it.

    One that they don't hold is not answered, and nothing after it: ``broken``.
    """

    def __init__(self, server: Answering) -> None:
        self._server = server
        self._counters = server.counters
        self._queue: deque[Entry] = deque()
        self.in_flight = 0  # bytes
        self.broken = False

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, entry: Entry) -> None:
        """Queue one behind the others."""
        entry.size += ENTRY_BYTES
        self._queue.append(entry)
        self.in_flight += entry.size
        self._held_by(entry, entry.size)

    def due(self) -> list[bytes]:
        """The answers that can be given now, from the head on, as frames."""
        out: list[bytes] = []
        while self._queue and ((future := self._queue[0].future) is None or future.done()):
            entry = self._queue.popleft()
            self.in_flight -= entry.size
            self._held_by(entry, -entry.size)
            said = self._outcome(entry)
            if said is None:
                self._counters.closed["not durable"] += 1
                self.broken = True
                self.forget()
                break
            out.append(said)
        return out

    def forget(self) -> None:
        """Nothing of the queue will be answered; it is in flight no longer."""
        for entry in self._queue:
            self._held_by(entry, -entry.size)
        self._queue.clear()
        self.in_flight = 0

    def _held_by(self, entry: Entry, size: int) -> None:
        if entry.feed_id is not None:
            self._server.quotas.hold(entry.feed_id, size)

    def _outcome(self, entry: Entry) -> bytes | None:
        """The answer's frame; None where there must be none."""
        if entry.rejection is not None:
            return self._say(entry.header, entry.rejection.answer, entry.rejection.trouble)
        assert entry.future is not None, "an entry is rejected or published"
        try:
            entry.future.result()
            hit("intake: delivered")
        except RecordTooLarge:
            self._counters.publish_failures += 1
            trouble = Trouble(code=102, reason="message is larger than the log takes")
            return self._say(entry.header, answers.REJECTED, trouble)
        except (Exception, asyncio.CancelledError):
            self._counters.publish_failures += 1
            if self._server.transient_answer is None:
                return None
            trouble = Trouble(code=207, reason="not taken into custody, please send again")
            return self._say(entry.header, self._server.transient_answer, trouble)
        return self._say(entry.header, answers.ACCEPTED, None)

    def _say(self, header: Header | NoHeader, code: str, trouble: Trouble | None) -> bytes:
        self._counters.answered[code] += 1
        own_id = self._server.own_id()
        at = datetime.now(UTC)
        return encode(answers.answer(header, code, at=at, own_id=own_id, trouble=trouble))
