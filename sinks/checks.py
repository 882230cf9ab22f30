"""What a database must be like before we trust it with a row: asked once, at start."""

from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg import Connection

from sinks.database import Row
from sinks.tables import TENANT_TABLES


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """How the database and our login are. ``clock_seconds`` is theirs minus ours."""

    version: int  # as server_version_num: 160015
    role: str
    above_policies: bool  # superuser, BYPASSRLS, or owner of a table
    unforced: tuple[str, ...]  # tenant tables without forced row-level security
    revision: str | None
    clock_seconds: float


def look(connection: Connection[Row]) -> Found:
    """Ask; raises as any statement does."""
    names = [table.name for table in TENANT_TABLES]
    before = datetime.now(UTC)
    row = connection.execute(_LOOK, {"tables": names}).fetchone()
    assert row is not None, "one row"
    middle = before + (datetime.now(UTC) - before) / 2
    return Found(
        version=row["version"],
        role=row["role"],
        above_policies=row["above"],
        unforced=tuple(row["unforced"]),
        revision=_revision(connection),
        clock_seconds=(row["now"] - middle).total_seconds(),
    )


def _revision(connection: Connection[Row]) -> str | None:
    there = connection.execute("SELECT to_regclass('alembic_version') AS it").fetchone()
    if there is None or there["it"] is None:
        return None
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row["version_num"])


_LOOK = """
SELECT current_setting('server_version_num')::int AS version,
       current_user AS role,
       clock_timestamp() AS now,
       role.rolsuper OR role.rolbypassrls OR EXISTS (
           SELECT FROM pg_class WHERE relowner = role.oid AND relkind IN ('r', 'p')
       ) AS above,
       ARRAY(
           SELECT relname::text FROM pg_class
           WHERE relnamespace = 'public'::regnamespace AND relname = ANY (%(tables)s)
             AND NOT (relrowsecurity AND relforcerowsecurity)
           ORDER BY relname
       ) AS unforced
FROM pg_roles AS role
WHERE role.rolname = current_user
"""
