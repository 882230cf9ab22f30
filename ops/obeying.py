"""Obeying the log of erasures before anything is opened or sealed for people: the one place.

Commands refuse where it can't be read; processes that go on for long wait, as for other servers.
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from ops import access
from ops.settings import Settings
from schemas.codec import Codec, IdsInvalid
from schemas.registry import RegistryAway, SchemaMissing
from schemas.sealing import KeyServiceAway
from sinks.database import Database, DatabaseAway, LoginRefused
from streams import erasures
from streams.erasures import Replayed
from streams.log import BrokerAway, TopicMissing
from streams.transport import pauses

AWAY = (DatabaseAway, BrokerAway, RegistryAway, KeyServiceAway)
# Before the deploy step was run; a server that takes messages goes on without.
UNREADY = (*AWAY, LoginRefused, TopicMissing, SchemaMissing, IdsInvalid)

logger = logging.getLogger(__name__)


def replay(settings: Settings, database: Database) -> Replayed:
    """Obey every erasure that the log holds, as far as its tenant's keys open.

    Raises as :func:`streams.erasures.replay`.
    """
    return erasures.replay(
        database, access.bootstrap_servers(settings),
        lambda: Codec(access.schema_ids(settings)), access.root(settings),
    )  # fmt: skip


def obey(settings: Settings, database: Database) -> None:
    """Obey it, however long servers are away.

    A worker shows nobody anything, and its ledger waits itself where a tenant's keys don't open.
    """
    waiting = threading.Event()
    for pause in pauses():
        try:
            _tell({}, replay(settings, database).waiting)
        except AWAY as away:
            logger.warning("erasures aren't read yet, again in %.1f s: %s", pause, away)
            waiting.wait(pause)
        else:
            return
    raise AssertionError("pauses never end")


@dataclass(slots=True, kw_only=True)
class Obeying:
    """A thread that obeys it beside a server that must go on; until then nothing is read.

    Of a tenant whose own keys don't open nothing is read for longer: until they are mended, and
    what the log says of the tenant is obeyed.
    """

    settings: Settings
    database: Database
    _waiting: Mapping[UUID, str] = field(default_factory=dict)
    _done: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def done(self) -> bool:
        """Whether what the log held at start is obeyed."""
        return self._done.is_set()

    def may(self, tenant_id: UUID) -> bool:
        """Whether a tenant's rows may be shown."""
        return self._done.is_set() and tenant_id not in self._waiting

    def gauges(self) -> dict[str, int]:
        """What an alarm may look at: whether the log is read, and tenants that wait for keys."""
        return {"read": int(self._done.is_set()), "tenants_waiting": len(self._waiting)}

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="erasures", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def _run(self) -> None:
        for pause in pauses():
            try:
                waiting = replay(self.settings, self.database).waiting
            except UNREADY as away:
                logger.warning("nothing is shown before erasures are read: %s", away)
            except Exception as error:  # a log that lacks some shows nothing until it is restored
                logger.critical("nothing is shown: %s", error)
            else:
                _tell(self._waiting, waiting)
                self._waiting = waiting
                self._done.set()
            if self._done.is_set() and not self._waiting:
                return
            if self._stop.wait(pause):
                return


def _tell(before: Mapping[UUID, str], waiting: Mapping[UUID, str]) -> None:
    """Say once whose erasures can't be obeyed, and when they can."""
    for tenant in waiting.keys() - before.keys():
        logger.error(
            "a tenant's erasures aren't obeyed, and nothing of theirs is shown: %s", waiting[tenant]
        )
    for tenant in before.keys() - waiting.keys():
        logger.warning("a tenant's erasures are obeyed now: %s", tenant)
