"""Senders of MLLP frames: several connections, each with a window of unanswered messages."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

from producers.mllp import CR, FS

END = FS + CR
SEND_SECONDS = 120.0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How it went: answers by code, and how long each took, in seconds."""

    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    refused: int = 0

    def percentile(self, share: float) -> float:
        """The wait that this share of the messages didn't exceed, in milliseconds."""
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


class _Sender(asyncio.Protocol):
    """One connection: sends its frames in order and keeps the window full."""

    def __init__(self, frames: Sequence[bytes], window: int, outcome: Outcome) -> None:
        self._frames, self._window, self._outcome = deque(frames), window, outcome
        self._sent: deque[float] = deque()
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a stream"
        self._transport = transport
        self._fill()

    def data_received(self, data: bytes) -> None:
        now = perf_counter()
        *answers, self._buffer = (self._buffer + data).split(END)
        for answer in answers:
            self._outcome.waits.append(now - self._sent.popleft())
            self._outcome.refused += b"MSA|AA" not in answer
        self._fill()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the server hung up"))

    def _fill(self) -> None:
        while self._frames and len(self._sent) < self._window:
            self._sent.append(perf_counter())
            self._transport.write(self._frames.popleft())
        if not self._frames and not self._sent and not self.done.done():
            self.done.set_result(None)
            self._transport.close()


async def send(host: str, port: int, queues: Sequence[Sequence[bytes]], *, window: int) -> Outcome:
    """Send each queue over a connection of its own, until all are answered."""
    loop, outcome = asyncio.get_running_loop(), Outcome()
    senders: list[_Sender] = []

    def made(frames: Sequence[bytes]) -> _Sender:
        senders.append(_Sender(frames, window, outcome))
        return senders[-1]

    start = perf_counter()
    for frames in queues:
        await loop.create_connection(lambda frames=frames: made(frames), host, port)
    await asyncio.wait_for(asyncio.gather(*(each.done for each in senders)), SEND_SECONDS)
    outcome.seconds = perf_counter() - start
    return outcome
