"""Having the database let go of what was: dead rows, and the log segment that has them."""

from typing import Any, LiteralString

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from sinks import lifecycle
from sinks.database import Row, connect

BARRIER_SECONDS = 90.0  # a transaction of ours lasts at most 60 s
KEYS = "subject_keys"
# Where an erasure changes rows.
TOUCHED = (KEYS, "messages", "dead_letters", "patient_read_models", "patient_tokens")


class LogNotSwitched(Exception):  # noqa: N818  named for what is wrong
    """The write-ahead log still writes to the segment that has what was."""


def vacuum(url: str) -> str:
    """Remove dead rows, as a login that may become ``wt_owner``; where the log stood afterwards.

    Raises :class:`~sinks.lifecycle.NotDrained` while somebody may still see them.
    """
    with connect(url, name="erase") as connection:
        connection.execute("SET ROLE wt_owner")
        lifecycle.await_writers(connection, BARRIER_SECONDS)
        connection.execute("SET statement_timeout = 0")
        # A plain one leaves the bytes of dead keys in their pages (measured).
        connection.execute(SQL("VACUUM (FULL) {}").format(Identifier(KEYS)))
        for table in TOUCHED:
            connection.execute(SQL("VACUUM {}").format(Identifier(table)))
        at: str = _one(connection, "SELECT pg_current_wal_lsn()::text AS value")
        return at


def switch_log(url: str, at: str) -> None:
    """Have the write-ahead log go on in another segment than that of a place.

    As a login that may; else raise :class:`LogNotSwitched` until it went on by itself.
    """
    with connect(url, name="erase") as connection:
        if _one(connection, _MAY):
            connection.execute("SELECT pg_switch_wal()")
            if _one(connection, _MAY_CHECKPOINT):  # segments before it are written over sooner
                connection.execute("CHECKPOINT")
        elif _one(connection, _SAME_SEGMENT, at):
            raise LogNotSwitched(
                "the write-ahead log still writes to the segment of then, and the login of"
                " DATABASE_URL may not switch it (hint: GRANT EXECUTE ON FUNCTION pg_switch_wal(),"
                " or the same again when it has gone on)"
            )


def _one(connection: Connection[Row], statement: LiteralString, *values: object) -> Any:  # noqa: ANN401  one value
    row = connection.execute(statement, values or None).fetchone()
    assert row is not None, "one row is asked for"
    return row["value"]


_MAY = "SELECT has_function_privilege('pg_switch_wal()', 'EXECUTE') AS value"
_MAY_CHECKPOINT = "SELECT pg_has_role('pg_checkpoint', 'USAGE') AS value"
_SAME_SEGMENT = """
SELECT pg_walfile_name(pg_current_wal_lsn()) = pg_walfile_name(%s::pg_lsn) AS value
"""
