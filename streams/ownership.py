"""Owning partitions: which epochs a processor holds, and what the sinks' errors mean to it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from schemas.failpoints import FailPoint
from schemas.registry import RegistryAway
from schemas.sealing import EnvelopeInvalid, KeyServiceAway
from sinks import subscriptions
from sinks.breaker import BreakerOpen
from sinks.database import Database, DatabaseAway
from sinks.subscriptions import Held
from sinks.transaction import Gap, TypeUnknown
from streams import log, ports

PASSING = (DatabaseAway, log.BrokerAway, RegistryAway, KeyServiceAway)  # what only passes
# What stops a partition and says itself where and what to do; anything else is told by its type.
STOPPING: Mapping[type[Exception], str] = {
    BreakerOpen: "breaker", Gap: "gap", TypeUnknown: "type_unknown",
}  # fmt: skip
FAILED = "failed"
# These stop no partition by themselves, or end the process.
_GOES_ON = (
    *PASSING, FailPoint, EnvelopeInvalid, subscriptions.Stale, subscriptions.Hole,
    subscriptions.TopicReplaced, log.TopicMissing,
    ports.Stale, ports.Hole, ports.Transient, ports.Broken,
)  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Ownership:
    """The partitions of some subscriptions that this process holds.

    ``url`` is the database's, for ending holders that don't let go; ``owner`` names this
    process in the row.
    """

    database: Database
    url: str
    subscriptions: tuple[str, ...]
    bootstrap_servers: str
    owner: str
    _held: dict[tuple[str, str, int], Held] = field(default_factory=dict)
    _taken: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def take(
        self, partitions: Sequence[ports.Partition], *, generation: int
    ) -> dict[ports.Partition, int]:
        """Take the partitions, each epoch raised once per generation; the lowest next offsets.

        The offsets are those of now: a partition may be taken again long after it was raised.
        """
        if not partitions:
            return {}
        with told():
            topic_ids = log.topic_ids(
                self.bootstrap_servers, sorted({topic for topic, _ in partitions})
            )
            for subscription in self.subscriptions:
                wanted = [
                    place for place in partitions
                    if self._taken.get((subscription, *place)) != generation
                ]  # fmt: skip
                if wanted:
                    self._take(subscription, wanted, topic_ids, generation)
            return subscriptions.positions(self.database, self.subscriptions, partitions)

    def held(self, subscription: str, topic: str, partition: int) -> Held:
        """What we hold; :class:`~streams.ports.Stale` if nothing."""
        held = self._held.get((subscription, topic, partition))
        if held is None:
            raise ports.Stale(f"not taken: {subscription} {topic}/{partition}")
        return held

    def lose(self, held: Held) -> None:
        """Another has it: the next :meth:`take` raises the epoch again, in any generation."""
        self._taken.pop((held.subscription_id, held.topic, held.partition), None)

    @contextmanager
    def holding(self, subscription: str, topic: str, partition: int) -> Iterator[Held]:
        """Work under what we hold; the sinks' errors come out as the transport knows them.

        What stops the partition is noted in its row, for who looks there.
        """
        held = self.held(subscription, topic, partition)
        with told():
            try:
                yield held
            except subscriptions.Stale:
                self.lose(held)
                raise
            except _GOES_ON:
                raise
            except Exception as error:
                self._stand_still(held, error)
                raise

    def _stand_still(self, held: Held, error: Exception) -> None:
        kind, said = STOPPING.get(type(error), FAILED), stopped(error, held.name)
        with suppress(Exception):  # the log tells it in any case
            subscriptions.stop(self.database, held, kind=kind, said=said)

    def skip(
        self, topic: str, partition: int, *, upto: int, only: Sequence[str] | None = None
    ) -> int:
        """Pass offsets that hold no record, for all subscriptions or some; the lowest next."""
        reached = []
        for subscription in self.subscriptions if only is None else only:
            with self.holding(subscription, topic, partition) as held:
                reached.append(subscriptions.skip(self.database, held, upto=upto))
        return min(reached)

    def _take(
        self,
        subscription: str,
        wanted: Sequence[ports.Partition],
        topic_ids: Mapping[str, str],
        generation: int,
    ) -> None:
        taken = subscriptions.take(
            self.database, self.url, subscription, wanted, owner=self.owner, topic_ids=topic_ids
        )
        for place, held in taken.items():
            self._held[(subscription, *place)] = held
            self._taken[(subscription, *place)] = generation
        logger.info("taken: %s, partitions: %d", subscription, len(taken))


def stopped(error: Exception, name: str) -> str:
    """What stops there and why, in words; by its type: a driver's text may quote a row."""
    if isinstance(error, tuple(STOPPING)):
        return str(error)
    return f"{name} stops (hint: see the worker's log, then start it again): {type(error).__name__}"


@contextmanager
def told() -> Iterator[None]:
    """Tell the sinks' errors in the transport's words."""
    try:
        yield
    except subscriptions.Stale as error:
        raise ports.Stale(str(error)) from error
    except subscriptions.Hole as error:
        raise ports.Hole(error.expected) from error
    except (subscriptions.TopicReplaced, log.TopicMissing) as error:
        raise ports.Broken(str(error)) from error
    except PASSING as error:
        raise ports.Transient(str(error)) from error
    except EnvelopeInvalid as error:
        # A key that doesn't open may be mended: what needs it waits, and nothing else does.
        raise ports.Transient(str(error)) from error
