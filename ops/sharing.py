"""Looks how far the ledger is behind, and tells the intake how much each tenant may send.

Each `serve` looks by itself and slows what it takes itself. While the database or the brokers
are away, or are slow to tell, nobody is slowed but by quotas: what is sent is safe in Kafka, and
fair again later.
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

GOOD_SECONDS = 1.0  # for so long what a look allows holds, if none follows
AGAIN_SECONDS = 5.0  # after trouble; whoever is away needs no more questions
STOP_SECONDS = 10.0  # at most; the thread ends with the process anyway
LEDGER = "ledger"

logger = logging.getLogger(__name__)

Offsets = Mapping[int, int]


class Sharing:
    """A thread that looks five times a second, and sets the shares of :class:`Quotas`."""

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
            held=self._quotas.held(),
        )  # fmt: skip
        self._set(follow(self._shares, seen))

    def gauges(self) -> dict[str, int]:
        """What is in force, by tenant id, and what it follows from."""
        shares = self._shares
        slowed = {
            f"messages until the next look: {each}": shares.given[each]
            for each in shares.slowed
            if each in shares.given
        }
        return {
            "slowed": len(slowed),
            "window_messages": int(shares.window),
            "delay_milliseconds": int(shares.delay * 1000),
            **slowed,
        }

    def _set(self, shares: Shares) -> None:
        before, self._shares = self._shares, shares
        until = shares.looks[-1].at + GOOD_SECONDS if shares.looks else 0.0
        self._quotas.share(shares.given, until, others=shares.others)
        for tenant in shares.slowed.keys() - before.slowed.keys():
            logger.warning("a tenant is slowed to its share of what the ledger takes: %s", tenant)
        for tenant in before.slowed.keys() - shares.slowed.keys():
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
