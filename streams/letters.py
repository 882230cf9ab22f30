"""Dead letters of a processor's partitions: what is asked about them is done, by their owner."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.failpoints import FailPoint
from schemas.sealing import KeyService
from sinks import parking, relay
from sinks.database import Database
from sinks.parking import CHANNEL, Ended, Releasing, Request
from sinks.subscriptions import Held, Stale
from streams import ownership, ports
from streams.ownership import Ownership

POLL_SECONDS = 2.0  # how long a lost notice goes unnoticed; also on a partition that is idle
BACKOFF_SECONDS = (0.1, 30.0)
PASSING = (*ownership.PASSING, FailPoint)  # the same again may succeed

logger = logging.getLogger(__name__)


class Processor(Protocol):
    """What has dead letters: the ledger, or a projector."""

    database: Database
    ownership: Ownership
    root: KeyService

    @property
    def names(self) -> Sequence[str]:
        """The subscriptions whose dead letters are its own."""

    def releasing(self, held: Held) -> Releasing:
        """What it does with a partition's dead letters when they are released."""


@dataclass(slots=True, kw_only=True)
class Letters:
    """Executes requests beside a processor, which goes on; runs in a thread of its own."""

    processor: Processor
    failure: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Execute what is asked until ``stop``; what only passes is waited for."""
        backoff = BACKOFF_SECONDS[0]
        while not stop.is_set():
            try:
                with relay.listening(self.processor.database, CHANNEL) as wait:
                    while not stop.is_set():
                        if not self.round():
                            wait(POLL_SECONDS)
                        backoff = BACKOFF_SECONDS[0]
            except PASSING as trouble:
                logger.warning("dead letters: again in %.1f s: %s", backoff, trouble)
                stop.wait(backoff)
                backoff = min(backoff * 2, BACKOFF_SECONDS[1])
            except Exception as error:  # a thread that died in silence would leave requests open
                self.failure = type(error).__name__
                logger.critical("dead letters stopped: %s", self.failure)
                break

    def round(self) -> int:
        """Execute the requests for partitions that are ours; return how many ended."""
        ended = 0
        for request in parking.requests(self.processor.database, self.processor.names):
            try:
                ended += self._execute(request) is not None
            except (ports.Stale, Stale):
                continue  # its owner is another one, or will be
        return ended

    def _execute(self, request: Request) -> Ended | None:
        processor = self.processor
        held = processor.ownership.held(request.subscription_id, request.topic, request.partition)
        try:
            ended = parking.execute(
                processor.database, held, request.request_id, processor.releasing(held),
                line=processor.root.line(),
            )  # fmt: skip
        except (Stale, *PASSING, MemoryError):
            raise
        except Exception as error:
            # By its type: a driver's text may quote a row.
            ended = Ended(how="failed", said=type(error).__name__, released=0)
            parking.refuse(processor.database, request.request_id, ended.said)
        if ended is not None:
            logger.info("dead letters: %s: %s, released: %d", held.name, ended.how, ended.released)
        return ended
