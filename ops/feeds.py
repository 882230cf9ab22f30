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
from schemas.sealing import Keys, KeyService
from sinks import rotation, tenancy
from sinks.database import Database, DatabaseAway
from sinks.subject_keys import BLOCK
from sinks.tenancy import Listened, Standing, Wrapped

_SETS = (
    "processing_ids", "senders", "facilities", "receiving_applications", "receiving_facilities",
    "certificates",
)  # fmt: skip
REFRESH_SECONDS = 2.0  # how soon a changed feed is seen by the intake

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that the intake knows at one moment; replaced as a whole.

    ``by_port`` has the feeds of the default listener under None.
    """

    by_port: Mapping[int | None, Sequence[Feed]]
    keys: Mapping[UUID, Keys]
    tenants: Mapping[UUID, Standing]


class LocalFeeds:
    """Answers out of memory; a thread reads the rows anew and keeps a copy in ``file``.

    The copy holds keys only as the root key wrapped them. While the database is away the
    intake goes on with it.
    """

    def __init__(
        self, database: Database, root: KeyService, file: Path, *, default_port: int
    ) -> None:
        self._database, self._root, self._file = database, root, file
        self._default_port = default_port
        self._known = Known(by_port={}, keys={}, tenants={})
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

    def by_port(self, port: int) -> Sequence[Feed]:
        """The feeds of a listener; those without a port are the default listener's."""
        known = self._known
        found = known.by_port.get(port, ())
        if port == self._default_port:
            return (*found, *known.by_port.get(None, ()))
        return found

    def tenant(self, tenant_id: UUID) -> Standing | None:
        """A tenant, None where there is none (any more), or none is known yet."""
        return self._known.tenants.get(tenant_id)

    def called(self, subdomain: str) -> Standing | None:
        """The tenant of this subdomain."""
        tenants = self._known.tenants.values()
        return next((each for each in tenants if each.subdomain == subdomain), None)

    @property
    def informed(self) -> bool:
        """Whether tenants are known, from the rows or from the copy."""
        return bool(self._known.tenants)

    def keys(self, tenant_id: UUID) -> Keys:
        """The tenant's keys; raises :class:`~producers.ports.KeysAway`."""
        keys = self._known.keys.get(tenant_id)
        if keys is None:
            raise KeysAway("the tenant's keys are not known here yet")
        return keys

    def refresh(self) -> None:
        """Read the rows; remember them and store the copy if they changed."""
        self._count()
        with self._database.connection() as connection, connection.transaction():
            tenants = tenancy.tenants(connection)
            listened = tenancy.feeds(connection, tenants)
            wrapped = tenancy.wrapped_keys(connection, tenants)
            standings = tenancy.standings(connection, tenants)
        stored = _dumps(listened, wrapped, standings)
        if stored != self._stored:
            self._learn(listened, wrapped, standings)
            access.write_private(self._file, stored)
            self._stored = stored

    def _count(self) -> None:
        """Count what the tenants' keys sealed here; one that sealed enough is made anew."""
        for tenant, keys in self._known.keys.items():
            if keys.uses.used == 0 or keys.uses.left > BLOCK // 2:
                continue
            version, seals = max(keys.data), BLOCK - min(keys.uses.left, 0)
            enough = rotation.count(self._database, tenant, version, seals)
            keys.uses.add(seals)
            if enough:
                rotation.renew(self._database, self._root, tenant)

    def _restore(self) -> None:
        try:
            copy = _loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            logger.warning("no feeds known yet: the database is away, and there is no copy")
            return
        logger.warning("feeds as last known: the database is away")
        self._learn(*copy)

    def _learn(
        self,
        listened: Sequence[Listened],
        wrapped: Sequence[Wrapped],
        standings: Sequence[Standing],
    ) -> None:
        by_port: dict[int | None, list[Feed]] = {}
        for each in listened:
            by_port.setdefault(each.port, []).append(each.feed)
        self._known = Known(
            by_port=by_port,
            keys=tenancy.unwrap(wrapped, self._root),
            tenants={each.tenant_id: each for each in standings},
        )

    def _follow(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            try:
                self.refresh()
            except DatabaseAway:
                logger.info("feeds as last known: the database is away")
            except Exception as error:  # the intake goes on with what it knows
                logger.error("feeds as last known: %s", type(error).__name__)


def _dumps(
    listened: Sequence[Listened], wrapped: Sequence[Wrapped], standings: Sequence[Standing]
) -> str:
    def plain(value: Any) -> Any:  # noqa: ANN401  any field's value
        if isinstance(value, bytes):
            return b64encode(value).decode()
        return sorted(value) if isinstance(value, frozenset) else str(value)

    return json.dumps(
        {
            "feeds": [{**asdict(each.feed), "port": each.port} for each in listened],
            "keys": [asdict(each) for each in wrapped],
            "tenants": [asdict(each) for each in standings],
        },
        default=plain,
        sort_keys=True,
    )


def _loads(stored: str) -> tuple[list[Listened], list[Wrapped], list[Standing]]:
    loaded = json.loads(stored)
    listened = [_listened(each) for each in loaded["feeds"]]
    wrapped = [
        Wrapped(
            tenant_id=UUID(each["tenant_id"]), purpose=each["purpose"],
            version=each["version"], wrapped=b64decode(each["wrapped"]),
        )
        for each in loaded["keys"]
    ]  # fmt: skip
    standings = [
        Standing(**{**each, "tenant_id": UUID(each["tenant_id"])})
        for each in loaded.get("tenants", ())  # a copy of an older release has none
    ]
    return listened, wrapped, standings


def _listened(stored: dict[str, Any]) -> Listened:
    port = stored.pop("port")
    instance = stored.get("emr_instance_id")
    feed = Feed(
        **{
            **stored,
            "feed_id": UUID(stored["feed_id"]),
            "tenant_id": UUID(stored["tenant_id"]),
            "zone": tenancy.zone(stored["zone"]),
            "identifier_types": tuple(stored["identifier_types"]),
            "emr_instance_id": instance and UUID(instance),
            **{name: frozenset(stored[name]) for name in _SETS if name in stored},
        }
    )
    return Listened(feed=feed, port=port)
