"""The frames of one connection that wait for their answers, in the order of their arrival."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from producers import answers, batches, intake
from producers.answers import Trouble
from producers.batches import Batch
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
class Part:
    """A message that wants an answer: refused, or handed to the log."""

    header: Header | NoHeader
    size: int = 0
    future: asyncio.Future[None] | None = None
    rejection: intake.Rejection | None = None
    feed_id: UUID | None = None

    @property
    def settled(self) -> bool:
        """Whether it is known what to answer."""
        return self.future is None or self.future.done()


@dataclass(slots=True)
class Entry:
    """A frame that waits for its turn to be answered: one message, or those of a batch."""

    parts: Sequence[Part]
    batch: Batch | None = None
    _settled: int = 0  # of the parts, from the first on

    @property
    def settled(self) -> bool:
        """Whether all of it can be answered; looks at each part once."""
        while self._settled < len(self.parts) and self.parts[self._settled].settled:
            self._settled += 1
        return self._settled == len(self.parts)


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
        self._queue.append(entry)
        self._hold(entry, 1)

    def due(self) -> list[bytes]:
        """The answers that can be given now, from the head on, as frames."""
        out: list[bytes] = []
        while self._queue and self._queue[0].settled:
            entry = self._queue.popleft()
            self._hold(entry, -1)
            said = [self._outcome(part) for part in entry.parts]
            told = [each for each in said if each is not None]
            if len(told) < len(said):
                self._counters.closed["not durable"] += 1
                self.broken = True
                self.forget()
                break
            out += map(encode, self._framed(entry, told))
        return out

    def forget(self) -> None:
        """Nothing of the queue will be answered; it is in flight no longer."""
        while self._queue:
            self._hold(self._queue.popleft(), -1)
        assert self.in_flight == 0, "what is held is what the queue holds"

    def _hold(self, entry: Entry, sign: int) -> None:
        for part in entry.parts:
            size = sign * (part.size + ENTRY_BYTES)
            self.in_flight += size
            if part.feed_id is not None:
                self._server.quotas.hold(part.feed_id, size)

    def _framed(self, entry: Entry, said: list[bytes]) -> list[bytes]:
        """One answer to a message, one response batch to a batch."""
        if entry.batch is None:
            return said
        own_id, at = self._server.own_id(), datetime.now(UTC)
        return [batches.together(entry.batch, said, at=at, own_id=own_id)]

    def _outcome(self, part: Part) -> bytes | None:
        """The answer; None where there must be none."""
        if part.rejection is not None:
            return self._say(part.header, part.rejection.answer, part.rejection.trouble)
        assert part.future is not None, "a part is rejected or published"
        try:
            part.future.result()
            hit("intake: delivered")
        except RecordTooLarge:
            self._counters.publish_failures += 1
            trouble = Trouble(code=102, reason="message is larger than the log takes")
            return self._say(part.header, answers.REJECTED, trouble)
        except (Exception, asyncio.CancelledError):
            self._counters.publish_failures += 1
            if self._server.transient_answer is None:
                return None
            trouble = Trouble(code=207, reason="not taken into custody, please send again")
            return self._say(part.header, self._server.transient_answer, trouble)
        return self._say(part.header, answers.ACCEPTED, None)

    def _say(self, header: Header | NoHeader, code: str, trouble: Trouble | None) -> bytes:
        self._counters.answered[code] += 1
        own_id = self._server.own_id()
        at = datetime.now(UTC)
        return answers.answer(header, code, at=at, own_id=own_id, trouble=trouble)
