"""Random questions in SQL: joins, filters and aggregates over what an app may read."""

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.sinks.attacks import UUIDS, Prey, Relation
from tests.sinks.provisioned import OURS, THEIRS

_READABLE = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind <> 'S'
  AND has_table_privilege('wt_app', oid, 'SELECT')
"""
_AGGREGATES = ("count(*)", "count({0})", "min({0}::text)", "max({0}::text)", "count(DISTINCT {0})",
               "string_agg({0}::text, ',' ORDER BY {0}::text)", "bool_or({0} IS NULL)")  # fmt: skip
_JOINS = ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN")
_HASHABLE = frozenset(("uuid", "text", "character varying", "smallint", "integer", "bigint"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a query gave beside another tenant's rows, and whether it gives the same without."""

    query: str
    state: str
    rows: str
    differs: bool

    def own(self, prey: Prey) -> bool:
        """Whether nothing of the other tenant is in it but what was asked by."""
        return prey.theirs.isdisjoint(
            set(UUIDS.findall(self.rows)) - set(UUIDS.findall(self.query))
        )


def compared(
    asked: Sequence[str], beside: psycopg.Connection[Any], alone: psycopg.Connection[Any]
) -> list[Answer]:
    """Every query asked of both sessions."""
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda each: _all(each, asked), (beside, alone))
    return [
        Answer(query=query, state=here[0], rows=here[1], differs=here != there)
        for query, here, there in zip(asked, one, other, strict=True)
    ]


def made(prey: Prey, *, seed: int, count: int) -> Iterator[str]:
    """So many queries, the same for the same seed and catalogue."""
    readable = {row["relname"] for row in prey.store.rows(_READABLE)}
    relations = [each for each in prey.relations if each.name in readable and each.columns]
    rng = random.Random(seed)
    values = {
        whose: sorted(
            str(value)
            for (_, tenant), row in prey.rows.items()
            if tenant == whose
            for value in row.values()
            if isinstance(value, str) and UUIDS.fullmatch(value)
        )
        for whose in (OURS, THEIRS)
    }
    for _ in range(count):
        yield _query(rng, relations, values)


def _query(rng: random.Random, relations: Sequence[Relation], values: dict[str, list[str]]) -> str:
    chosen = [rng.choice(relations) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
    columns = [
        (f'r{number}."{name}"', kind)
        for number, each in enumerate(chosen)
        for name, kind in sorted(each.columns.items())
    ]
    source = f'"{chosen[0].name}" AS r0'
    for number, each in enumerate(chosen[1:], start=1):
        on = _joined(rng, chosen[:number], each, number)
        source += f' {rng.choice(_JOINS)} "{each.name}" AS r{number} ON {on}'
    where = " AND ".join(_filter(rng, columns, relations, values) for _ in range(rng.randrange(3)))
    where = f" WHERE {where}" if where else ""
    shown = [rng.choice(columns)[0] for _ in range(rng.randint(1, 4))]
    match rng.randrange(4):
        case 0:
            said = ", ".join(
                rng.choice(_AGGREGATES).format(rng.choice(columns)[0])
                for _ in range(rng.randint(1, 3))
            )
            return f"SELECT {said} FROM {source}{where}"
        case 1:
            by = rng.choice(columns)[0]
            said = rng.choice(_AGGREGATES).format(rng.choice(columns)[0])
            return (
                f"SELECT {by}::text AS one, {said} FROM {source}{where}"
                f" GROUP BY {by} ORDER BY {by}::text"
            )
        case 2:
            said = ", ".join(f"{each}::text" for each in shown)
            places = ", ".join(str(number + 1) for number in range(len(shown)))
            return f"SELECT DISTINCT {said} FROM {source}{where} ORDER BY {places} LIMIT 50"
        case _:
            said = ", ".join(f"{each}::text" for each in shown)
            places = ", ".join(str(number + 1) for number in range(len(shown)))
            return f"SELECT {said} FROM {source}{where} ORDER BY {places} LIMIT 50"


def _joined(rng: random.Random, before: Sequence[Relation], new: Relation, number: int) -> str:
    """A condition between two columns of one type, where there are such; else the tenant's."""
    pairs = [
        (f'r{place}."{one}"', f'r{number}."{other}"')
        for place, each in enumerate(before)
        for one, kind in sorted(each.columns.items())
        for other, its in sorted(new.columns.items())
        if kind == its and kind in _HASHABLE
    ]
    if not pairs:
        return "1 = 1"
    one, other = rng.choice(pairs)
    return f"{one} = {other}"


def _filter(
    rng: random.Random,
    columns: Sequence[tuple[str, str]],
    relations: Sequence[Relation],
    values: dict[str, list[str]],
) -> str:
    column, kind = rng.choice(columns)
    if kind != "uuid":
        return rng.choice((f"{column} IS NOT NULL", f"{column}::text <> 'x'",
                           f"length({column}::text) < 5", f"{column} IS NULL"))  # fmt: skip
    value = rng.choice(values[rng.choice((OURS, THEIRS))])
    other = rng.choice([each for each in relations if "uuid" in each.columns.values()])
    theirs = rng.choice([name for name, its in sorted(other.columns.items()) if its == "uuid"])
    inner = f'(SELECT o."{theirs}" FROM "{other.name}" AS o)'
    return rng.choice(
        (
            f"{column} = '{value}'",
            f"{column} <> '{value}'",
            f"{column} > '{value}'",
            f"{column} IN {inner}",
            f'EXISTS (SELECT FROM "{other.name}" AS o WHERE o."{theirs}" = {column})',
        )
    )


def _all(connection: psycopg.Connection[Any], asked: Sequence[str]) -> list[tuple[str, str]]:
    return [_answer(connection, each) for each in asked]


def _answer(connection: psycopg.Connection[Any], query: str) -> tuple[str, str]:
    """The SQLSTATE, empty for success, and the rows as text; nothing where there are none."""
    try:
        rows = connection.execute(query, prepare=False).fetchall()
    except psycopg.Error as error:
        return error.sqlstate or "", ""
    return "", str(rows) if rows else ""
