"""Migrations of the database: Alembic, each version a frozen SQL file beside its revision."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from sinks.database import CONNECT_TIMEOUT_S, DatabaseAway

_HERE = Path(__file__).parent
LOCK = 0x77617264  # advisory: two migrators wait for each other
OTHER_MIGRATOR_S = 600  # a version may rewrite a large table


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database to ``revision`` as ``wt_migrate``; each version is one transaction."""
    _run(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Take the database back to ``revision``; for development, never for a database in use."""
    _run(url, lambda config: command.downgrade(config, revision))


def head() -> str:
    """The newest revision that this code knows."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None, "there are migrations"
    return newest


def current(url: str) -> str | None:
    """The revision at which the database stands; None before the first."""
    with _engine(url).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _run(url: str, what: Callable[[Config], None]) -> None:
    config = _config()
    try:
        with _engine(url).connect() as connection:
            _prepare(connection)
            config.attributes["connection"] = connection
            what(config)
    except OperationalError as error:
        state = getattr(error.orig, "sqlstate", None)
        raise DatabaseAway(f"the database can't be migrated now, sqlstate: {state}") from error


def _prepare(connection: Connection) -> None:
    """Become the owner; wait for another migrator; never wait behind a long transaction."""
    connection.execute(text("SET ROLE wt_owner"))
    connection.execute(text(f"SET lock_timeout = '{OTHER_MIGRATOR_S}s'"))
    connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
    connection.execute(text("SET lock_timeout = '10s'"))
    connection.commit()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    return config


def _engine(url: str) -> Engine:
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_S,
            "application_name": "wardtrail migrate",
        },
    )
