"""Looks how far the ledger is behind, and tells the intake which tenants to slow.

Each `serve` looks by itself and slows what it takes itself. While the database or the brokers
are away nobody is slowed but by quotas: what is sent is safe in Kafka, and fair again later.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from time import monotonic

from producers.quotas import Quotas
from producers.shares import LOOK_SECONDS, Look, Shares, follow
from schemas.topics import HL7V2
from sinks import subscriptions
from sinks.database import Database, DatabaseAway
from streams.log import BrokerAway, Ends, TopicMissing

AGAIN_SECONDS = 5.0  # after trouble; whoever is away needs no more questions
STOP_SECONDS = 10.0  # at most; the thread ends with the process anyway
LEDGER = "ledger"

logger = logging.getLogger(__name__)

Offsets = Mapping[int, int]


class Sharing:
    """A thread that looks twice a second, and sets the shares of :class:`Quotas`."""

    def __init__(
        self, quotas: Quotas, read: Callable[[], Offsets], ends: Callable[[], Offsets]
    ) -> None:
        self._quotas, self._read, self._ends = quotas, read, ends
        self._shares = Shares()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="shares", daemon=True)

    @classmethod
    def of(cls, quotas: Quotas, database: Database, bootstrap_servers: str) -> "Sharing":
        """Looks at the ledger's positions and at the ends of the topic that intake writes."""
        return cls(
            quotas,
            lambda: subscriptions.reached(database, LEDGER, HL7V2.name),
            Ends(bootstrap_servers, HL7V2.name),
        )

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and slow nobody."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        self._set(Shares())

    def look(self) -> None:
        """Look once; raises what the database or the brokers raise."""
        read, ends = self._read(), self._ends()
        seen = Look(
            at=monotonic(), read=read, ends=ends, sent=dict(self._quotas.sent),
            held=self._quotas.share(self._shares.rates),
        )  # fmt: skip
        self._set(follow(self._shares, seen))

    def gauges(self) -> dict[str, int]:
        """What is in force, by tenant id, and what it follows from."""
        shares = self._shares
        rates = {f"messages_per_second: {each}": rate for each, rate in shares.rates.items()}
        return {
            "slowed": len(rates),
            "ledger_messages_per_second": int(shares.capacity),
            "backlog_milliseconds": int(shares.backlog_seconds * 1000),
            **rates,
        }

    def _set(self, shares: Shares) -> None:
        before, self._shares = self._shares, shares
        self._quotas.share(shares.rates)
        for tenant in shares.rates.keys() - before.rates.keys():
            logger.warning("a tenant is slowed to its share of what the ledger takes: %s", tenant)
        for tenant in before.rates.keys() - shares.rates.keys():
            logger.warning("a tenant is slowed no longer: %s", tenant)

    def _follow(self) -> None:
        wait = LOOK_SECONDS
        while not self._stop.wait(wait):
            wait = LOOK_SECONDS
            try:
                self.look()
            except (DatabaseAway, BrokerAway, TopicMissing):
                wait = AGAIN_SECONDS
                logger.info("tenants share nothing by themselves: the ledger can't be seen")
                self._set(Shares())
            except Exception as error:  # the intake goes on
                wait = AGAIN_SECONDS
                logger.error("tenants share nothing by themselves: %s", type(error).__name__)
                self._set(Shares())
