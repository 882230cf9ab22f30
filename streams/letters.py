"""Dead letters of a projector's partitions: what is asked about them is done, by their owner."""

import logging
import threading
from dataclasses import dataclass

from schemas.failpoints import FailPoint
from schemas.registry import RegistryAway
from schemas.sealing import KeyServiceAway
from sinks import parking, relay
from sinks.database import DatabaseAway
from sinks.parking import CHANNEL, Ended, Request
from sinks.releasing import Releasing
from sinks.subscriptions import Stale
from streams import ports
from streams.projector import Projector

POLL_SECONDS = 2.0  # how long a lost notice goes unnoticed; also on a partition that is idle
BACKOFF_SECONDS = (0.1, 30.0)
PASSING = (DatabaseAway, RegistryAway, KeyServiceAway, FailPoint)  # the same again may succeed

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Letters:
    """Executes requests beside a projector, which goes on; runs in a thread of its own."""

    projector: Projector
    failure: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Execute what is asked until ``stop``; what only passes is waited for."""
        backoff = BACKOFF_SECONDS[0]
        while not stop.is_set():
            try:
                with relay.listening(self.projector.database, CHANNEL) as wait:
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
        names = [each.name for each in self.projector.projections]
        ended = 0
        for request in parking.requests(self.projector.database, names):
            try:
                ended += self._execute(request) is not None
            except (ports.Stale, Stale):
                continue  # its owner is another one, or will be
        return ended

    def _execute(self, request: Request) -> Ended | None:
        projector = self.projector
        held = projector.ownership.held(request.subscription_id, request.topic, request.partition)
        [projection] = [
            each for each in projector.projections if each.name == request.subscription_id
        ]
        releasing = Releasing(projection=projection, held=held, read=projector.opened)
        try:
            ended = parking.execute(
                projector.database, held, request.request_id, releasing,
                line=projector.root.line(),
            )  # fmt: skip
        except (Stale, *PASSING, MemoryError):
            raise
        except Exception as error:
            # By its type: a driver's text may quote a row.
            ended = Ended(how="failed", said=type(error).__name__, released=0)
            parking.refuse(projector.database, request.request_id, ended.said)
        if ended is not None:
            logger.info("dead letters: %s: %s, released: %d", held.name, ended.how, ended.released)
        return ended
