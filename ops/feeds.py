"""Feeds and keys for the intake: out of PostgreSQL, or as they were last known."""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, time
from uuid import UUID

from ops import feed_copy
from ops.feed_copy import Copy, CopyUnread
from producers.ports import KeysAway
from schemas.feeds import Feed
from schemas.sealing import EnvelopeInvalid, Keys, KeyService, KeyServiceAway
from sinks import rotation, tenancy, tenant_keys
from sinks.database import Database, DatabaseAway
from sinks.roots import RootChanging
from sinks.rotation import TenantWithoutKeys
from sinks.subject_keys import BLOCK
from sinks.tenancy import Standing
from sinks.tenant_keys import Opened

REFRESH_SECONDS = 2.0  # how soon a changed feed is seen by the intake
ANEW_SECONDS = 60.0  # how soon a key that didn't open is tried again, as it stands
# Why a key isn't made anew, of one tenant or for a while: no reason to know nothing anew.
_NOT_NOW = (EnvelopeInvalid, KeyServiceAway, RootChanging, TenantWithoutKeys)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that the intake knows at one moment; replaced as a whole.

    ``by_port`` has the feeds of the default listener under None.
    """

    by_port: Mapping[int | None, Sequence[Feed]] = field(default_factory=dict)
    opened: Opened = field(default_factory=Opened)
    tenants: Mapping[UUID, Standing] = field(default_factory=dict)

    @property
    def faults(self) -> Mapping[UUID, str]:
        """Feeds that can't be read as they are set, and why."""
        every = (each for listed in self.by_port.values() for each in listed)
        return {each.feed_id: each.fault for each in every if each.fault is not None}


class LocalFeeds:
    """Answers out of memory; a thread reads the rows anew and keeps a copy in ``file``.

    The copy holds keys only as the root key wrapped them. While the database is away the
    intake goes on with it, while the key service is away with the keys that are open.
    """

    def __init__(
        self, database: Database, root: KeyService, file: Path, *, default_port: int
    ) -> None:
        self._database, self._root, self._file = database, root, file
        self._default_port = default_port
        self._known = Known()
        self._copy: Copy | None = None  # what is known comes from it
        self._stored: Copy | None = None  # what stands in the file
        self._tried_at = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="feeds", daemon=True)

    def start(self) -> None:
        """Know the feeds, from the rows or from the copy; then keep them fresh."""
        feed_copy.sweep(self._file, time())
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
        keys = self._known.opened.keys(tenant_id)
        if keys is None:
            raise KeysAway("the tenant's keys are not known here yet, or don't open")
        return keys

    def takes(self, port: int) -> list[Feed]:
        """The feeds by which messages of a port are taken now: active, with keys that are open."""
        opened = self._known.opened
        return [
            each
            for each in self.by_port(port)
            if each.active and each.fault is None and opened.keys(each.tenant_id) is not None
        ]

    def gauges(self) -> dict[str, int]:
        """What an alarm may look at: tenants stopped by their keys, away or not, seconds."""
        opened, copy = self._known.opened, self._copy
        return {
            "tenants_shut": len(opened.shut),
            "unread": len(self._known.faults),
            "key_service_away": int(opened.away is not None),
            "age_seconds": 0 if copy is None else max(0, int(time() - copy.read_at)),
        }

    def refresh(self) -> None:
        """Read the rows; remember them and store the copy if they changed."""
        self._count()
        with self._database.connection() as connection, connection.transaction():
            tenants = tenancy.tenants(connection)
            copy = Copy(
                read_at=time(),
                listened=tenancy.feeds(connection, tenants),
                wrapped=tenancy.wrapped_keys(connection, tenants),
                standings=tenancy.standings(connection, tenants),
            )
        self._store(copy)  # before a key is opened: what was deleted is gone, whoever is away
        self._learn(copy)

    def _count(self) -> None:
        """Count what the tenants' keys sealed here; one that sealed enough is made anew."""
        for tenant, tried in self._known.opened.tenants.items():
            keys = tried.keys
            if keys is None or keys.uses.used == 0 or keys.uses.left > BLOCK // 2:
                continue
            version, seals = max(keys.data), BLOCK - min(keys.uses.left, 0)
            enough = rotation.count(self._database, tenant, version, seals)
            keys.uses.add(seals)
            if enough:
                try:
                    rotation.renew(self._database, self._root, tenant)
                except _NOT_NOW as trouble:
                    # Counted again in a block's time; the bound leaves room for years of it.
                    logger.error("a tenant's key isn't made anew yet: %s", trouble)

    def _store(self, copy: Copy) -> None:
        """Keep the file true, and young enough to be used; a full disk ends nothing."""
        was = self._stored
        young = was is not None and copy.read_at - was.read_at < feed_copy.WRITTEN_SECONDS
        if was is not None and young and replace(copy, read_at=was.read_at) == was:
            return
        try:
            feed_copy.store(self._file, copy)
        except OSError as error:
            logger.error("the local copy of feeds is not written: %s", error.strerror)
            return
        self._stored = copy

    def _restore(self) -> None:
        try:
            copy = feed_copy.load(self._file, time())
        except CopyUnread as unread:
            logger.error("no feeds known yet: the database is away, and %s", unread)
            return
        if copy is None:
            logger.warning("no feeds known yet: the database is away, and there is no copy")
            return
        logger.warning("feeds as last known: the database is away")
        self._learn(copy)

    def _learn(self, copy: Copy) -> None:
        """Know what the copy says; a key that doesn't open stops its tenant alone."""
        by_port: dict[int | None, list[Feed]] = {}
        for each in copy.listened:
            by_port.setdefault(each.port, []).append(each.feed)
        was, now = self._known, monotonic()
        anew = now - self._tried_at >= ANEW_SECONDS
        if anew:
            self._tried_at = now
        opened = tenant_keys.opened(copy.wrapped, self._root, was.opened, anew=anew)
        self._copy = copy
        self._known = Known(
            by_port=by_port, opened=opened,
            tenants={each.tenant_id: each for each in copy.standings},
        )  # fmt: skip
        _tell(was.opened, opened)
        _tell_of_feeds(was.faults, self._known.faults)

    def _follow(self) -> None:
        while not self._stop.wait(REFRESH_SECONDS):
            for attempt in (self.refresh, self._go_on):
                try:
                    attempt()
                    break
                except DatabaseAway:
                    logger.info("feeds as last known: the database is away")
                except Exception as error:  # the intake goes on with what it knows
                    logger.error("feeds as last known: %s", type(error).__name__)

    def _go_on(self) -> None:
        """With what was last known, as long as it is good; keys may open by now."""
        copy = self._copy
        if copy is None:
            return
        if copy.good(time()):
            self._learn(copy)
            return
        logger.error("feeds as last known are too old: nothing is taken until they are read anew")
        self._copy, self._known = None, Known()
        self._file.unlink(missing_ok=True)


def _tell(before: Opened, opened: Opened) -> None:
    """Say once what has begun or ended."""
    for tenant, why in opened.shut.items():
        if tenant not in before.shut:
            logger.error("nothing is taken for a tenant: %s", why)
    for tenant in before.shut.keys() - opened.shut.keys():
        logger.warning("a tenant's keys stop it no longer: %s", tenant)
    if opened.away is not None and before.away is None:
        logger.error("keys at hand serve on, others are waited for: %s", opened.away)
    if opened.away is None and before.away is not None:
        logger.warning("the key service answers again")


def _tell_of_feeds(before: Mapping[UUID, str], faults: Mapping[UUID, str]) -> None:
    for feed in faults.keys() - before.keys():
        logger.error("nothing is taken for a feed: %s, feed: %s", faults[feed], feed)
    for feed in before.keys() - faults.keys():
        logger.warning("a feed is read again: %s", feed)
