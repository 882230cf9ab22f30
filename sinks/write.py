"""Writes many rows at once: a table's rows are one document, which one statement inserts or merges.

PostgreSQL refuses ``COPY FROM`` into a table with row-level security. By way of a temporary table
it takes as long as this from 100 rows on (2,000 in 48 ms, 52 by this), with three times the work
here, and below that longer, as it needs five round trips and a file emptied at each commit.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import LiteralString

import orjson
from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import Table

from schemas.failpoints import hit
from sinks.changes import Append, Change, Put, Remove, Row, columns
from sinks.database import Row as Loaded

ROWS_MAX = 10_000  # in one document, which stands whole in memory on both sides


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
        _send(connection, _insert(table), rows)
    for table, latest in put.items():
        _send(connection, _merge(table), list(latest.values()))
    for table, greatest in raised.items():
        _send(connection, _merge(table, "greatest({1}.{0}, excluded.{0})"), list(greatest.values()))
    for table, gone in removed.items():
        assert gone.keys().isdisjoint(put.get(table, ())), "a row is put or removed, not both"
        _send(connection, _delete(table), list(gone.values()))
    written = (appended, put, raised, removed)
    return sum(len(rows) for tables in written for rows in tables.values())


def _send(connection: Connection[Loaded], statement: Composed, rows: Sequence[Row]) -> None:
    """Execute a statement over rows, as many at a time as one document should hold."""
    for start in range(0, len(rows), ROWS_MAX):
        hit("sink: writing")
        part = rows[start : start + ROWS_MAX]
        connection.execute(statement, (orjson.dumps(part, default=_hex).decode(),))


def _hex(value: object) -> str:
    """Bytes as the server reads them out of a text."""
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    raise TypeError  # orjson names the type, and nothing of the value


@cache
def _primary(table: Table) -> tuple[str, ...]:
    return tuple(column.name for column in table.primary_key.columns)


def _given(table: Table) -> Composed:
    """The rows of the parameter, with the table's columns and types."""
    return SQL("json_populate_recordset(NULL::{}, %s)").format(Identifier(table.name))


@cache
def _insert(table: Table) -> Composed:
    return SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
        Identifier(table.name), _listed(table), _listed(table), _given(table)
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
        Identifier(table.name), key, key, _given(table)
    )


def _greater(table: Table, one: Row, other: Row) -> Row:
    """The key, and of every other column the greater value."""
    return {name: max(one[name], other[name]) for name in columns(table)}


def _listed(table: Table) -> Composed:
    return SQL(", ").join(map(Identifier, columns(table)))
