"""Who is who: identifiers of people, found and created in short transactions of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import Connection

from sinks.database import Database, Row, for_tenants

Name = tuple[str, str, str]  # tenant id, assigning authority, keyed hash (UUID text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An identifier that names a patient; the type is told, not compared."""

    name: Name
    type: str
    patient_id: str


def find(database: Database, names: Sequence[Name]) -> dict[Name, str]:
    """The patient of each identifier that is known."""
    if not names:
        return {}
    tenants, authorities, hashes = (list(part) for part in zip(*sorted(set(names)), strict=True))
    with database.transaction() as connection:
        for_tenants(connection, tenants)
        return within(connection, (tenants, authorities, hashes))


def within(connection: Connection[Row], names: Sequence[Sequence[str]]) -> dict[Name, str]:
    """The same in a transaction; the identifiers' parts each as a column."""
    return {
        (row["tenant_id"], row["authority"], row["value_hmac"]): row["patient_id"]
        for row in connection.execute(_FIND, [list(part) for part in names]).fetchall()
    }


def create(database: Database, wanted: Sequence[Known]) -> Mapping[Name, str]:
    """Make identifiers known, sorted so that two workers never deadlock; the first one wins.

    Returns whom each of them names now, which may be another than was wanted; nothing of a
    tenant that is being deleted.
    """
    if not wanted:
        return {}
    rows = sorted({known.name: known for known in wanted}.items())
    columns = zip(
        *((*name, known.type[:20], known.patient_id) for name, known in rows), strict=True
    )
    arrays = [list(column) for column in columns]
    with database.transaction() as connection:
        for_tenants(connection, arrays[0])
        connection.execute(_CREATE, arrays)
        # Another's that was being made was waited for, so this sees whoever was first.
        return within(connection, arrays[:3])


_FIND = """
SELECT tenant_id, authority, value_hmac, patient_id FROM patient_identifiers
WHERE (tenant_id, authority, value_hmac)
   IN (SELECT * FROM unnest(%s::uuid[], %s::text[], %s::uuid[]))
"""
_CREATE = """
INSERT INTO patient_identifiers (tenant_id, authority, value_hmac, type, patient_id)
SELECT * FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::text[], %s::uuid[])
     AS made (tenant_id, authority, value_hmac, type, patient_id)
WHERE NOT EXISTS (SELECT FROM deleted_tenants WHERE id = made.tenant_id)
ON CONFLICT DO NOTHING
"""
