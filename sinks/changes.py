"""Changes: what happens to one row, as a value. A wrong column fails when the value is made."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Column, DateTime, Table

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Append:
    """A new row. One that stands already is a bug, and the constraint says so."""

    table: Table
    row: Row

    def __post_init__(self) -> None:
        _check(self.table, self.row)


@dataclass(frozen=True, slots=True)
class Put:
    """The whole row as it is from now on, whether or not one stood there."""

    table: Table
    row: Row

    def __post_init__(self) -> None:
        _check(self.table, self.row)


@dataclass(frozen=True, slots=True)
class Raise:
    """A row whose columns but for the key only rise: of two values the greater one stands."""

    table: Table
    row: Row

    def __post_init__(self) -> None:
        _check(self.table, self.row)


@dataclass(frozen=True, slots=True)
class Remove:
    """A row that stands no more, by its primary key; none need have stood there."""

    table: Table
    row: Row

    def __post_init__(self) -> None:
        key = {column.name for column in self.table.primary_key.columns}
        if self.row.keys() != key:
            odd = sorted(self.row.keys() ^ key)
            raise ValueError(f"a removal gives the key of {self.table.name}, no more: {odd}")


Change = Append | Put | Raise | Remove


@cache
def columns(table: Table) -> tuple[str, ...]:
    """The columns that a change gives: all but computed ones, identities and insertion times."""
    return tuple(
        str(column.name)  # exactly that: SQLAlchemy's own kind is no key of a document
        for column in table.columns
        if column.computed is None and column.identity is None and not _stamped(column)
    )


@cache
def _names(table: Table) -> frozenset[str]:
    return frozenset(columns(table))


def _stamped(column: Column[Any]) -> bool:
    return isinstance(column.type, DateTime) and column.server_default is not None


def _check(table: Table, row: Row) -> None:
    if row.keys() != _names(table):
        odd = sorted(row.keys() ^ _names(table))
        raise ValueError(f"a change gives every column of {table.name} and no other: {odd}")
