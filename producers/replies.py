"""The frames of one connection that wait for their answers, in the order of their arrival."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from producers import acks, answers, batches, intake
from producers.acks import Asked, Stage
from producers.answers import Trouble
from producers.batches import Batch
from producers.counters import Counters
from producers.mllp import encode
from producers.peek import Header, NoHeader
from producers.ports import Became, Outcomes, RecordTooLarge
from producers.quotas import Quotas
from schemas.failpoints import hit
from schemas.feeds import AUTO, OUTCOME, Feed

OWN_ID_MAX = 20  # characters of MSH-10 (HL7 before 2.7)
REASON_MAX = 200  # characters of the ledger's words in MSA-3 and ERR-8
ENTRY_BYTES = 1024  # what a message in flight costs beside its own bytes


class Answering(Protocol):
    """What the answers of a server's connections have in common."""

    transient_answer: str | None
    outcomes: Outcomes | None
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

    became: asyncio.Future[Became | None] | None = None

    @property
    def settled(self) -> bool:
        """Whether it is known if the message was taken."""
        return self.future is None or self.future.done()

    @property
    def taken(self) -> bool:
        """Whether the brokers hold it."""
        future = self.future
        return (
            future is not None
            and future.done()
            and not future.cancelled()
            and future.exception() is None
        )

    @property
    def awaits(self) -> bool:
        """Whether its application acknowledgement waits for what becomes of it."""
        return (
            self.feed is not None
            and self.feed.answer_when == OUTCOME
            and self.asked.application != acks.NEVER
            and self.taken
        )

    @property
    def known(self) -> bool:
        """Whether all that it is told can be told now."""
        return not self.awaits or (self.became is not None and self.became.done())


@dataclass(slots=True)
class Entry:
    """A frame that waits for its turn to be answered: one message, or those of a batch."""

    parts: Sequence[Part]
    batch: Batch | None = None
    verdicts: Sequence[Verdict | None] | None = None  # of the parts, once it was settled
    _settled: int = 0  # of the parts, from the first on
    _known: int = 0

    @property
    def settled(self) -> bool:
        """Whether it is known of all if they were taken; looks at each part once."""
        while self._settled < len(self.parts) and self.parts[self._settled].settled:
            self._settled += 1
        return self._settled == len(self.parts)

    @property
    def known(self) -> bool:
        """Whether all of it can be answered; looks at each part once."""
        while self._known < len(self.parts) and self.parts[self._known].known:
            self._known += 1
        return self._known == len(self.parts)


def refused(header: Header | NoHeader, rejection: intake.Rejection) -> Part:
    """A message that is not taken, with what it is to be told."""
    said = rejection.feed.acknowledgement if rejection.feed else AUTO
    return Part(header=header, asked=acks.asked(header, said), rejection=rejection)


class Replies:
    """Answers in the order of arrival, those of each stage by themselves.

    The head leaves when the brokers hold it, whatever came true behind it, and where its feed
    asks for that, when the ledger has read it. One that isn't durable, or of which the ledger
    doesn't say in time what became of it, is not answered, and nothing after it: ``broken``.
    """

    def __init__(self, server: Answering) -> None:
        self._server = server
        self._counters = server.counters
        self._queue: deque[Entry] = deque()
        self._accepted = 0  # entries from the head on whose accept acknowledgement was given
        self.in_flight = 0  # bytes
        self.broken = False

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, entry: Entry) -> None:
        """Queue one behind the others."""
        self._queue.append(entry)
        self._hold(entry, 1)

    def due(self) -> list[bytes]:
        """The answers that can be given now, as frames."""
        out: list[bytes] = []
        while not self.broken and (self._answer(out) or self._accept(out)):
            pass
        if self.broken:
            self.forget()
        return out

    def _accept(self, out: list[bytes]) -> bool:
        """Accept the next that is settled; whether it was one. The head breaks if it fails."""
        if self._accepted == len(self._queue) or not self._queue[self._accepted].settled:
            return False
        entry = self._queue[self._accepted]
        if entry.verdicts is None:
            entry.verdicts = [self._verdict(part) for part in entry.parts]
        if None in entry.verdicts:
            if self._accepted == 0:
                self._break("not durable")
            return False
        self._accepted += 1
        out += map(encode, self._framed(entry, entry.verdicts, Stage.ACCEPT))
        return True

    def _answer(self, out: list[bytes]) -> bool:
        """Say to the head what became of it; whether that is known."""
        if not self._accepted or not self._queue[0].known:
            return False
        entry = self._queue[0]
        assert entry.verdicts is not None, "the head was accepted"
        said = [self._by_outcome(*each) for each in zip(entry.parts, entry.verdicts, strict=True)]
        if None in said:
            self._break("no outcome")
            return False
        self._queue.popleft()
        self._accepted -= 1
        self._hold(entry, -1)
        out += map(encode, self._framed(entry, said, Stage.APPLICATION))
        return True

    def _break(self, why: str) -> None:
        self._counters.closed[why] += 1
        self.broken = True

    def forget(self) -> None:
        """Nothing of the queue will be answered; it is in flight no longer."""
        while self._queue:
            entry = self._queue.popleft()
            self._hold(entry, -1)
            for part in entry.parts:
                if part.became is not None:
                    part.became.cancel()
        self._accepted = 0
        assert self.in_flight == 0, "what is held is what the queue holds"

    def _hold(self, entry: Entry, sign: int) -> None:
        for part in entry.parts:
            size = sign * (part.size + ENTRY_BYTES)
            self.in_flight += size
            if part.feed is not None:
                self._server.quotas.hold(part.feed.feed_id, size)

    def _framed(
        self, entry: Entry, verdicts: Sequence[Verdict | None], stage: Stage
    ) -> list[bytes]:
        """What is wanted at this stage: an answer, or one response batch for those of a batch."""
        said = [
            self._say(part, verdict, stage)
            for part, verdict in zip(entry.parts, verdicts, strict=True)
            if verdict is not None
            and acks.wanted(part.asked, stage, success=verdict.trouble is None)
        ]
        if entry.batch is None:
            return said
        if not said and (entry.parts or stage is Stage.ACCEPT):
            return []  # nobody in it asks for any; a batch of nothing is answered by one
        own_id, at = self._server.own_id(), datetime.now(UTC)
        return [batches.together(entry.batch, said, at=at, own_id=own_id)]

    def delivered(self, part: Part, told: Callable[[asyncio.Future[Any]], None]) -> None:
        """A delivery report came for it: ask what becomes of it, where its answer waits for that.

        ``told`` is called when that is known.
        """
        if not part.awaits:
            return
        assert part.feed is not None, "what awaits its outcome has a feed"
        assert part.message_id is not None, "what awaits its outcome was taken"
        if self._server.outcomes is None:
            part.became = asyncio.get_running_loop().create_future()
            part.became.set_result(None)
        else:
            part.became = self._server.outcomes.ask(part.feed, part.message_id)
            part.became.add_done_callback(told)

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

    def _by_outcome(self, part: Part, verdict: Verdict | None) -> Verdict | None:
        """The verdict by what became of it where its feed asks for that; None if nobody knows."""
        if not part.awaits:
            return verdict
        assert part.feed is not None, "what awaits its outcome has a feed"
        became = part.became
        if became is None or became.cancelled() or became.exception() is not None:
            return None
        said = became.result()
        if said is None or said.outcome in ("applied", "parked"):  # what waits comes in later
            return None if said is None else verdict
        reason = (said.reason or "no reason")[:REASON_MAX]
        if said.outcome == "dead":
            code = answers.CAUSES.get(said.cause or "", 207)
            trouble = Trouble(code=code, reason=f"it can't be read: {reason}")
            return Verdict(code=part.feed.refusal_answer, trouble=trouble)
        if part.feed.ignored_answer == answers.ACCEPTED:
            return verdict
        code = answers.CAUSES.get(said.cause or "", 200)
        trouble = Trouble(code=code, reason=f"it is ignored: {reason}")
        return Verdict(code=part.feed.ignored_answer, trouble=trouble)

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
