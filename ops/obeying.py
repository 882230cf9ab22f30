"""Obeying the log of erasures before anything is opened or sealed for people: the one place.

Commands refuse where it can't be read; processes that go on for long wait, as for other servers.
"""

import logging
import threading
from dataclasses import dataclass, field

from ops import access
from ops.settings import Settings
from schemas.codec import Codec, IdsInvalid
from schemas.registry import RegistryAway, SchemaMissing
from schemas.sealing import KeyServiceAway
from sinks.database import Database, DatabaseAway, LoginRefused
from streams import erasures
from streams.log import BrokerAway, TopicMissing
from streams.transport import pauses

AWAY = (DatabaseAway, BrokerAway, RegistryAway, KeyServiceAway)
# Before the deploy step was run; a server that takes messages goes on without.
UNREADY = (*AWAY, LoginRefused, TopicMissing, SchemaMissing, IdsInvalid)

logger = logging.getLogger(__name__)


def replay(settings: Settings, database: Database) -> int:
    """Obey every erasure that the log holds; how many keys were alive until now.

    Raises as :func:`streams.erasures.replay`.
    """
    return erasures.replay(
        database, access.bootstrap_servers(settings),
        lambda: Codec(access.schema_ids(settings)), access.root(settings),
    )  # fmt: skip


def obey(settings: Settings, database: Database) -> None:
    """Obey it, however long servers are away."""
    waiting = threading.Event()
    for pause in pauses():
        try:
            replay(settings, database)
        except AWAY as away:
            logger.warning("erasures aren't read yet, again in %.1f s: %s", pause, away)
            waiting.wait(pause)
        else:
            return
    raise AssertionError("pauses never end")


@dataclass(slots=True, kw_only=True)
class Obeying:
    """A thread that obeys it beside a server that must go on; until then nothing is read."""

    settings: Settings
    database: Database
    _done: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def done(self) -> bool:
        """Whether what the log held at start is obeyed."""
        return self._done.is_set()

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
                replay(self.settings, self.database)
            except UNREADY as away:
                logger.warning("nothing is shown before erasures are read: %s", away)
            except Exception as error:  # a log that lacks some shows nothing until it is restored
                logger.critical("nothing is shown: %s", error)
            else:
                self._done.set()
            if self._done.is_set() or self._stop.wait(pause):
                return
