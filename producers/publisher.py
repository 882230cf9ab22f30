"""Publishes records to Kafka: done when the brokers hold them, never before, made anew on trouble.

Each instance of the client has one thread that waits inside librdkafka for delivery reports and
hands them to the event loop in bunches. After any failed delivery the instance is purged, all
that it held fails, and the next record gets a new one: an idempotent producer that goes on after
a lost record may put later ones of the same sender before it.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Producer

from producers.ports import NotDurable, RecordTooLarge
from schemas.topics import RECORD_BYTES_MAX

_LOG = logging.getLogger("wardtrail.publisher")
# A sender waits 10 to 60 s for its answer; after that it sends again whatever we know.
DELIVERY_SECONDS = 30.0
# Room for what the server lets be in flight (64 MiB) twice, so that its bound is met first.
QUEUE_KIB = 128 * 1024
QUEUE_RECORDS = 200_000
POLL_SECONDS = 0.2  # how long closing waits at most for a thread that has nothing to report
RETIRE_SECONDS = 10.0  # a purged instance reports at once; more means that it hangs
_TOO_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE})
TELL_SECONDS = 30.0  # between two lines about the same trouble


@dataclass(slots=True)
class Counters:
    """What happened so far."""

    published: int = 0
    failed: int = 0
    renewed: int = 0


class KafkaPublisher:
    """The log as :class:`producers.ports.Publisher`; used from one event loop."""

    def __init__(
        self, bootstrap_servers: str, *, delivery_seconds: float = DELIVERY_SECONDS
    ) -> None:
        self._configuration = configuration(bootstrap_servers, delivery_seconds)
        self._instance: _Instance | None = None
        self.counters = Counters()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def publish(
        self, topic: str, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> asyncio.Future[None]:
        """Hand over a record; done when the brokers hold it.

        The future raises NotDurable (brokers away, time-out, queue full, broken instance) or
        RecordTooLarge.
        """
        loop = asyncio.get_running_loop()
        if self._instance is None or self._instance.broken:
            if self._instance is not None:
                self.counters.renewed += 1
                self._instance.retire()
            self._instance = _Instance(self._configuration, loop, self.counters)
        return self._instance.produce(topic, key, value, headers)

    async def close(self, grace_seconds: float = DELIVERY_SECONDS) -> None:
        """Wait for what is in flight, at most so long; what is left then fails as NotDurable."""
        instance, self._instance = self._instance, None
        if instance is not None:
            await asyncio.to_thread(instance.close, grace_seconds)


def configuration(bootstrap_servers: str, delivery_seconds: float) -> dict[str, Any]:
    """The client's settings; what is not customary has its reason."""
    return {
        "bootstrap.servers": bootstrap_servers,
        "client.id": "wardtrail-intake",
        "enable.idempotence": True,
        "acks": "all",
        # Bodies are ciphertext and don't shrink. lz4 gives up on them soonest, and still halves
        # what records of a batch have in common: headers, ids, the envelope's header.
        "compression.type": "lz4",
        "partitioner": "murmur2_random",  # librdkafka's default differs from Java's and aiokafka's
        "message.max.bytes": RECORD_BYTES_MAX,
        "message.timeout.ms": int(delivery_seconds * 1000),
        "request.timeout.ms": int(min(delivery_seconds, 10.0) * 1000),
        "queue.buffering.max.messages": QUEUE_RECORDS,
        "queue.buffering.max.kbytes": QUEUE_KIB,
        # A sender waits for each answer: waiting to fill a batch would be added to every one.
        # Under load batches fill by themselves behind the requests in flight.
        "linger.ms": 0,
        # Back within a second of the broker's return; the default waits up to ten.
        "reconnect.backoff.ms": 100,
        "reconnect.backoff.max.ms": 1000,
        "retry.backoff.max.ms": 1000,
        "socket.connection.setup.timeout.ms": 5000,
        "socket.keepalive.enable": True,
        "log.connection.close": False,
        "log_level": 2,  # what it logs below that, `_error` tells
    }


class _Instance:
    """One client with its thread; breaks at the first failed delivery and stays broken."""

    def __init__(
        self, settings: dict[str, Any], loop: asyncio.AbstractEventLoop, counters: Counters
    ) -> None:
        self.broken = False
        self._loop = loop
        self._counters = counters
        self._reports: deque[tuple[asyncio.Future[None], KafkaError | None]] = deque()
        self._woken = threading.Event()  # set while the loop is going to read the reports
        self._stop = threading.Event()
        self._told_at = -TELL_SECONDS
        self._producer = Producer({**settings, "error_cb": self._error}, logger=_LOG)
        self._thread = threading.Thread(target=self._poll, name="publisher", daemon=True)
        self._thread.start()

    def produce(
        self, topic: str, key: bytes | None, value: bytes, headers: Sequence[tuple[str, bytes]]
    ) -> asyncio.Future[None]:
        future: asyncio.Future[None] = self._loop.create_future()

        def report(error: KafkaError | None, _: object) -> None:
            self._report(future, error)

        try:
            self._producer.produce(topic, value, key, headers=list(headers), on_delivery=report)
        except BufferError:
            self._counters.failed += 1
            future.set_exception(NotDurable("the queue to the brokers is full"))
        except KafkaException as error:
            self._fail(future, error.args[0])
        return future

    def retire(self) -> None:
        """Fail all that is held; the thread ends when it has been told so."""
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)
        self._stop.set()

    def close(self, grace_seconds: float) -> None:
        """Deliver what is held, or fail it; not to be called on the event loop."""
        self._producer.flush(grace_seconds)
        self.retire()
        self._thread.join(RETIRE_SECONDS)

    def _poll(self) -> None:
        """The thread: wait for reports; once stopped, until none is owed."""
        while not self._stop.is_set():
            self._producer.poll(POLL_SECONDS)
        self._producer.flush(RETIRE_SECONDS)

    def _report(self, future: asyncio.Future[None], error: KafkaError | None) -> None:
        """On the thread: put the report down and wake the loop, once for all that come."""
        self._reports.append((future, error))
        if not self._woken.is_set():
            self._woken.set()
            try:
                self._loop.call_soon_threadsafe(self._settle)
            except RuntimeError:
                _LOG.warning("a delivery report came after the event loop had ended")

    def _settle(self) -> None:
        """On the loop: all reports that are there."""
        self._woken.clear()
        while self._reports:
            future, error = self._reports.popleft()
            if error is not None:
                self._fail(future, error)
            elif not future.done():
                self._counters.published += 1
                future.set_result(None)

    def _fail(self, future: asyncio.Future[None], error: KafkaError) -> None:
        self._counters.failed += 1
        if error.code() in _TOO_LARGE:
            outcome: Exception = RecordTooLarge(f"the topic takes no such record: {error.name()}")
        else:
            outcome = NotDurable(f"the brokers do not hold the record: {error.name()}")
        if not future.done():
            future.set_exception(outcome)
        if not self.broken:
            self.broken = True
            # Later records must not arrive where an earlier one of their sender did not.
            self.retire()

    def _error(self, error: KafkaError) -> None:
        """The client's own trouble: only a fatal one ends the instance.

        Told once in a while: a broker that is away is met again at every attempt.
        """
        now = time.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            _LOG.warning("brokers can't be reached, nothing is answered: %s", error.name())
        if error.fatal():
            self.broken = True
