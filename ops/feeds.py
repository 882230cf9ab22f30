"""Feeds and keys for the intake: out of PostgreSQL, or as they were last known."""

import json
import logging
import threading
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from ops import access
from producers.ports import KeysAway
from schemas.feeds import Feed
from schemas.sealing import Keys, Root
from sinks import tenancy
from sinks.database import Database, DatabaseAway
from sinks.tenancy import Listened, Wrapped

REFRESH_SECONDS = 2.0  # how soon a changed feed is seen by the intake

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that the intake knows at one moment; replaced as a whole."""

    by_port: Mapping[int, Feed]
    default: Feed | None
    keys: Mapping[UUID, Keys]


class LocalFeeds:
    """Answers out of memory; a thread reads the rows anew and keeps a copy in ``file``.

    The copy holds keys only as the root key wrapped them. While the database is away the
    intake goes on with it.
    """

    def __init__(self, database: Database, root: Root, file: Path, *, default_port: int) -> None:
        self._database, self._root, self._file = database, root, file
        self._default_port = default_port
        self._known = Known(by_port={}, default=None, keys={})
        self._stored = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="feeds", daemon=True)

    def start(self) -> None:
        """Know the feeds, from the rows or from the copy; then keep them fresh."""
        try:
            self.refresh()
        except DatabaseAway:
            self._restore()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(REFRESH_SECONDS)

    def by_port(self, port: int) -> Feed | None:
        """The feed of a listener; the default listener's is the one without a port."""
        known = self._known
        feed = known.by_port.get(port)
        if feed is None and port == self._default_port:
            feed = known.default
        return feed if feed is not None and feed.active else None

    def keys(self, tenant_id: UUID) -> Keys:
        """The tenant's keys; raises :class:`~producers.ports.KeysAway`."""
        keys = self._known.keys.get(tenant_id)
        if keys is None:
            raise KeysAway("the tenant's keys are not known here yet")
        return keys

    def refresh(self) -> None:
        """Read the rows; remember them and store the copy if they changed."""
        with self._database.connection() as connection, connection.transaction():
            tenants = tenancy.tenants(connection)
            listened = tenancy.feeds(connection, tenants)
            wrapped = tenancy.wrapped_keys(connection, tenants)
        stored = _dumps(listened, wrapped)
        if stored != self._stored:
            self._learn(listened, wrapped)
            access.write_private(self._file, stored)
            self._stored = stored

    def _restore(self) -> None:
        try:
            listened, wrapped = _loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, KeyError):
            logger.warning("no feeds known yet: the database is away, and there is no copy")
            return
        logger.warning("feeds as last known: the database is away")
        self._learn(listened, wrapped)

    def _learn(self, listened: Sequence[Listened], wrapped: Sequence[Wrapped]) -> None:
        self._known = Known(
            by_port={each.port: each.feed for each in listened if each.port is not None},
            default=_only([each.feed for each in listened if each.port is None]),
            keys=tenancy.unwrap(wrapped, self._root),
        )

    def _follow(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            try:
                self.refresh()
            except DatabaseAway:
                logger.info("feeds as last known: the database is away")
            except Exception as error:  # the intake goes on with what it knows
                logger.error("feeds as last known: %s", type(error).__name__)


def _only(feeds: Sequence[Feed]) -> Feed | None:
    """The one feed of the default listener; with several nobody knows whose a message is."""
    if len(feeds) > 1:
        logger.error("the default listener takes nothing: %d feeds have no port", len(feeds))
    return feeds[0] if len(feeds) == 1 else None


def _dumps(listened: Sequence[Listened], wrapped: Sequence[Wrapped]) -> str:
    def plain(value: Any) -> Any:  # noqa: ANN401  any field's value
        if isinstance(value, bytes):
            return b64encode(value).decode()
        return sorted(value) if isinstance(value, frozenset) else str(value)

    return json.dumps(
        {
            "feeds": [{**asdict(each.feed), "port": each.port} for each in listened],
            "keys": [asdict(each) for each in wrapped],
        },
        default=plain,
        sort_keys=True,
    )


def _loads(stored: str) -> tuple[list[Listened], list[Wrapped]]:
    loaded = json.loads(stored)
    listened = [_listened(each) for each in loaded["feeds"]]
    wrapped = [
        Wrapped(
            tenant_id=UUID(each["tenant_id"]), purpose=each["purpose"],
            version=each["version"], wrapped=b64decode(each["wrapped"]),
        )
        for each in loaded["keys"]
    ]  # fmt: skip
    return listened, wrapped


def _listened(stored: dict[str, Any]) -> Listened:
    port = stored.pop("port")
    feed = Feed(
        **{
            **stored,
            "feed_id": UUID(stored["feed_id"]),
            "tenant_id": UUID(stored["tenant_id"]),
            "zone": tenancy.zone(stored["zone"]),
            "identifier_types": tuple(stored["identifier_types"]),
            "processing_ids": frozenset(stored["processing_ids"]),
            "senders": frozenset(stored["senders"]),
        }
    )
    return Listened(feed=feed, port=port)
