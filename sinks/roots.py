"""Which root key wraps tenants' keys: it stays the same one while somebody wraps by it.

Who wraps a tenant's new key shares a lock until that is stored, who changes the root key has it
alone: so none is wrapped by the old one behind its back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from psycopg import Connection

from schemas.sealing import EnvelopeInvalid, KeyService
from sinks.database import Row, for_tenants

LOCK = 0x726F6F74  # advisory
# Keys that are tried: one that was damaged must not keep new tenants away.
TRIED_MAX = 3


class RootChanging(Exception):  # noqa: N818  named for what is wrong
    """The root key is being changed at this moment."""


class RootOther(Exception):  # noqa: N818  named for what is wrong
    """The root key at hand isn't the one that the tenants' keys are wrapped by."""


def share(connection: Connection[Row]) -> None:
    """Let nobody change the root key until this transaction ends; :class:`RootChanging`."""
    _take(connection, "SELECT pg_try_advisory_xact_lock_shared(%s) AS taken")


def agree(connection: Connection[Row], service: KeyService) -> None:
    """As :func:`share`, and tenants' keys must open by this root key; :class:`RootOther`.

    Without any tenant each root key is good. The transaction sees no tenant's rows afterwards.
    """
    share(connection)
    every = connection.execute("SELECT tenant_ids() AS id").fetchall()
    for_tenants(connection, [each["id"] for each in every])
    rows = connection.execute(_NEWEST, (TRIED_MAX,)).fetchall()
    for_tenants(connection, [])
    if rows and not any(_opens(row, service) for row in rows):
        raise RootOther(
            "the tenants' keys are wrapped by another root key than the one that is set here"
        )


@contextmanager
def alone(connection: Connection[Row]) -> Iterator[None]:
    """Have everybody wait who would wrap a key; :class:`RootChanging` where somebody has begun."""
    _take(connection, "SELECT pg_try_advisory_lock(%s) AS taken")
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def _take(connection: Connection[Row], statement: str) -> None:
    row = connection.execute(statement, (LOCK,)).fetchone()
    assert row is not None, "a lock answers"
    if not row["taken"]:
        raise RootChanging("a tenant's key is being made, or the root key changed: again later")


def _opens(row: Row, service: KeyService) -> bool:
    try:
        service.unwrap(
            row["wrapped"], tenant=UUID(row["tenant_id"]), purpose=row["purpose"],
            version=row["version"],
        )  # fmt: skip
    except EnvelopeInvalid:
        return False
    return True


_NEWEST = """
SELECT tenant_id, purpose, version, wrapped FROM tenant_keys
ORDER BY created_at DESC, tenant_id, purpose, version LIMIT %s
"""
