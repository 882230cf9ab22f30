"""The frames of one connection that wait for their answers, in the order of their arrival."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from producers import acks, answers, batches, intake
from producers.acks import Asked, Stage
from producers.answers import Trouble
from producers.batches import Batch
from producers.counters import Counters
from producers.mllp import encode
from producers.peek import Header, NoHeader
from producers.ports import RecordTooLarge
from producers.quotas import Quotas
from schemas.failpoints import hit
from schemas.feeds import Feed

OWN_ID_MAX = 20  # characters of MSH-10 (HL7 before 2.7)
ENTRY_BYTES = 1024  # what a message in flight costs beside its own bytes


class Answering(Protocol):
    """What the answers of a server's connections have in common."""

    transient_answer: str | None
    counters: Counters
    quotas: Quotas

    def own_id(self) -> str:
        """A new MSH-10 for an answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a message is told: AA, AE or AR, and why it isn't AA."""

    code: str
    trouble: Trouble | None = None


@dataclass(slots=True, kw_only=True)
class Part:
    """A message that may want answers: refused, or handed to the log."""

    header: Header | NoHeader
    asked: Asked
    size: int = 0
    future: asyncio.Future[None] | None = None
    rejection: intake.Rejection | None = None
    feed: Feed | None = None
    message_id: UUID | None = None

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
            verdicts = [self._verdict(part) for part in entry.parts]
            told = [each for each in verdicts if each is not None]
            if len(told) < len(verdicts):
                self._counters.closed["not durable"] += 1
                self.broken = True
                self.forget()
                break
            for stage in Stage:
                out += map(encode, self._framed(entry, told, stage))
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
            if part.feed is not None:
                self._server.quotas.hold(part.feed.feed_id, size)

    def _framed(self, entry: Entry, verdicts: list[Verdict], stage: Stage) -> list[bytes]:
        """What is wanted at this stage: an answer, or one response batch for those of a batch."""
        said = [
            self._say(part, verdict, stage)
            for part, verdict in zip(entry.parts, verdicts, strict=True)
            if acks.wanted(part.asked, stage, success=verdict.trouble is None)
        ]
        if entry.batch is None:
            return said
        if not said and (entry.parts or stage is Stage.ACCEPT):
            return []  # nobody in it asks for any; a batch of nothing is answered by one
        own_id, at = self._server.own_id(), datetime.now(UTC)
        return [batches.together(entry.batch, said, at=at, own_id=own_id)]

    def transient(self, feed: Feed | None) -> str | None:
        """The code for what may be taken later; None for no answer and a closed connection."""
        return (feed and feed.transient_answer) or self._server.transient_answer

    def _verdict(self, part: Part) -> Verdict | None:
        """What to tell; None where there must be no answer."""
        if part.rejection is not None:
            return Verdict(code=part.rejection.answer, trouble=part.rejection.trouble)
        assert part.future is not None, "a part is rejected or published"
        try:
            part.future.result()
            hit("intake: delivered")
        except RecordTooLarge:
            self._counters.publish_failures += 1
            code = part.feed.refusal_answer if part.feed else answers.REJECTED
            trouble = Trouble(code=102, reason="message is larger than the log takes")
            return Verdict(code=code, trouble=trouble)
        except (Exception, asyncio.CancelledError):
            self._counters.publish_failures += 1
            transient = self.transient(part.feed)
            if transient is None:
                return None
            trouble = Trouble(code=207, reason="not taken into custody, please send again")
            return Verdict(code=transient, trouble=trouble)
        return Verdict(code=answers.ACCEPTED)

    def _say(self, part: Part, verdict: Verdict, stage: Stage) -> bytes:
        """The acknowledgement; its own id follows from the message's where that is known."""
        code = acks.staged(verdict.code, stage)
        self._counters.answered[code] += 1
        own_id = self._server.own_id()
        if part.message_id is not None:
            own_id = part.message_id.hex[: OWN_ID_MAX - 1] + stage.lower()
        return answers.answer(
            part.header, code, at=datetime.now(UTC), own_id=own_id, trouble=verdict.trouble,
            enhanced=part.asked.enhanced,
        )  # fmt: skip
