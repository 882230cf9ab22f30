"""Sends messages over MLLP in order on one connection, again where no answer came.

A message says by MSH-15 and MSH-16 which answers it wants, so it gets none, one or two. One that
is wanted on some outcomes only is waited for until a later message is answered, or a silence.
"""

import asyncio
import random
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from producers import acks, answers
from producers.acks import Asked, Stage
from producers.answers import Answer
from producers.mllp import Decoder, Frame, Unframeable, encode
from producers.peek import Header, NoHeader, peek

READ_BYTES = 64 * 1024
ANSWER_BYTES_MAX = 64 * 1024  # an answer has three segments; more is none
BACKOFF_SECONDS = (0.05, 2.0)  # the first pause after a broken connection, and the longest
ACKNOWLEDGEMENT = "an acknowledgement gets no answer and is not sent"
UNFRAMEABLE = "the message holds the marks of MLLP"
NO_ANSWER = "no answer came"
NOT_ASKED = "its MSH-15 and MSH-16 ask for no answer to this outcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one message: the answer's code and ERR-3, or why there is none.

    ``code`` is the last answer's, ``accept`` that of the accept acknowledgement before it.
    """

    code: str | None
    accept: str | None = None
    error: int | None = None
    cause: str | None = None
    sends: int = 0
    said: bytes | None = field(default=None, repr=False)  # the answer itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Time-outs in seconds; ``without_progress`` bounds all resending."""

    connect: float = 5.0
    answer: float = 60.0  # the server waits 30 s for the brokers before it hangs up
    without_progress: float = 120.0
    silence: float = 5.0  # after it an answer that may not come, doesn't


class _Broken(Exception):  # noqa: N818  named for what is wrong
    """The connection can't be used any more; what wasn't answered is sent on the next."""


@dataclass(slots=True, eq=False)
class _Sending:
    index: int
    frame: bytes
    control_id: bytes
    asked: Asked
    sends: int = 0
    accept: Answer | None = None
    said: bytes | None = None  # the accept acknowledgement

    @property
    def silent(self) -> bool:
        """Whether all answers that are still out may not come."""
        accept, application = (
            acks.wanted(self.asked, stage, success=True)
            and acks.wanted(self.asked, stage, success=False)
            for stage in Stage
        )
        if self.accept is None:
            return not accept and not application
        # Others don't say what became of what they didn't take; we do where it is asked for.
        return not application or self.accept.code not in answers.ACCEPTING

    @property
    def answerless(self) -> bool:
        """Whether it asks for no answer whatever happens."""
        return not any(
            acks.wanted(self.asked, stage, success=success)
            for stage in Stage
            for success in (True, False)
        )

    @property
    def done(self) -> bool:
        """Whether nothing more can come, an accept acknowledgement having come."""
        return not any(
            acks.wanted(self.asked, Stage.APPLICATION, success=success) for success in (True, False)
        )


async def send(
    host: str,
    port: int,
    messages: Iterable[bytes],
    *,
    window: int = 16,
    patience: Patience | None = None,
    answered: Callable[[int, Result], None] | None = None,
    context: ssl.SSLContext | None = None,
) -> list[Result]:
    """Send all in order and wait for each answer; at most ``window`` are on their way.

    A broken connection is opened again and everything unanswered sent again, first things first,
    so a message may arrive twice. Returns a result for each message, in their order;
    ``answered`` hears of each as it comes. Without any answer for so long as ``patience`` says,
    the rest ends with the cause that none came. With a ``context`` it speaks TLS.
    """
    if window < 1:
        raise ValueError(f"at least one message is on its way, not: {window}")
    run = _Run(messages, window, patience or Patience(), answered)
    pause = BACKOFF_SECONDS[0]
    while run.fill():
        before = run.progress
        try:
            await run.connection(host, port, context)
        except ssl.SSLCertVerificationError as error:  # it is another's the next time too
            run.give_up(
                f"{NO_ANSWER}, the server's certificate isn't trusted: {error.verify_message}"
            )
            break
        except (_Broken, OSError, TimeoutError) as error:
            cause = f"{NO_ANSWER}: {error or type(error).__name__}"
        else:
            continue
        if run.progress != before:
            pause = BACKOFF_SECONDS[0]
        if asyncio.get_running_loop().time() - run.progress > run.patience.without_progress:
            run.give_up(cause)
            break
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  jitter is no secret
        pause = min(pause * 2, BACKOFF_SECONDS[1])
    return [run.results[index] for index in range(len(run.results))]


class _Run:
    """The state of one call of :func:`send` over its connections."""

    def __init__(
        self, messages: Iterable[bytes], window: int, patience: Patience,
        answered: Callable[[int, Result], None] | None,
    ) -> None:  # fmt: skip
        self.patience = patience
        self.results: dict[int, Result] = {}
        self.progress = asyncio.get_running_loop().time()
        self._source: Iterator[tuple[int, bytes]] = enumerate(messages)
        self._window = window
        self._answered = answered
        self._waiting: deque[_Sending] = deque()  # unanswered, in order
        self._sent = 0  # of these, on the present connection

    def fill(self) -> bool:
        """Take messages up to the window; whether any is unanswered."""
        while len(self._waiting) < self._window:
            taken = next(self._source, None)
            if taken is None:
                break
            index, body = taken
            header = peek(body)
            if header.acknowledges:
                self._done(index, Result(code=None, cause=ACKNOWLEDGEMENT))
                continue
            try:
                frame = encode(body)
            except Unframeable:
                self._done(index, Result(code=None, cause=UNFRAMEABLE))
                continue
            control_id = answers.echoed(header.control_id) if isinstance(header, Header) else b""
            self._waiting.append(_Sending(index, frame, control_id, acks.asked(header)))
        return bool(self._waiting)

    def give_up(self, cause: str) -> None:
        """End everything that is left without an answer."""
        while self.fill():
            sending = self._waiting.popleft()
            self._done(sending.index, Result(code=None, cause=cause, sends=sending.sends))

    async def connection(self, host: str, port: int, context: ssl.SSLContext | None) -> None:
        """One connection's life; returns when all is answered."""
        async with asyncio.timeout(self.patience.connect):
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
        decoder = Decoder(ANSWER_BYTES_MAX)
        self._sent = 0
        try:
            while self.fill():
                async with asyncio.timeout(self.patience.answer):
                    await self._write(writer)
                    if not self._waiting:
                        continue
                    data = await self._read(reader)
                if data is None:
                    continue
                if not data:
                    raise _Broken("the server closed the connection")
                for item in decoder.feed(data):
                    if not isinstance(item, Frame):
                        raise _Broken("the answer is no MLLP")
                    self._match(item.payload)
        finally:
            writer.transport.abort()

    async def _write(self, writer: asyncio.StreamWriter) -> None:
        for sending in list(self._waiting)[self._sent :]:
            writer.write(sending.frame)
            sending.sends += 1
            self._sent += 1
        await writer.drain()
        for sending in [each for each in self._waiting if each.answerless]:
            self._end(sending)

    async def _read(self, reader: asyncio.StreamReader) -> bytes | None:
        """What the server says next; None after a silence that says enough."""
        if not all(each.silent for each in self._waiting):
            return await reader.read(READ_BYTES)
        try:
            async with asyncio.timeout(self.patience.silence):
                return await reader.read(READ_BYTES)
        except TimeoutError:
            for sending in tuple(self._waiting):
                self._end(sending)
            return None

    def _match(self, payload: bytes) -> None:
        """An answer belongs to the oldest message that waits for it, and must say so.

        Where answers are given in two stages, those to later messages may come between.
        """
        header = peek(payload)
        answer: Answer | None = None
        if not isinstance(header, NoHeader):
            answer = answers.read(payload, header)
        if answer is None or not self._sent:
            raise _Broken("the server said what is no answer")
        passed: list[_Sending] = []
        for sending in list(self._waiting)[: self._sent]:
            if sending.control_id == answer.control_id:
                break
            if not sending.asked.enhanced:
                raise _Broken("the answer is to another message")
            passed.append(sending)
        else:
            raise _Broken("the answer is to another message")
        for each in passed:
            if each.silent:
                self._end(each)
        first = sending.asked.enhanced and sending.accept is None
        if first and answer.code.startswith(Stage.ACCEPT):
            sending.accept, sending.said = answer, payload
            self.progress = asyncio.get_running_loop().time()
            if not sending.done:
                return
            answer = None
        self._end(sending, answer, payload)

    def _end(
        self, sending: _Sending, answer: Answer | None = None, said: bytes | None = None
    ) -> None:
        """Nothing more is waited for: this was the last answer, or there is none."""
        self._waiting.remove(sending)
        self._sent -= 1
        accept, last = sending.accept, answer or sending.accept
        result = Result(
            code=None if last is None else last.code,
            accept=None if accept is None else accept.code,
            error=None if last is None else last.error,
            cause=NOT_ASKED if last is None else None,
            sends=sending.sends,
            said=said if answer is not None else sending.said,
        )
        self._done(sending.index, result)

    def _done(self, index: int, result: Result) -> None:
        self.progress = asyncio.get_running_loop().time()
        self.results[index] = result
        if self._answered is not None:
            self._answered(index, result)
