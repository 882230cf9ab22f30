"""Tenants' keys as far as they open: one that doesn't stops its own tenant and no other."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from schemas.sealing import EnvelopeInvalid, Keys, KeyService, KeyServiceAway
from sinks import tenancy
from sinks.tenancy import Wrapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A tenant's keys as they are stored, and what opening them gave: keys, or why none."""

    stored: frozenset[Wrapped]
    keys: Keys | None = None
    shut: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What opening gave, by tenant; ``away`` is what the key service said that didn't open.

    While it is away keys of before serve on, and new ones are missing.
    """

    tenants: Mapping[UUID, Tried] = field(default_factory=dict)
    away: str | None = None

    def keys(self, tenant_id: UUID) -> Keys | None:
        """A tenant's keys, None where they aren't to be had."""
        tried = self.tenants.get(tenant_id)
        return None if tried is None else tried.keys

    @property
    def shut(self) -> Mapping[UUID, str]:
        """Tenants with a key that this key service doesn't open, and why."""
        return {
            tenant: tried.shut
            for tenant, tried in self.tenants.items()
            if tried.shut is not None
        }  # fmt: skip


def opened(
    wrapped: Collection[Wrapped], service: KeyService, before: Opened, *, anew: bool = False
) -> Opened:
    """Open what changed since ``before``; ``anew``: also what didn't open then.

    Of a tenant that isn't among ``wrapped`` nothing is left. A key service that is away is asked
    once, not for each tenant: it may take seconds to say nothing.
    """
    tenants: dict[UUID, Tried] = {}
    away: str | None = None
    for tenant, stored in _by_tenant(wrapped).items():
        was = before.tenants.get(tenant)
        if was is not None and was.stored == stored and not (anew and was.shut):
            tenants[tenant] = was
            continue
        if away is None:
            try:
                keys = tenancy.unwrap(stored, service).get(tenant)
            except EnvelopeInvalid as invalid:
                tenants[tenant] = Tried(stored=stored, shut=str(invalid))
                continue
            except KeyServiceAway as trouble:
                away = str(trouble)
            else:
                tenants[tenant] = Tried(stored=stored, keys=keys)
                continue
        if was is not None:
            tenants[tenant] = was
    return Opened(tenants=tenants, away=away)


def _by_tenant(wrapped: Collection[Wrapped]) -> dict[UUID, frozenset[Wrapped]]:
    found: dict[UUID, set[Wrapped]] = {}
    for each in wrapped:
        found.setdefault(each.tenant_id, set()).add(each)
    return {tenant: frozenset(found[tenant]) for tenant in sorted(found)}
