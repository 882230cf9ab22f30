"""Keys to open with what the ledger sealed."""

from uuid import UUID

from schemas.sealing import Keys
from sinks.keyring import Keyring


def everyone(keyring: Keyring, store, tenant: UUID) -> Keys:
    """A tenant's keys with those of everybody who has one."""
    keys = keyring.tenant(tenant).apart()
    rows = store.rows("SELECT DISTINCT subject_id FROM subject_keys WHERE tenant_id = %s", tenant)
    found = keyring.reading([(tenant, row["subject_id"]) for row in rows], anew=True)
    keys.subjects.update({name[1]: subject for name, subject in found.items()})
    return keys
