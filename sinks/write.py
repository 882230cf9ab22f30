"""Writes many rows at once: COPY to a temporary table, then insert or merge.

``COPY FROM`` into a table with row-level security is refused by PostgreSQL, so the rows take
the way through a temporary table of the session, where a foreign tenant is refused on insert.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, LiteralString

import orjson
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import JSONB

from schemas.failpoints import hit
from sinks.changes import Append, Change, Put, Remove, Row, columns
from sinks.database import Row as Loaded


def write(connection: Connection[Loaded], changes: Iterable[Change]) -> int:
    """Write the changes, the last one of a row winning; return how many rows were written.

    Within a table rows are written in the order of their first change: a version is closed
    before the next one becomes the current one.
    """
    appended: dict[Table, list[Row]] = {}
    put: dict[Table, dict[tuple[object, ...], Row]] = {}
    raised: dict[Table, dict[tuple[object, ...], Row]] = {}
    removed: dict[Table, dict[tuple[object, ...], Row]] = {}
    for change in changes:
        if isinstance(change, Append):
            appended.setdefault(change.table, []).append(change.row)
            continue
        key = tuple([str(change.row[name]) for name in _primary(change.table)])
        if isinstance(change, Put):
            put.setdefault(change.table, {})[key] = change.row
        elif isinstance(change, Remove):
            removed.setdefault(change.table, {})[key] = change.row
        else:
            known = raised.setdefault(change.table, {})
            known[key] = _greater(change.table, known.get(key, change.row), change.row)
    for table, rows in appended.items():
        copy(connection, table, rows)
        connection.execute(_insert(table))
    for table, latest in put.items():
        copy(connection, table, list(latest.values()))
        connection.execute(_merge(table))
    for table, greatest in raised.items():
        copy(connection, table, list(greatest.values()))
        connection.execute(_merge(table, "greatest({1}.{0}, excluded.{0})"))
    for table, gone in removed.items():
        assert gone.keys().isdisjoint(put.get(table, ())), "a row is put or removed, not both"
        copy(connection, table, [{**dict.fromkeys(columns(table)), **row} for row in gone.values()])
        connection.execute(_delete(table))
    written = (appended, put, raised, removed)
    return sum(len(rows) for tables in written for rows in tables.values())


def copy(connection: Connection[Loaded], table: Table, rows: Sequence[Row]) -> None:
    """COPY rows into the session's temporary table, which is empty before and after."""
    connection.execute(_stage(table), prepare=False)  # two statements, one round trip
    names, json = columns(table), _json(table)
    statement = SQL("COPY {} ({}) FROM STDIN").format(_staged(table), _listed(table))
    with connection.cursor().copy(statement) as stream:
        hit("sink: copying")
        for row in rows:
            stream.write_row([_text(row[name]) if name in json else row[name] for name in names])


def _text(value: Any) -> str | None:  # noqa: ANN401  any JSON value
    return None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


@cache
def _primary(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.primary_key.columns)


@cache
def _json(table: Table) -> frozenset[str]:
    return frozenset(column.name for column in table.columns if isinstance(column.type, JSONB))


def _staged(table: Table) -> Identifier:
    return Identifier(f"stage_{table.name}")


@cache
def _stage(table: Table) -> Composed:
    return SQL(
        "CREATE TEMPORARY TABLE IF NOT EXISTS {0} ON COMMIT DELETE ROWS AS "
        "SELECT {1} FROM {2} WITH NO DATA; DELETE FROM {0}"  # TRUNCATE makes a new file
    ).format(_staged(table), _listed(table), Identifier(table.name))


@cache
def _insert(table: Table) -> Composed:
    return SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
        Identifier(table.name), _listed(table), _listed(table), _staged(table)
    )


@cache
def _merge(table: Table, value: LiteralString = "excluded.{0}") -> Composed:
    rest = [name for name in columns(table) if name not in _primary(table)]
    return _insert(table) + SQL(" ON CONFLICT ({}) DO UPDATE SET {}").format(
        SQL(", ").join(map(Identifier, _primary(table))),
        SQL(", ").join(
            SQL("{0} = " + value).format(Identifier(name), Identifier(table.name)) for name in rest
        ),
    )


@cache
def _delete(table: Table) -> Composed:
    key = SQL(", ").join(map(Identifier, _primary(table)))
    return SQL("DELETE FROM {} WHERE ({}) IN (SELECT {} FROM {})").format(
        Identifier(table.name), key, key, _staged(table)
    )


def _greater(table: Table, one: Row, other: Row) -> Row:
    """The key, and of every other column the greater value."""
    return {name: max(one[name], other[name]) for name in columns(table)}


def _listed(table: Table) -> Composed:
    return SQL(", ").join(map(Identifier, columns(table)))
