"""Attacks on every relation that the catalogue has, as who may not see or touch what is there."""

import itertools
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from tests.sinks.provisioned import OURS, THEIRS, Store

UUIDS = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
DENIED, COPY_REFUSED = "42501", "0A000"
CALLS_MAX = 400  # of one function, with other arguments each
# No row of theirs is anybody's: positions of partitions, and the database's revision.
NOBODYS = {
    "subscriptions", "partitions", "alembic_version",
    "deleted_tenants", "deleted_positions",  # of tenants that are no more; nothing for apps
}  # fmt: skip
# Unique without a tenant and without an id that can't be guessed, so that who may insert can tell
# what is taken; each with the reason why that tells nothing of a tenant.
TELLING = {
    "idx_events_partition": "a partition's numbers, of all tenants together",
    "uq_events_global_position": "made by the database, one after the other",
    "idx_command_results_partition": "offsets of a topic, of all tenants together",
    "uq_dead_letters_subscription_id_topic_partition_offset": "offsets of a topic",
    "pk_verification_results": "a partition's numbers, of all tenants together",
    "pk_parked_records": "offsets of a topic",
    "idx_intake_refusals_counted": "has the tenant, or counts a port's refusals where it is none's",
    "uq_tenants_subdomain": "a name of the public DNS",
}
# What a worker may call though it passes the policies: it serves all tenants, and needs the list.
WORKERS = {"tenant_ids"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table, view or sequence: its kind as pg_class has it, its columns with their types."""

    name: str
    kind: str
    columns: Mapping[str, str]

    @property
    def tenant(self) -> str | None:
        """The column that says whose a row is."""
        if self.name == "tenants":
            return "id"
        return "tenant_id" if "tenant_id" in self.columns else None

    @property
    def writable(self) -> bool:
        return self.kind in "rp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacker:
    """A login with the settings that it comes with; `sees` are the tenants that it may.

    What it may write doesn't depend on how it came to have no tenant, so `writes` some alone.
    """

    role: str
    settings: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    writes: bool = False


OURS_ALONE = (OURS,)
APP = Attacker(
    role="app", sees=OURS_ALONE, writes=True,
    settings=(f"SET wt.tenant = '{OURS}'", "SET wt.all_departments = 'on'"),
)  # fmt: skip
WORKER = Attacker(
    role="worker", sees=OURS_ALONE, writes=True, settings=(f"SET wt.tenants = '{{{OURS}}}'",)
)
_THEM = f"SET wt.tenant = '{THEIRS}'"
ATTACKERS = {
    "app": APP,
    "worker": WORKER,
    "app as none": Attacker(role="app"),
    "worker as none": Attacker(role="worker", writes=True),
    "app after an empty setting": Attacker(role="app", settings=(_THEM, "SET wt.tenant = ''")),
    "app after a reset": Attacker(role="app", settings=(_THEM, "RESET ALL")),
    "app after a pool's reset": Attacker(role="app", settings=(_THEM, "DISCARD ALL")),
    "app of a transaction": Attacker(
        role="app", settings=("BEGIN", _THEM.replace("SET", "SET LOCAL"), "COMMIT")
    ),
    "owner": Attacker(role="migrate", settings=("SET ROLE wt_owner",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prey:
    """A store with rows of two tenants: the relations, a row of each, and the ids in them."""

    store: Store
    relations: tuple[Relation, ...]
    rows: Mapping[tuple[str, str], Mapping[str, Any]]  # by relation and tenant
    theirs: frozenset[str]
    ours: frozenset[str]
    among: str = ""

    @classmethod
    def of(cls, store: Store, among: str = "") -> "Prey":
        """The catalogue's relations (those named like `among`), with what stands in them."""
        found = tuple(
            Relation(name=row["name"], kind=row["kind"], columns=row["columns"])
            for row in store.rows(_RELATIONS)
        )
        rows: dict[tuple[str, str], Mapping[str, Any]] = {}
        ids: dict[str, set[str]] = {OURS: {OURS}, THEIRS: {THEIRS}}
        with psycopg.connect(store.admin, autocommit=True) as connection:
            for each in found:
                if each.kind == "S" or each.tenant is None:
                    continue
                query = SQL("SELECT to_jsonb(row) FROM {} AS row").format(Identifier(each.name))
                for (row,) in connection.execute(query):
                    if row[each.tenant] is not None:
                        rows[each.name, row[each.tenant]] = row
                        ids[row[each.tenant]] |= set(UUIDS.findall(json.dumps(row)))
        chosen = tuple(each for each in found if among in each.name)
        return cls(
            store=store, relations=chosen, rows=rows,
            theirs=frozenset(ids[THEIRS] - ids[OURS]), ours=frozenset(ids[OURS] - ids[THEIRS]),
            among=among,
        )  # fmt: skip

    def breaches(self) -> list[str]:
        """Every attack that got through, in words; none on a store as it should be."""
        found = [*self._unfilled(), *self._telling()]
        for called, attacker in ATTACKERS.items():
            with entered(self.store, attacker) as connection:
                forbidden = self.theirs if attacker.sees else self.theirs | self.ours
                attack = _Attack(self, connection, attacker, forbidden)
                found += [f"{called}: {breach}" for breach in attack.all()]
        return found

    def _unfilled(self) -> Iterator[str]:
        """A table that nobody filled can't be attacked: it has to be covered first."""
        for each in self.relations:
            if not each.writable or each.name in NOBODYS:
                continue
            if each.tenant is None:
                yield f"{each.name}: no tenant, and isn't known as nobody's"
            elif not {(each.name, OURS), (each.name, THEIRS)} <= self.rows.keys():
                yield f"{each.name}: no rows of both tenants"

    def _telling(self) -> Iterator[str]:
        names = {each.name for each in self.relations} - NOBODYS
        for row in self.store.rows(_UNIQUE):
            if row["relation"] in names and row["name"] not in TELLING:
                yield f"{row['relation']}: unique over what can be guessed: {row['name']}"


@dataclass(frozen=True, slots=True)
class _Attack:
    """One attacker's attempts on all relations."""

    prey: Prey
    connection: psycopg.Connection[Any]
    attacker: Attacker
    forbidden: frozenset[str]

    def all(self) -> Iterator[str]:
        for each in self.prey.relations:
            if each.kind == "S":
                yield from self.sequence(each)
                continue
            yield from self.read(each)
            if each.writable and each.tenant is not None and self.attacker.writes:
                yield from self.write(each)
            if each.writable and self.attacker.sees:
                yield from self.estimates(each)
        if self.attacker.role != "migrate":
            yield from self.statistics()
            yield from self.references()
            yield from self.functions()

    def read(self, relation: Relation) -> Iterator[str]:
        name = relation.name
        state, text = self.tried(f'SELECT to_jsonb(row)::text FROM "{name}" AS row')
        if self.shows(text):
            yield f"{name}: SELECT"
        if self.shows(self.copied(f'COPY (SELECT * FROM "{name}") TO STDOUT')[1]):
            yield f"{name}: COPY of a query"
        if relation.writable and self.shows(self.copied(f'COPY "{name}" TO STDOUT')[1]):
            yield f"{name}: COPY TO"
        assert state in ("", DENIED), f"{name}: {state}"

    def write(self, relation: Relation) -> Iterator[str]:
        name, tenant = relation.name, relation.tenant
        theirs = self.prey.rows.get((name, THEIRS))
        if theirs is not None and self.inserted(relation, theirs) != DENIED:
            yield f"{name}: INSERT for another tenant"
        moved, what = self.tried(
            f"UPDATE \"{name}\" SET {tenant} = '{THEIRS}' RETURNING '{THEIRS}'"
        )
        if self.shows(what) or moved not in ("", DENIED):
            yield f"{name}: UPDATE to another tenant"
        for verb in (f'UPDATE "{name}" SET {tenant} = {tenant}', f'DELETE FROM "{name}"'):
            _, text = self.tried(f'{verb} RETURNING to_jsonb("{name}")::text')
            if self.shows(text):
                yield f"{name}: {verb.split()[0]}"
        if self.tried(f'TRUNCATE "{name}" CASCADE')[0] != DENIED:
            yield f"{name}: TRUNCATE"
        if self.copied(f'COPY "{name}" FROM STDIN')[0] not in (DENIED, COPY_REFUSED):
            yield f"{name}: COPY FROM"

    def estimates(self, relation: Relation) -> Iterator[str]:
        """A plan must not tell whether an id of another tenant is there."""
        theirs = self.prey.rows.get((relation.name, THEIRS), {})
        for column, kind in relation.columns.items():
            if kind == "uuid" and theirs.get(column) in self.prey.theirs:
                plans = set()
                for value in (theirs[column], str(uuid.uuid4())):
                    where = f"WHERE \"{column}\" = '{value}'"
                    state, plan = self.tried(f'EXPLAIN SELECT FROM "{relation.name}" {where}')
                    plans.add((state, plan.replace(value, "")))
                if len(plans) > 1:
                    yield f"{relation.name}: EXPLAIN of {column}"

    def statistics(self) -> Iterator[str]:
        for view in ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"):
            query = f"SELECT to_jsonb(row)::text FROM {view} AS row WHERE schemaname = 'public'"
            if self.shows(self.tried(query)[1]):
                yield f"{view}: values"
        for table in ("pg_statistic", "pg_statistic_ext_data"):
            if self.tried(f"SELECT FROM {table}")[0] != DENIED:
                yield f"{table}: SELECT"

    def references(self) -> Iterator[str]:
        """A foreign key must not tell whether another tenant's row is there."""
        by_name = {each.name: each for each in self.prey.relations}
        for key in self.prey.store.rows(_REFERENCES):
            child = by_name.get(key["child"])
            own = self.prey.rows.get((key["child"], OURS))
            parent = self.prey.rows.get((key["parent"], THEIRS))
            if child is None or own is None or parent is None:
                continue
            fresh = {
                column: str(uuid.uuid4())
                for column in own
                if child.columns[column] == "uuid" and column != child.tenant
            }
            there = {one: parent[other] for one, other in key["columns"].items()}
            absent = {
                one: str(uuid.uuid4()) for one in there if child.columns[one] == "uuid"
            }  # fmt: skip
            told = {
                self.inserted(child, {**own, **fresh, **there, **more}) for more in ({}, absent)
            }
            if len(told) > 1:
                yield f"{child.name}: foreign key {key['name']}"

    def sequence(self, relation: Relation) -> Iterator[str]:
        for query in (f'SELECT last_value FROM "{relation.name}"',
                      f"SELECT nextval('\"{relation.name}\"')"):  # fmt: skip
            if self.attacker.role != "migrate" and self.tried(query)[0] != DENIED:
                yield f"{relation.name}: sequence"

    def functions(self) -> Iterator[str]:
        role = f"wt_{self.attacker.role}"
        for function in self.prey.store.rows(_FUNCTIONS, role, f"%{self.prey.among}%"):
            name = function["name"]
            if not function["callable"] or (role == "wt_worker" and name in WORKERS):
                continue
            calls = arguments(self.prey, function["kinds"])
            if any(self.shows(*self.called(name, each)) for each in calls):
                yield f"{name}: function"

    def called(self, name: str, given: tuple[str, ...]) -> tuple[str, str]:
        """What a call with these arguments (SQL) gave, and the arguments, which it may repeat."""
        listed = ", ".join(given)
        return self.tried(f'SELECT to_jsonb(row)::text FROM "{name}"({listed}) AS row')[1], listed

    def inserted(self, relation: Relation, row: Mapping[str, Any]) -> str:
        names = ", ".join(f'"{each}"' for each in row if each in relation.columns)
        state, _ = self.tried(
            f'INSERT INTO "{relation.name}" ({names}) OVERRIDING SYSTEM VALUE'
            f' SELECT {names} FROM jsonb_populate_record(NULL::"{relation.name}", %s)',
            json.dumps({name: row[name] for name in row}),
        )
        return state

    def shows(self, text: str, asked: str = "") -> bool:
        """Whether there is an id that must not be seen, but for what was asked by."""
        return not self.forbidden.isdisjoint({*UUIDS.findall(text)} - {*UUIDS.findall(asked)})

    def tried(self, query: str, *values: object) -> tuple[str, str]:
        """The SQLSTATE, empty for success, and what was shown; nothing stays done."""
        return tried(self.connection, query, *values)

    def copied(self, statement: str) -> tuple[str, str]:
        """The SQLSTATE of a COPY, and what it gave."""
        try:
            with (
                self.connection.transaction(force_rollback=True),
                self.connection.cursor().copy(statement) as stream,
            ):
                if statement.endswith("FROM STDIN"):
                    return "", ""
                return "", b"".join(map(bytes, stream)).decode()
        except psycopg.Error as error:
            return error.sqlstate or "", ""


def tried(connection: psycopg.Connection[Any], query: str, *values: object) -> tuple[str, str]:
    """The SQLSTATE of a query, empty for success, and its rows as text; nothing stays done."""
    try:
        if query.startswith(("SELECT", "EXPLAIN")):
            return "", str(connection.execute(query, values or None).fetchall())
        with connection.transaction(force_rollback=True):
            cursor = connection.execute(query, values or None)
            return "", str(cursor.fetchall()) if cursor.description else ""
    except psycopg.Error as error:
        return error.sqlstate or "", ""


def arguments(prey: Prey, kinds: list[str]) -> Iterator[tuple[str, ...]]:
    """Arguments for a function of these types: ids and words of theirs, and none."""
    theirs = prey.rows.get(("trajectory_points", THEIRS), {})
    ids = [f"'{theirs[each]}'::uuid" for each in ("admission_id", "patient_id") if each in theirs]
    words = [f"'{each}'::text" for each in (theirs.get("point_of_care", ""), "room", "census")]
    choices = {
        "uuid": [*ids, f"'{THEIRS}'::uuid", "NULL::uuid"],
        "uuid[]": [f"ARRAY[{each}]" for each in ids],
        "text": [*words, "'ward'::text", "'physical'::text", "NULL::text"],
        "timestamp with time zone": ["now()", "NULL::timestamptz"],
    }
    chosen = [choices.get(kind, [f"NULL::{kind}"]) for kind in kinds]
    return itertools.islice(itertools.product(*chosen), CALLS_MAX)


@contextmanager
def entered(store: Store, attacker: Attacker) -> Iterator[psycopg.Connection[Any]]:
    """A session of an attacker, with its settings."""
    with psycopg.connect(getattr(store, attacker.role), autocommit=True) as connection:
        for setting in attacker.settings:
            connection.execute(setting)
        yield connection


_RELATIONS = """
SELECT relname AS name, relkind::text AS kind, (
    SELECT coalesce(jsonb_object_agg(attname, format_type(atttypid, NULL)), '{}')
    FROM pg_attribute
    WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
) AS columns
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
ORDER BY relname
"""
_UNIQUE = """
SELECT indexed.relname AS name, of.relname AS relation
FROM pg_index JOIN pg_class AS indexed ON indexed.oid = indexrelid
JOIN pg_class AS of ON of.oid = indrelid
WHERE of.relnamespace = 'public'::regnamespace AND indisunique AND NOT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = indrelid AND attnum = ANY (indkey::smallint[])
      AND atttypid = 'uuid'::regtype AND attnotnull
)
ORDER BY 1
"""
_REFERENCES = """
SELECT conname AS name, conrelid::regclass::text AS child, confrelid::regclass::text AS parent, (
    SELECT jsonb_object_agg(one.attname, other.attname)
    FROM unnest(conkey, confkey) AS pair (mine, its)
    JOIN pg_attribute AS one ON one.attrelid = conrelid AND one.attnum = mine
    JOIN pg_attribute AS other ON other.attrelid = confrelid AND other.attnum = its
) AS columns
FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace
ORDER BY 1
"""
_FUNCTIONS = """
SELECT proname AS name, has_function_privilege(%s, oid, 'EXECUTE') AS callable,
       ARRAY(SELECT format_type(kind, NULL) FROM unnest(proargtypes) AS kind) AS kinds
FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype
  AND proname LIKE %s AND NOT EXISTS (
      SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e'
  )
ORDER BY proname
"""
