"""The intake's wait for the ledger's outcome, on its own loop and for a bounded time."""

import asyncio
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

from producers.ports import Became
from schemas.feeds import Feed
from sinks import awaited
from sinks.awaited import Awaited, WaitingFull

# A ledger that keeps up needs some tenths of a second; a sender waits 10 to 60 s for its answer.
WAIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class LedgerOutcomes:
    """Outcomes as :class:`producers.ports.Outcomes`."""

    awaited: Awaited
    wait_seconds: float = WAIT_SECONDS

    def ask(self, feed: Feed, message_id: UUID) -> asyncio.Future[Became | None]:
        """What became of a message of this feed; None where that isn't known in time."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Became | None] = loop.create_future()
        key = (feed.tenant_id, feed.feed_id, message_id)
        try:
            told = self.awaited.ask(key)
        except WaitingFull:
            future.set_result(None)
            return future

        def settle(became: Became | None) -> None:
            if not future.done():
                future.set_result(became)

        def tell(told: "Future[awaited.Became]") -> None:
            if not told.cancelled():
                was = told.result()
                became = Became(outcome=was.outcome, reason=was.reason, cause=was.cause)
                with suppress(RuntimeError):  # the loop has ended, and nobody waits
                    loop.call_soon_threadsafe(settle, became)

        told.add_done_callback(tell)
        late = loop.call_later(self.wait_seconds, settle, None)

        def leave(_: object) -> None:
            late.cancel()
            self.awaited.leave(key, told)

        future.add_done_callback(leave)
        return future
