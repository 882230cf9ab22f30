"""Roles, grants and row policies: who may see and write which rows, fail closed.

``wt_owner`` owns everything and logs in nowhere; ``wt_migrate`` may become it; ``wt_worker``
writes the rows of the tenants it names per transaction; ``wt_app`` reads the rows of one
tenant; ``wt_definer`` passes row-level security and owns only the few functions that must.
"""

from collections.abc import Mapping

import psycopg
from psycopg import sql

from sinks.database import connect

LOGINS = ("wt_migrate", "wt_worker", "wt_app")
_NOLOGINS = {"wt_owner": "", "wt_definer": "BYPASSRLS"}


def provision(admin_url: str, database: str, passwords: Mapping[str, str]) -> str:
    """Create the roles and the database where they are missing; return the database's URL.

    ``admin_url`` is a login that may create both, on any database of the server. Runs again
    without harm; passwords are set each time.
    """
    assert passwords.keys() == set(LOGINS), "one password for each login"
    with connect(admin_url, name="provision") as connection:
        for role, option in {**_NOLOGINS, **dict.fromkeys(LOGINS, "LOGIN")}.items():
            _create_role(connection, role, option)
        for role, password in passwords.items():
            connection.execute(
                sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(password)
                )
            )
        connection.execute("GRANT wt_owner TO wt_migrate")
        connection.execute("GRANT wt_definer TO wt_owner")
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
        make = "ALTER DATABASE {} OWNER TO wt_owner"
        if found.rowcount == 0:
            make = "CREATE DATABASE {} OWNER wt_owner TEMPLATE template0"
        connection.execute(sql.SQL(make).format(sql.Identifier(database)))
        connection.execute(
            sql.SQL("REVOKE ALL ON DATABASE {0} FROM PUBLIC").format(sql.Identifier(database))
        )
        connection.execute(
            sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(
                sql.Identifier(database), sql.SQL(", ").join(map(sql.Identifier, LOGINS))
            )
        )
    return database


def _create_role(connection: psycopg.Connection[dict[str, object]], role: str, option: str) -> None:
    if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).rowcount == 0:
        connection.execute(
            sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role), sql.SQL(option or "NOLOGIN"))
        )
