"""Open keys of tenants and people, held for a minute at most, and counted where they seal.

Everybody who seals or opens what belongs to a person goes through one of these; the database
is asked once for a chunk of messages or a page of rows, never for each.
"""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from schemas.sealing import Key, KeyMissing, Keys, KeyService, Subject, Uses
from sinks import subject_keys, tenancy
from sinks.database import Database
from sinks.subject_keys import BLOCK, Name, Stored

HELD_SECONDS = 60.0  # so that a destroyed key is gone from every process by then
SUBJECTS_MAX = 10_000
COUNTED_MAX = 100_000  # numbers only: what a process has left of the blocks that it took
RENEWALS_MAX = 3  # a version that was made and is spent again is a fault of ours
KEY_BYTES = 32


class Keyring:
    """Tenants' and people's keys; several threads may use it."""

    def __init__(
        self,
        database: Database,
        service: KeyService,
        *,
        held_seconds: float = HELD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        assert 0 < held_seconds <= HELD_SECONDS, "an erasure waits no longer than that"
        self.service = service
        self._database, self._clock, self._seconds = database, clock, held_seconds
        self._lock = threading.Lock()
        self._tenants: dict[UUID, tuple[float, Keys]] = {}
        self._subjects: OrderedDict[Name, tuple[float, Subject]] = OrderedDict()
        self._uses: OrderedDict[tuple[UUID, UUID, int], Uses] = OrderedDict()

    def tenant(self, tenant_id: UUID, *, fresh: bool = False) -> Keys | None:
        """A tenant's keys without any person's; None where there are none.

        Raises :class:`~schemas.sealing.EnvelopeInvalid` under another root key.
        """
        held = None if fresh else self._tenants.get(tenant_id)
        now = self._clock()
        if held is not None and now - held[0] < self._seconds:
            return held[1]
        with self._database.transaction() as connection:
            wrapped = tenancy.wrapped_keys(connection, [tenant_id])
        found = tenancy.unwrap(wrapped, self.service).get(tenant_id)
        if found is None:
            self._tenants.pop(tenant_id, None)
        else:
            self._tenants[tenant_id] = (now, found)
        return found

    def reading(self, wanted: Collection[Name], *, anew: bool = False) -> dict[Name, Subject]:
        """People's keys to open with; of whom none was made, without any. ``anew``: none held."""
        held = {} if anew else self._held(wanted)
        return {**held, **self._asked([each for each in wanted if each not in held])}

    def sealing(self, wanted: Collection[Name], *, anew: bool = False) -> dict[Name, Subject]:
        """People's keys to seal with too: those that lack one get it, and seals are set aside."""
        found = self.reading(wanted, anew=anew)
        lacking = [name for name, each in found.items() if not each.keys and not each.destroyed]
        if lacking:
            found |= self._made(lacking)
        for _ in range(RENEWALS_MAX):
            spent = self._count(found)
            if not spent:
                return found
            subject_keys.renew(
                self._database, [self._wrapped(name, max(found[name].keys) + 1) for name in spent]
            )
            found |= self._asked(spent)
        raise AssertionError("a key that was just made can seal")

    def after_erasure(self, said: Mapping[Name, datetime]) -> dict[Name, Subject]:
        """People's keys to seal with what was said of them after they were erased, made anew.

        ``said`` is when, at the latest. Who was erased later still gets none.
        """
        found = self._asked(sorted(said))
        lacking = [
            name for name, each in found.items()
            if each.destroyed and said[name] > max(each.erased.values())
        ]  # fmt: skip
        made = [self._wrapped(name, max(found[name].erased) + 1) for name in lacking]
        if made:
            subject_keys.begin_anew(self._database, made, said)
        return self.sealing(list(said), anew=True)

    def forget(self, people: Collection[Name]) -> None:
        """Hold these people's keys no longer."""
        with self._lock:
            for each in people:
                self._subjects.pop(each, None)

    def clear(self) -> None:
        """Hold nothing."""
        with self._lock:
            self._tenants.clear()
            self._subjects.clear()

    def _held(self, wanted: Collection[Name]) -> dict[Name, Subject]:
        """What is held and not too old; the rest of these is held no longer."""
        now, found = self._clock(), {}
        with self._lock:
            for name in wanted:
                held = self._subjects.get(name)
                if held is None:
                    continue
                if now - held[0] < self._seconds:
                    found[name] = held[1]
                else:
                    del self._subjects[name]
        return found

    def _asked(self, wanted: Sequence[Name]) -> dict[Name, Subject]:
        """People's keys as their rows have them now."""
        if not wanted:
            return {}
        now = self._clock()  # before they are read: a key is held no longer than its minute
        return self._taken(wanted, subject_keys.find(self._database, wanted), now)

    def _taken(
        self, wanted: Sequence[Name], rows: Mapping[Name, Sequence[Stored]], now: float
    ) -> dict[Name, Subject]:
        """Keys as their rows had them after ``now``, held from now on."""
        wrappers = self._wrappers(
            {(each.name[0], each.tenant_key_version) for row in rows.values() for each in row
             if each.wrapped is not None}
        )  # fmt: skip
        found = {name: self._opened(name, rows.get(name, ()), wrappers) for name in wanted}
        with self._lock:
            for name, subject in found.items():
                self._subjects[name] = (now, replace(subject, known_now=False))
                self._subjects.move_to_end(name)
            self._shrink(now)
        return found

    def _shrink(self, now: float) -> None:
        """Let go of what is too much and of what is too old; the oldest stand first."""
        while self._subjects:
            since = next(iter(self._subjects.values()))[0]
            if len(self._subjects) <= SUBJECTS_MAX and now - since < self._seconds:
                break
            self._subjects.popitem(last=False)
        while len(self._uses) > COUNTED_MAX:
            self._uses.popitem(last=False)

    def _opened(
        self, name: Name, rows: Sequence[Stored], wrappers: Mapping[tuple[UUID, int], "Opens"]
    ) -> Subject:
        keys: dict[int, Key] = {}
        for each in rows:
            if each.wrapped is not None:
                unwrap = wrappers[name[0], each.tenant_key_version]
                keys[each.version] = unwrap(each.wrapped, subject=name[1], version=each.version)
        newest = max((each.version for each in rows), default=None)
        destroyed = newest is not None and newest not in keys
        uses = Uses() if newest is None or destroyed else self._counter(name, newest)
        erased = {each.version: each.destroyed_at for each in rows if each.destroyed_at}
        return Subject(
            keys={} if destroyed else keys, destroyed=destroyed, known_now=True, uses=uses,
            erased=erased,
        )  # fmt: skip

    def _wrappers(self, wanted: Collection[tuple[UUID, int]]) -> dict[tuple[UUID, int], "Opens"]:
        """What unwraps people's keys; a tenant's key that isn't held may be younger than ours."""
        found: dict[tuple[UUID, int], Opens] = {}
        for tenant, version in sorted(wanted):
            keys = self.tenant(tenant)
            if keys is None or version not in keys.data:
                keys = self.tenant(tenant, fresh=True)
            if keys is None:
                raise KeyMissing(f"the tenant has no keys: {tenant}")
            found[tenant, version] = keys.wrapper(version).unwrap
        return found

    def _made(self, lacking: Sequence[Name]) -> dict[Name, Subject]:
        """Those who lack a key with one: ours, or another's who was faster."""
        now = self._clock()
        made = [self._wrapped(name, 1) for name in lacking]
        ours, rows = subject_keys.create(self._database, made)
        for name in ours:
            self._counter(name, 1).add(BLOCK)
        return self._taken(lacking, rows, now)

    def _wrapped(self, name: Name, version: int) -> Stored:
        """A new key of a person, wrapped by the newest of the tenant's."""
        keys = self.tenant(name[0])
        if keys is None:
            raise KeyMissing(f"the tenant has no keys: {name[0]}")
        wrapper = keys.wrapper()
        secret = secrets.token_bytes(KEY_BYTES)
        return Stored(
            name=name, version=version, tenant_key_version=wrapper.version,
            wrapped=wrapper.wrap(secret, subject=name[1], version=version),
        )  # fmt: skip

    def _counter(self, name: Name, version: int) -> Uses:
        with self._lock:
            uses = self._uses.setdefault((*name, version), Uses())
            self._uses.move_to_end((*name, version))
            return uses

    def _count(self, found: Mapping[Name, Subject]) -> list[Name]:
        """Set seals aside where few are left; whose key has sealed as often as it may.

        A chunk that needs more than was left goes on; the next one finds that counted.
        """
        low = {
            (*name, max(each.keys)): each.uses
            for name, each in found.items()
            if each.keys and each.uses.left < BLOCK // 2
        }
        wanted = {key: BLOCK - min(uses.left, 0) for key, uses in low.items()}
        counted = subject_keys.set_aside(self._database, wanted)
        for key in counted:
            low[key].add(wanted[key])
        return [(tenant, subject) for tenant, subject, version in low.keys() - counted]


Opens = Callable[..., Key]
