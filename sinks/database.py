"""Connections to PostgreSQL: their role, their bounds, and what its errors mean to us."""

import logging
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import UUID

import orjson
import psycopg
from psycopg import Connection, Cursor
from psycopg.rows import dict_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg.types.string import TextLoader
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

# A batch writes in under a second; what takes a minute is stuck and must let go of its locks.
STATEMENT_TIMEOUT_S = 60
LOCK_TIMEOUT_S = 10
CONNECT_TIMEOUT_S = 5
IDLE_IN_TRANSACTION_TIMEOUT_S = 60
TRUSTED_SECONDS = 1.0  # a connection that was used so lately isn't asked whether it lives
# SQLSTATE classes that say nothing about the rows: connection, rollback, resources, not in
# prerequisite state, operator intervention, system error.
TRANSIENT = frozenset({"08", "40", "53", "55", "57", "58"})
# Classes that say the rows are at fault: data exception, integrity violation.
POISON = frozenset({"22", "23"})
# The server ended a session that stood idle in its transaction, as a thawed process finds.
_NO_LOGIN = frozenset({"28P01", "28000", "3D000"})
# libpq tells why a connection was never made only in words.
_NOT_LET_IN = re.compile(r"authentication failed|role \"[^\"]*\" does not exist|database \"")
_TIMED_OUT = frozenset({"25P03", "25P04"})

Row = dict[str, Any]
set_json_loads(orjson.loads)
set_json_dumps(orjson.dumps)
# What the driver warns of, as an error after another one, it says in the server's words.
logging.getLogger("psycopg").addFilter(lambda record: record.levelno >= logging.ERROR)


class DatabaseAway(Exception):  # noqa: N818  named for what is wrong
    """The database doesn't answer, or asks for patience; the same again may succeed."""


class LoginRefused(Exception):  # noqa: N818  named for what is wrong
    """The database knows neither this login, password nor database; waiting won't help."""


class Refused(Exception):  # noqa: N818  named for what is wrong
    """The database refuses these rows; the same again will fail again."""

    def __init__(self, sqlstate: str, constraint: str | None) -> None:
        # Never the server's own text: its detail line quotes the row.
        super().__init__(f"rows refused, sqlstate {sqlstate}, constraint: {constraint}")
        self.sqlstate = sqlstate


class Pooled(Connection[Row]):
    """A connection that knows when it last left our hands, in seconds of a clock that rises."""

    used_at = float("-inf")


class Synced(Cursor[Row]):
    """A cursor whose fetches end what was sent in a pipeline with a Sync.

    psycopg asks for answers with a Flush. After that the session neither is idle in its
    transaction nor does its statement take time: no time-out frees the locks of a client that
    stands still there (measured). A Sync costs such a transaction up to 2 % of CPU (measured).
    """

    def _fetch_pipeline(self) -> None:
        if self._conn._pipeline is not None and self.pgresult is None:
            self._conn._pipeline.sync()
        super()._fetch_pipeline()


@dataclass(frozen=True, slots=True)
class Database:
    """A pool of connections as one role. ``url`` is a libpq URL; ``name`` shows in the server."""

    pool: ConnectionPool[Pooled]

    @classmethod
    def open(cls, url: str, *, name: str, size: int = 8) -> "Database":
        """Open the pool; connections are made when first needed."""
        pool = ConnectionPool(
            url,
            connection_class=Pooled,
            min_size=0,
            max_size=size,
            timeout=CONNECT_TIMEOUT_S,
            reconnect_timeout=CONNECT_TIMEOUT_S,
            kwargs=parameters(name) | {"row_factory": dict_row, "cursor_factory": Synced},
            configure=_configure,
            check=_check,
            open=True,
        )
        return cls(pool)

    @contextmanager
    def connection(self) -> Iterator[Connection[Row]]:
        """A connection of the pool; its errors become :class:`DatabaseAway`, :class:`Refused`."""
        try:
            with told(), self.pool.connection() as connection:
                yield connection
                connection.used_at = monotonic()
        except (PoolTimeout, PoolClosed):
            raise DatabaseAway("no connection to the database within the time-out") from None

    @contextmanager
    def transaction(self) -> Iterator[Connection[Row]]:
        """One transaction whose statements don't wait for one another, committed at the end.

        They go out together when an answer is asked for, and what one did wrong is told then, or
        at the end. A statement's ``rowcount`` isn't known before: ask for rows.
        """
        with self.connection() as connection, connection.pipeline(), connection.transaction():
            yield connection

    def close(self) -> None:
        """Close the pool; connections in use end with their transaction."""
        self.pool.close(timeout=CONNECT_TIMEOUT_S)


@contextmanager
def told() -> Iterator[None]:
    """Tell a driver's error by its SQLSTATE class, as the sinks' callers need it."""
    try:
        yield
    except psycopg.Error as error:
        state = error.sqlstate
        if state is None and isinstance(error, psycopg.DataError):
            # The driver refuses by itself what no text column can hold: a NUL.
            raise Refused("22000", None) from None
        if state in _NO_LOGIN or (state is None and _NOT_LET_IN.search(str(error))):
            raise LoginRefused(
                "the database refuses our login (hint: wardtrail migrate sets the passwords "
                "that stand in the home's roles.json)"
            ) from None
        if state is None or state[:2] in TRANSIENT or state in _TIMED_OUT:
            if state is None and not isinstance(error, psycopg.OperationalError):
                raise
            raise DatabaseAway(f"the database asks for patience, sqlstate: {state}") from error
        if state[:2] in POISON:
            raise Refused(state, error.diag.constraint_name) from None
        raise


def parameters(name: str) -> dict[str, Any]:
    """What every connection of ours is made with."""
    return {
        "application_name": f"wardtrail {name}"[:63],
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "options": " ".join(
            (
                f"-c statement_timeout={STATEMENT_TIMEOUT_S}s",
                f"-c lock_timeout={LOCK_TIMEOUT_S}s",
                f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_S}s",
                "-c timezone=UTC",
            )
        ),
    }


@contextmanager
def connect(url: str, *, name: str) -> Iterator[Connection[Row]]:
    """One connection outside any pool, in autocommit, for short errands."""
    arguments = parameters(name)
    with (
        told(),
        psycopg.connect(url, autocommit=True, row_factory=dict_row, **arguments) as connection,
    ):
        _configure(connection)
        yield connection


def as_role(url: str, role: str, password: str) -> str:
    """The same database as another login."""
    parts = urlsplit(url)
    where = parts.hostname or "127.0.0.1"
    port = f":{parts.port}" if parts.port else ""
    login = f"{quote(role, safe='')}:{quote(password, safe='')}@{where}{port}"
    return urlunsplit((parts.scheme, login, parts.path, parts.query, ""))


def for_tenants(connection: Connection[Row], tenants: Collection[UUID] | Collection[str]) -> None:
    """Let this transaction see and write the rows of these tenants and no other."""
    listed = "{" + ",".join(sorted({str(tenant) for tenant in tenants})) + "}"
    connection.execute("SELECT set_config('wt.tenants', %s, true)", (listed,))


def _check(connection: Pooled) -> None:
    """Whether the connection lives, unless it did a moment ago: that costs a round trip."""
    if monotonic() - connection.used_at > TRUSTED_SECONDS:
        ConnectionPool.check_connection(connection)


def _configure(connection: Connection[Row]) -> None:
    """Ids come as text, as they stand in events; making objects of them costs more than a row."""
    connection.adapters.register_loader("uuid", TextLoader)
