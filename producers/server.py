"""The MLLP server: listens, bounds, sweeps, and ends gracefully."""

import asyncio
import itertools
import secrets
import socket
import ssl
from collections.abc import Callable

from producers import answers
from producers.connection import Connection
from producers.counters import Counters
from producers.limits import Limits
from producers.ports import Feeds, Outcomes, Publisher, Refusals
from producers.quotas import Quotas
from producers.tls import Listener
from schemas.codec import Codec

SWEEP_SECONDS = 0.25  # how late a time-out may be noticed
BACKLOG = 1024  # half-open connections that the system keeps for us


class Server:
    """Takes HL7 v2 messages on any number of ports; one event loop, no thread of its own.

    ``transient_answer``: the code (AE or AR) to answer with where a message could not be made
    durable; None, the default, is no answer and a closed connection, which every sender
    understands as "send again". ``outcomes``: where feeds that are answered by what became of
    their messages hear of it; without it such a message gets no answer.
    """

    def __init__(
        self, *, feeds: Feeds, publisher: Publisher, codec: Codec, limits: Limits | None = None,
        transient_answer: str | None = None, refusals: Refusals | None = None,
        outcomes: Outcomes | None = None,
    ) -> None:  # fmt: skip
        if transient_answer not in (None, answers.ERROR, answers.REJECTED):
            raise ValueError(f"the transient answer is AE, AR or none, not: {transient_answer}")
        self.feeds = feeds
        self.publisher = publisher
        self.codec = codec
        self.limits = limits or Limits()
        self.transient_answer = transient_answer
        self.refusals = refusals
        self.outcomes = outcomes
        self.quotas = Quotas()
        self.counters = Counters()
        self.connections: set[Connection] = set()
        self.accepting = True
        self.secured: list[Listener] = []
        self._context: ssl.SSLContext | None = None
        self._listeners: list[asyncio.Server] = []
        self._sweeper: asyncio.TimerHandle | None = None
        self._ids = itertools.count(1)
        self._prefix = secrets.token_hex(5)

    def secure(self, context: ssl.SSLContext) -> None:
        """Use this context for TLS connections from now on; those that are open go on."""
        self._context = context
        for listener in self.secured:
            listener.context = context

    async def listen(self, host: str, port: int, *, tls: bool = False) -> int:
        """Listen there; 0 lets the system choose. Returns the port, which names the feed.

        With ``tls`` a handshake comes first, in the context of :meth:`secure`.
        """
        assert not tls or self._context is not None, "who listens with TLS has a certificate"
        loop = asyncio.get_running_loop()
        chosen = port

        def accept() -> Connection:
            return Connection(self, chosen)

        if tls:
            (family, *_), *_ = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
            chosen = int(sock.getsockname()[1])
            self._secured(sock, accept)
        else:
            listener = await loop.create_server(
                accept, host, port, backlog=BACKLOG, start_serving=False
            )
            chosen = int(listener.sockets[0].getsockname()[1])
            await listener.start_serving()
            self._listeners.append(listener)
        if self._sweeper is None:
            self._sweep()
        return chosen

    async def close(self, grace_seconds: float = 30.0) -> None:
        """Accept nothing more, answer what was taken, at most so long; then hang up."""
        self.accepting = False
        for listener in self._listeners:
            listener.close()
        for secured in self.secured:
            secured.close()
        for connection in tuple(self.connections):
            connection.end()
        deadline = asyncio.get_running_loop().time() + grace_seconds
        while self.connections and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        for connection in tuple(self.connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _secured(self, sock: socket.socket, accept: Callable[[], Connection]) -> None:
        assert self._context is not None, "who listens with TLS has a certificate"
        listener = Listener(
            sock, self._context, accept=accept, counters=self.counters,
            room=lambda: self.limits.connections - len(self.connections),
            handshake_seconds=self.limits.handshake_seconds,
        )  # fmt: skip
        self.secured.append(listener)

    def own_id(self) -> str:
        """A new MSH-10, unique over restarts, at most 20 characters (HL7 before 2.7)."""
        return f"{self._prefix}{next(self._ids):x}"

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self.connections):
            connection.check(now)
        self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)
