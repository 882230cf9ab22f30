"""What stands still, as `/metrics` shows it: stopped partitions, dead letters by feed and cause."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic

from ops import access
from ops.samples import sample
from ops.settings import Settings
from sinks import letters, queries
from sinks.letters import Open
from sinks.queries import Standing

# Who collects metrics asks every 10 to 60 seconds, and a breaker looks again within 30.
LOOK_SECONDS = 15.0
SERIES_MAX = 500  # of letters, the largest first; the totals count all

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look found."""

    at: float  # on a clock that only rises
    stopped: tuple[Standing, ...] = ()
    letters: tuple[Open, ...] = ()
    totals: Mapping[str, int] | None = None  # letters by state


class Standstill:
    """A thread that looks now and then; while the database is away the last look ages."""

    def __init__(self, look: Callable[[], Seen]) -> None:
        self._look = look
        self._seen = Seen(at=monotonic())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="standstill", daemon=True)

    @classmethod
    def of(cls, settings: Settings) -> "Standstill":
        """Looks at the rows of every tenant."""
        url = access.role_url(settings, "wt_worker")
        return cls(lambda: look(url))

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, at most after the look that is under way."""
        self._stop.set()

    def look(self) -> None:
        """Look once; raises what the database raises."""
        self._seen = self._look()

    def lines(self) -> list[str]:
        """In the Prometheus text format; before the first look only how old that is."""
        seen = self._seen
        age = max(0, int(monotonic() - seen.at))
        return [sample("standstill_age_seconds", {}, age), *_lines(seen)]

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:  # the age tells it, and everything else goes on
                logger.info("what stands still can't be seen: %s", type(error).__name__)
            self._stop.wait(LOOK_SECONDS)


def look(url: str) -> Seen:
    """What stands still now, over all tenants."""
    at = monotonic()
    with queries.as_overseer(url) as snapshot:
        standings = queries.standings(snapshot)
        found = letters.still_open(snapshot, limit=SERIES_MAX)
    totals = {"dead": 0, "parked": 0} | {each.state: each.of_state for each in found}
    return Seen(
        at=at, stopped=tuple(each for each in standings if each.stopped is not None),
        letters=tuple(found), totals=totals,
    )  # fmt: skip


def _lines(seen: Seen) -> Iterator[str]:
    if seen.totals is None:
        return
    yield sample("partitions_stopped", {}, len(seen.stopped))
    for each in seen.stopped:
        place = {
            "subscription": each.subscription_id, "topic": each.topic,
            "partition": str(each.partition), "kind": each.stopped or "",
        }  # fmt: skip
        yield sample("partition_stopped", place, 1)
    for state, count in sorted(seen.totals.items()):
        yield sample("letters", {"state": state}, count)
    for letter in seen.letters:
        kind = {
            "state": letter.state, "subscription": letter.subscription_id,
            "tenant": letter.tenant_id or "", "feed": letter.feed or "", "cause": letter.cause,
        }  # fmt: skip
        yield sample("letters_of_feed", kind, letter.letters)
