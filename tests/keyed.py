"""Keys to open with what the ledger sealed, and people whose keys are destroyed."""

from datetime import UTC, datetime
from uuid import UUID

from schemas.sealing import Keys
from sinks import subject_keys
from sinks.database import Database, for_tenants
from sinks.keyring import Keyring
from sinks.subject_keys import Erased

ERASED_AT = datetime(2026, 3, 2, 12, tzinfo=UTC)


def everyone(keyring: Keyring, store, tenant: UUID) -> Keys:
    """A tenant's keys with those of everybody who has one."""
    keys = keyring.tenant(tenant).apart()
    rows = store.rows("SELECT DISTINCT subject_id FROM subject_keys WHERE tenant_id = %s", tenant)
    found = keyring.reading([(tenant, row["subject_id"]) for row in rows], anew=True)
    keys.subjects.update({name[1]: subject for name, subject in found.items()})
    return keys


def erase(
    database: Database, tenant: UUID, *people: UUID, key_version: int = 1, at: datetime = ERASED_AT
) -> int:
    """Destroy people's keys, as who was told to; how many versions of them."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant])
        return subject_keys.erase(
            connection,
            [Erased(name=(tenant, one), key_version=key_version, at=at) for one in people],
        )
