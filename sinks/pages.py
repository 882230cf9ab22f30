"""Answers in pages: rows in a fixed order, and a cursor that asks for those after the last one."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
from psycopg.sql import SQL, Composed, Identifier, Placeholder

from sinks.queries import Snapshot

LIMIT_MAX = 1_000  # a page is read by a person or a device on a ward's network
_NEVER = "infinity"  # where a time that orders rows isn't set: after all others
_NOTHING: Mapping[str, str] = {}
_T = TypeVar("_T")


class CursorInvalid(Exception):  # noqa: N818  named for what is wrong
    """Not a cursor that this question gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[_T]):
    """Some rows in order, and the cursor of the next page; None on the last one."""

    rows: tuple[_T, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order of rows: an expression and the column it stands for, then the id."""

    by: str = ""
    column: str = ""

    def sort(self) -> SQL:
        """What follows ORDER BY."""
        return SQL(f"{self.by}, id" if self.by else "id")

    def after(self) -> SQL:
        """The condition that leaves the rows after the last one given."""
        if not self.by:
            return SQL("id > %(after_id)s")
        return SQL(f"({self.by}, id) > (%(after)s::timestamptz, %(after_id)s)")


def page(
    connection: Snapshot,
    kind: type[_T],
    table: str,
    only: Sequence[SQL | Composed],
    values: Mapping[str, Any],
    order: Order,
    limit: int,
    cursor: str | None,
    *,
    computed: Mapping[str, str] = _NOTHING,
) -> Page[_T]:
    """A page of a table's rows that meet all conditions, each made a ``kind`` by its fields.

    ``computed`` are fields that are no columns, as SQL. Raises :class:`CursorInvalid`.
    """
    assert 0 < limit <= LIMIT_MAX, "a page has a bound"
    conditions = [SQL("true"), *only]
    asked = {**values, "limit": limit + 1}
    if cursor is not None:
        asked["after"], asked["after_id"] = _read(cursor)
        conditions.append(order.after())
    statement = SQL("SELECT {} FROM {} WHERE {} ORDER BY {} LIMIT %(limit)s").format(
        _columns(kind, computed), Identifier(table), SQL(" AND ").join(conditions), order.sort()
    )
    rows = connection.execute(statement, asked).fetchall()
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(
        rows=tuple(kind(**row) for row in rows[:limit]),
        cursor=None if last is None else _write(last.get(order.column), last["id"]),
    )


def by_ids(connection: Snapshot, kind: type[_T], table: str, ids: Sequence[str]) -> list[_T]:
    """Those of these rows that the connection may see, by id."""
    assert len(ids) <= LIMIT_MAX, "no more rows than of a page"
    if not ids:
        return []
    statement = SQL("SELECT {} FROM {} WHERE id = ANY(%s::uuid[]) ORDER BY id").format(
        _columns(kind, _NOTHING), Identifier(table)
    )
    return [kind(**row) for row in connection.execute(statement, (list(ids),))]


def equal(values: Mapping[str, Any]) -> list[SQL | Composed]:
    """A condition for each column that is to have a value; None is no condition."""
    return [
        SQL("{} = {}").format(Identifier(name), Placeholder(name))
        for name, value in values.items()
        if value is not None
    ]


def _columns(kind: type[Any], computed: Mapping[str, str]) -> Composed:
    return SQL(", ").join(
        SQL("{} AS {}").format(SQL(computed[each.name]), Identifier(each.name))
        if each.name in computed
        else Identifier(each.name)
        for each in fields(kind)
    )


def _write(at: datetime | None, row_id: str) -> str:
    text = _NEVER if at is None else at.isoformat()
    return urlsafe_b64encode(orjson.dumps([text, row_id])).decode("ascii")


def _read(cursor: str) -> tuple[str, UUID]:
    """When and which row was the last one given."""
    try:
        at, row_id = orjson.loads(urlsafe_b64decode(cursor))
        if at != _NEVER:
            moment = datetime.fromisoformat(at)
            if moment.tzinfo is None:
                raise CursorInvalid("not a cursor of ours")
            at = moment.astimezone(UTC).isoformat()  # as PostgreSQL reads it, whatever it was
        return at, UUID(row_id)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise CursorInvalid("not a cursor of ours") from None
