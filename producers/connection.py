"""One MLLP connection: frames in order to the log, answers in the order of arrival.

Everything happens in callbacks of the event loop, so a connection has no task, and no lock. If
the brokers don't hold a message, the connection closes after the answers before it, and the
sender sends the rest again (invariant 1).
"""

import asyncio
import logging
from collections import deque
from collections.abc import Collection
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, cast
from uuid import UUID

from producers import acks, batches, binding, intake, replies
from producers.batches import Batch, TooMuch
from producers.files import Piece
from producers.keepalive import keep_alive
from producers.limits import Limits
from producers.mllp import Decoder, Frame, Refusal
from producers.peek import Header, NoHeader, peek
from producers.ports import Feeds, FeedUnread, KeysAway, NotDurable, Publisher, Refusals
from producers.replies import Answering, Entry, Part, Replies
from schemas.codec import Codec
from schemas.failpoints import hit
from schemas.feeds import AUTO, Feed
from schemas.sealing import KeyMissing
from schemas.topics import HL7V2

_LOG = logging.getLogger("wardtrail.mllp")


class Shared(Answering, Protocol):
    """What the connections of a server have in common."""

    feeds: Feeds
    publisher: Publisher
    codec: Codec
    limits: Limits
    connections: set["Connection"]
    accepting: bool
    refusals: Refusals | None


class Connection(asyncio.Protocol):
    """An accepted connection of one listening port."""

    def __init__(self, server: Shared, port: int) -> None:
        self._server = server
        self._port = port
        self._limits = server.limits
        self._counters = server.counters
        self._loop = asyncio.get_running_loop()
        self._decoder = Decoder(server.limits.frame_bytes)
        self._replies = Replies(server)
        self._read: deque[Frame | Refusal] = deque()  # and not taken: it waits for a quota
        self._read_bytes = 0  # of its frames
        self._held = 0  # bytes as last reported to the counters
        self._paused = False
        self._owing = False  # its feed has sent as much as it may
        self._ending = False  # nothing more is taken; closes when the queue is empty
        self._heard = self._active = self._loop.time()
        self._frame_since: float | None = None
        self._blocked_since: float | None = None
        self._closing_since: float | None = None
        self._certificate: str | None = None
        self._feeds: dict[UUID, Feed] = {}  # that it has sent by
        self._woken: asyncio.TimerHandle | None = None  # reads on when nothing is owed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or close it where there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        server = self._server
        if not server.accepting or len(server.connections) >= self._limits.connections:
            self._counters.connections_refused += 1
            self._ending = True
            self._transport.close()
            return
        server.connections.add(self)
        self._counters.connections += 1
        self._counters.open_connections += 1
        keep_alive(self._transport.get_extra_info("socket"))
        tls = self._transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True) if tls is not None else None
        self._certificate = binding.fingerprint(shown) if shown else None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it; what was published stays published, and is sent again by who wasn't told."""
        self._ending = True
        if self in self._server.connections:
            self._server.connections.discard(self)
            self._counters.open_connections -= 1
        self._server.quotas.leave(self._feeds)
        self._feeds = {}
        if self._woken is not None:
            self._woken.cancel()
        self._replies.forget()
        self._read.clear()
        self._read_bytes = 0
        self._decoder = Decoder(1)
        self._report_held()

    def data_received(self, data: bytes) -> None:
        """Bytes from the sender, at most 256 KiB at a time."""
        if self._ending:
            return
        self._counters.bytes_in += len(data)
        self._heard = self._loop.time()
        self._take(self._decoder.feed(data))

    def eof_received(self) -> bool:
        """The sender has said all: answer what is in flight, then close.

        With TLS the transport closes at once, and what is in flight then isn't answered.
        """
        if not self._ending:
            self._take(self._decoder.settle(), whole=True)
        if not self._ending:
            for refusal in self._decoder.finish():
                self._counters.refused[refusal.cause] += 1
            self.end()
        return self._transport.get_extra_info("ssl_object") is None

    def pause_writing(self) -> None:
        """The sender doesn't read its answers: read no more from it either."""
        self._blocked_since = self._loop.time()
        self._balance()

    def resume_writing(self) -> None:
        """The sender reads again."""
        self._blocked_since = None
        self._balance()

    def end(self, reason: str | None = None) -> None:
        """Take nothing more; close when all that was taken is answered."""
        if reason and not self._ending:
            self._counters.closed[reason] += 1
            _LOG.info("connection on port %d ends: %s", self._port, reason)
        self._ending = True
        self._balance()
        if not self._replies:
            self._close()

    def abort(self) -> None:
        """Close now, unanswered and unsent."""
        self._transport.abort()

    def check(self, now: float) -> None:
        """What only time tells; called several times a second."""
        limits = self._limits
        self._renew_feeds()
        if self._blocked_since is not None and now - self._blocked_since > limits.write_seconds:
            self._counters.closed["write time-out"] += 1
            self.abort()
        elif self._closing_since is not None:
            if now - self._closing_since > limits.write_seconds:
                self.abort()
        elif not self._ending:
            if self._decoder.unsettled and now - self._heard >= limits.settle_seconds:
                self._take(self._decoder.settle())
            if self._frame_since is not None and not self._full and not self._owing:
                if now - self._frame_since > limits.frame_seconds:
                    self.end("frame time-out")
            elif not (self._replies or self._owing) and now - self._active > limits.idle_seconds:
                self.end("idle")
            self._take()

    @property
    def _full(self) -> bool:
        """Whether this connection waits for its own messages or answers."""
        return (
            self._replies.in_flight > self._limits.connection_bytes
            or self._blocked_since is not None
        )

    def _take(self, items: Collection[Frame | Refusal] = (), *, whole: bool = False) -> None:
        """Take what was read, in order, as far as quotas allow or else as a whole."""
        self._read.extend(items)
        self._read_bytes += sum(len(each.payload) for each in items if isinstance(each, Frame))
        while self._read and not self._ending and (whole or not self._over_quota()):
            item = self._read.popleft()
            self._read_bytes -= len(item.payload) if isinstance(item, Frame) else 0
            try:
                self._handle(item)
            except Exception as error:
                header = peek(item.payload) if isinstance(item, Frame) else NoHeader(0)
                self._replies.add(Entry([self._fail(header, error)]))
        if items:
            self._active = self._heard
            self._frame_since = None
        if not self._decoder.inside:
            self._frame_since = None
        elif self._frame_since is None:
            self._frame_since = self._heard
        self._drain()
        if self._decoder.closed and not self._read and not self._ending:
            self.end("no MLLP")
        self._balance()

    def _handle(self, item: Frame | Refusal) -> None:
        """Put what a frame comes to into the queue."""
        if isinstance(item, Refusal):
            self._counters.refused[item.cause] += 1
            head = peek(item.head)
            if item.answerable and not head.acknowledges:
                refused = intake.refuse(item, self._limits.frame_bytes, self._feed_of(head))
                self._replies.add(Entry([replies.refused(head, refused)]))
            return
        hit("intake: frame read")
        self._counters.frames += 1
        found = batches.unpack(item.payload, self._limits.batch_messages)
        if found is None:
            part = self._part(item.payload)
            if part is not None:
                self._replies.add(Entry([part]))
        elif isinstance(found, TooMuch):
            header = peek(item.payload)
            refused = intake.too_much(found, self._feed_of(header))
            self._replies.add(Entry([self._refuse(header, refused)]))
        else:
            self._batch(found)

    def _batch(self, found: Batch) -> None:
        """Each message of a batch by itself; all are answered together."""
        self._counters.batches += 1
        self._counters.miscounted += found.miscounted
        parts: list[Part] = []
        acknowledgements = self._counters.acknowledgements
        for each in found.items:
            part = self._part(each.body if isinstance(each, Piece) else b"")
            if part is not None:
                parts.append(part)
            elif self._ending:
                return  # a connection too many: who sent the batch is told nothing of it
            if self._ending:
                break
        if parts or self._counters.acknowledgements == acknowledgements:
            self._replies.add(Entry(parts, found))

    def _part(self, body: bytes) -> Part | None:
        """A message by itself: what befalls it leaves the others of its batch alone."""
        try:
            return self._message(body)
        except Exception as error:
            return self._fail(peek(body), error)

    def _message(self, body: bytes) -> Part | None:
        """Refuse a message or hand it to the log; None where it wants no answer."""
        header = peek(body)
        if header.acknowledges:
            self._counters.acknowledgements += 1
            return None
        server = self._server
        feed = intake.admit(header, server.feeds.by_port(self._port), self._certificate)
        if isinstance(feed, intake.Rejection):
            return self._refuse(header, feed)
        assert isinstance(header, Header), "a message without a header is rejected"
        if not self._entered(feed):
            return None
        record = intake.record(
            body, header, feed, server.feeds.keys(feed.tenant_id), server.codec,
            received_at=datetime.now(UTC),
        )  # fmt: skip
        hit("intake: checked")
        future = server.publisher.publish(HL7V2.name, record.key, record.value, record.headers)
        part = Part(
            header=header, asked=acks.asked(header, feed.acknowledgement),
            size=len(record.value), future=future, feed=feed, message_id=record.message_id,
        )  # fmt: skip
        future.add_done_callback(partial(self._delivered, part))
        hit("intake: produced")
        server.quotas.charge(feed, self._loop.time())
        if future.done() and future.exception() and self._replies.transient(feed) is None:
            self._ending = True  # refused at once: what follows must not overtake it
        return part

    def _refuse(self, header: Header | NoHeader, rejection: intake.Rejection) -> Part:
        self._counters.refused[rejection.cause] += 1
        self._note(header, rejection)
        return replies.refused(header, rejection)

    def _note(self, header: Header | NoHeader, rejection: intake.Rejection) -> None:
        refusals = self._server.refusals
        if refusals is not None:
            refusals.note(intake.refused(rejection, header, self._port, self._server.feeds))

    def _entered(self, feed: Feed) -> bool:
        """Whether this connection may send by this feed; else it ends, nothing of it answered."""
        if feed.feed_id in self._feeds:
            self._feeds[feed.feed_id] = feed  # its quotas may have been set anew
            return True
        if not self._server.quotas.enter(feed):
            self._counters.refused[intake.CONNECTIONS] += 1
            self._note(NoHeader(0), intake.too_many(feed))
            self.end("too many connections of a feed")
            return False
        self._feeds[feed.feed_id] = feed
        return True

    def _feed_of(self, header: Header | NoHeader) -> Feed | None:
        """The feed whose codes what isn't taken is answered with, where it fits one."""
        feed = intake.admit(header, self._server.feeds.by_port(self._port), self._certificate)
        return feed.feed if isinstance(feed, intake.Rejection) else feed

    def _fail(self, header: Header | NoHeader, error: Exception) -> Part:
        """A message that can't be taken now stands in the queue as one that isn't durable."""
        feed = None
        if isinstance(error, KeysAway | KeyMissing):
            reason, feed = "keys away", self._feed_of(header)
        elif isinstance(error, FeedUnread):
            reason = "feed unread"
        else:  # a text of it may hold the message: its name must do
            _LOG.error("a message could not be taken: %s", type(error).__name__)
            reason = "internal error"
        self._counters.closed[reason] += 1
        future = self._loop.create_future()
        future.set_exception(NotDurable(reason))
        asked = acks.asked(header, feed.acknowledgement if feed else AUTO)
        future.add_done_callback(self._reported)
        if self._replies.transient(feed) is None:
            self._ending = True
        return Part(header=header, asked=asked, future=future, feed=feed)

    def _delivered(self, part: Part, future: asyncio.Future[None]) -> None:
        """A delivery report came for a message."""
        if self in self._server.connections:
            self._replies.delivered(part, self._reported)
        self._reported(future)

    def _reported(self, future: asyncio.Future[Any]) -> None:
        """More is known of whichever entry."""
        if not future.cancelled():
            future.exception()  # seen, also where the connection has gone
        if self._replies:
            self._take()

    def _drain(self) -> None:
        """Answer as far as the outcomes are known."""
        out = self._replies.due()
        if self._replies.broken:
            self._ending = True
        if out and not self._transport.is_closing():
            self._active = self._loop.time()
            self._transport.write(b"".join(out))
        if self._ending and not self._replies:
            self._close()

    def _close(self) -> None:
        if self._closing_since is None:
            self._closing_since = self._loop.time()
            self._transport.close()

    def _balance(self) -> None:
        """Read on or stop reading, by what is held."""
        self._report_held()
        limits = self._limits
        crowded = self._counters.held_bytes > limits.total_bytes and self._held > limits.small_bytes
        self._owing = self._over_quota()
        stop = self._full or crowded or self._ending or self._owing
        if stop == self._paused or self._transport.is_closing():
            return
        self._paused = stop
        if stop:
            self._transport.pause_reading()
        else:
            if self._frame_since is not None:
                self._frame_since = self._loop.time()  # it was our pause
            self._transport.resume_reading()

    def _over_quota(self) -> bool:
        """Whether a feed of this connection has sent as much as it may; looks again in time."""
        if not self._feeds:
            return False
        quotas, now = self._server.quotas, self._loop.time()
        wait = max(quotas.wait(feed, now) for feed in self._feeds.values())
        if wait > 0 and self._woken is None:
            self._woken = self._loop.call_later(wait, self._wake)
        return wait > 0 or any(quotas.crowded(feed) for feed in self._feeds.values())

    def _renew_feeds(self) -> None:
        """Take quotas that were set anew, though nothing is read: a paused feed waits by them."""
        if self._feeds:
            for feed in self._server.feeds.by_port(self._port):
                if feed.feed_id in self._feeds:
                    self._feeds[feed.feed_id] = feed

    def _wake(self) -> None:
        self._woken = None
        self._take()

    def _report_held(self) -> None:
        held = self._replies.in_flight + self._decoder.held + self._read_bytes
        self._counters.held_bytes += held - self._held
        self._held = held
