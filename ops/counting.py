"""Counts refused messages in memory; now and then they become rows, which stay some months."""

import logging
import threading
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

from producers.ports import Refused
from sinks import feeds
from sinks.database import Database
from sinks.feeds import Kind

FLUSH_SECONDS = 5.0  # a kill loses at most so much of the counts, of messages nobody took
# Different counts at a time; what is more is counted without its sender, then not by feed.
KINDS_MAX = 1_000
SENDERS_MAX = 16  # of one feed and reason in an hour
# As often some thousand rows go that are kept no longer: more than the bounds above let come.
SWEEP_SECONDS = 60.0

logger = logging.getLogger(__name__)


class Counting:
    """The intake's :class:`producers.ports.Refusals`: a flood becomes a few rows in 5 seconds.

    While the database is away the counts wait, in memory that is bounded.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._counts: Counter[Kind] = Counter()
        self._senders: Counter[Kind] = Counter()  # different ones, by kind without sender
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="refusals", daemon=True)
        self._swept_at: float | None = None
        self.unrecorded = 0

    def start(self) -> None:
        """Write down from time to time."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is left is written down."""
        self._stop.set()
        self._thread.join(FLUSH_SECONDS)

    def note(self, refused: Refused) -> None:
        """See :class:`producers.ports.Refusals`."""
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        whole = Kind(
            hour=hour, port=refused.port, reason=refused.reason, tenant_id=refused.tenant_id,
            feed_id=refused.feed_id, sender_hmac=refused.sender_hmac,
        )  # fmt: skip
        with self._lock:
            kind = self._kind(whole)
            if kind is None:
                self.unrecorded += 1
            else:
                self._counts[kind] += 1

    def flush(self) -> None:
        """Write down what was counted; it is kept where that fails."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            feeds.count_refusals(self._database, counts)
        except BaseException:
            with self._lock:
                self._counts.update(counts)
            raise

    def sweep(self, now: float) -> None:
        """Remove what is kept no longer, now and then; ``now`` is a clock that only rises."""
        if self._swept_at is None or now - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = now
            feeds.forget_refusals(self._database, datetime.now(UTC))

    def _kind(self, whole: Kind) -> Kind | None:
        """As what this one is counted; None where there is no room even for that."""
        if whole in self._counts:
            return whole
        anonymous = replace(whole, sender_hmac=None)
        room = self._senders[anonymous] < SENDERS_MAX and len(self._counts) < KINDS_MAX // 2
        if whole.sender_hmac is not None and room:
            self._forget(whole.hour)
            self._senders[anonymous] += 1
            return whole
        if anonymous in self._counts or len(self._counts) < KINDS_MAX:
            return anonymous
        return None

    def _forget(self, hour: datetime) -> None:
        """Senders of earlier hours count no longer."""
        if any(each.hour != hour for each in self._senders):
            self._senders = Counter({k: n for k, n in self._senders.items() if k.hour == hour})

    def _follow(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stop.wait(FLUSH_SECONDS)
            try:
                self.flush()
                self.sweep(time.monotonic())
            except Exception as error:  # counted on; written when the database is back
                logger.warning("refusals are not written yet: %s", type(error).__name__)
