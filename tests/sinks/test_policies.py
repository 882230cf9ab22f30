"""A tenant sees its own: roles, grants and row policies, attacked over every relation there is."""

import uuid

import psycopg
import pytest
from sqlalchemy import Enum

from sinks import transaction as sink
from sinks.changes import Append, columns
from sinks.database import for_tenants
from sinks.projection import Projection
from sinks.tables import (
    TENANT_TABLES,
    command_results,
    dead_letters,
    handovers,
    metadata,
    patient_read_models,
    tenants,
)
from sinks.write import write
from tests.sinks.provisioned import LINE, OURS, THEIRS, applied, records

pytestmark = pytest.mark.stack

TENANT_RELATIONS = """
SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
  AND (attname = 'tenant_id' OR relname = 'tenants' AND attname = 'id')
"""
UNGUARDED = f"""
SELECT relname FROM ({TENANT_RELATIONS}) AS relation JOIN pg_class USING (relname)
WHERE NOT (relrowsecurity AND relforcerowsecurity)
   OR ARRAY(SELECT policyname::text FROM pg_policies
            WHERE tablename = relname AND permissive = 'PERMISSIVE' ORDER BY 1)
      <> ARRAY['app', 'worker']
"""
# A setting outside of a subquery is read for each row that is looked at.
EACH = r"""
SELECT tablename, policyname FROM pg_policies
WHERE regexp_replace(concat(qual, with_check),
                     'SELECT \(?(NULLIF\()?current_setting', '', 'g') LIKE '%current_setting(%'
"""
FAIL = """
UPDATE command_results SET outcome = 'failed', rule = 'r', said = 's', events = 0,
    event_partition = NULL, event_seq = NULL
"""  # what is decided can't be changed
READABLE = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')
  AND has_table_privilege('wt_app', pg_class.oid, 'SELECT')
"""
WITHOUT_TENANT = {"subscriptions", "partitions", "alembic_version"}  # positions, no one's data
FOR_WORKERS = {"deleted_tenants", "deleted_positions"}  # of nobody that there is
# What was told, and the keys and names that ids are made of: a bug there couldn't be mended.
NEVER_UPDATED = {
    "events": "data = '{}'",
    "messages": "body_sealed = ''",
    "tenant_keys": "wrapped = ''",
    "patient_identifiers": "type = ''",
    "patient_merges": "kind = 'undo'",
    "admission_aliases": "recorded_at = now()",
    "visit_accounts": "recorded_at = now()",
    "verification_results": "revision = 0",
    "subject_keys": "subject_id = subject_id",
}
UNREAD = {"subject_keys"}  # by apps: a copy of a wrapped key would outlive its destruction
TABLES = [table.name for table in TENANT_TABLES]
BOUND = {
    "track": "census",
    "outcome": "applied",
    "state": "dead",
    "purpose": "data",
    "stage": "map",
    "kind": "merge",
    "action": "retry",
    "ended": "done",
    "emr_system": "EPIC",
    "refusal_answer": "AR",
    "transient_answer": "AR",
    "ignored_answer": "AA",
    "acknowledgement": "auto",
    "answer_when": "custody",
    "status": "pending",
    "erased_people": "dark",
}
ACCEPTED = {"outcome": "accepted", "rule": None, "said": None}  # a command's, as one row has it
UNSET = (
    "ended_at", "known_to", "undone_at", "deleted_at", "starts_at", "window_starts_at",
    "completed_at", "completed_by", "accepted_by", "emr_instance_id", "destroyed_at",
)  # fmt: skip
SUMMARIES = {"patients", "patient_task_summary"}  # views that a row of each table shows in
FIXED = {"UUID": "gen_random_uuid()", "JSONB": "'{}'", "BOOLEAN": "true", "BYTEA": "'x'"}


def value(column, tenant, number):
    """Some value that the column takes, as SQL."""
    if column.name == "tenant_id" or (column.table is tenants and column.name == "id"):
        return f"'{tenant}'"
    if column.table is command_results and column.name in ACCEPTED:
        return f"'{ACCEPTED[column.name]}'" if ACCEPTED[column.name] else "NULL"
    if column.table is handovers and column.name == "status":
        return "'initiated'"
    if isinstance(column.type, Enum):
        return f"'{column.type.enums[0]}'"
    if column.name in BOUND and "JSONB" not in str(column.type).upper():
        return f"'{BOUND[column.name]}'"
    if column.name in UNSET:
        return "NULL" if column.nullable else "now() - interval '1 hour'"
    kind = str(column.type.compile(dialect=psycopg_dialect())).split("(")[0]
    if kind in FIXED:
        return FIXED[kind]
    if kind.startswith("TIMESTAMP"):
        return "now()"
    if kind in ("INTEGER", "SMALLINT", "BIGINT", "FLOAT", "DOUBLE PRECISION"):
        return str(number)
    return f"'t{number}'"


def psycopg_dialect():
    from sqlalchemy.dialects.postgresql import psycopg as dialect

    return dialect.PGDialect_psycopg()


def insert(table, tenant, number):
    names = columns(table)
    values = ", ".join(value(table.c[name], tenant, number) for name in names)
    listed = ", ".join(f'"{name}"' for name in names)
    return f"INSERT INTO {table.name} ({listed}) VALUES ({values})"


@pytest.fixture
def filled(store):
    """A row of each of two tenants in every tenant table."""
    for number, tenant in enumerate((OURS, THEIRS), start=1):
        for table in TENANT_TABLES:
            store.run(insert(table, tenant, number))
    return store


def as_app(store, tenant=None):
    connection = psycopg.connect(store.app, autocommit=True)
    if tenant is not None:
        connection.execute(
            "SELECT set_config('wt.tenant', %s, false),"
            " set_config('wt.all_departments', 'on', false)",
            (tenant,),
        )
    return connection


def test_a_policys_settings_are_read_once_for_a_statement(store):
    assert store.rows(EACH) == []
    with store.database.connection() as connection, connection.transaction():
        for_tenants(connection, [OURS])
        for table in TENANT_TABLES:
            plan = connection.execute(f"EXPLAIN SELECT FROM {table.name}").fetchall()
            said = " ".join(row["QUERY PLAN"] for row in plan)
            assert "InitPlan" in said, table.name
            assert "current_setting" not in said.split("InitPlan")[0], table.name


def test_a_policy_that_reads_a_setting_for_each_row_is_found(store):
    store.run(
        "ALTER POLICY worker ON events USING"
        " (tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[]))"
    )
    assert store.rows(EACH) == [{"tablename": "events", "policyname": "worker"}]


def test_every_table_with_a_tenant_is_forced_under_both_policies(store):
    listed = {row["relname"] for row in store.rows(TENANT_RELATIONS)}
    assert listed == set(TABLES)
    assert store.rows(UNGUARDED) == []


@pytest.mark.parametrize(
    "loosened",
    [
        "CREATE TABLE loose (id uuid, tenant_id uuid)",
        "ALTER TABLE events NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE events DISABLE ROW LEVEL SECURITY",
        "DROP POLICY app ON events",
        "CREATE POLICY more ON events TO wt_app USING (true)",
    ],
)
def test_a_table_that_is_left_open_is_seen(store, loosened):
    store.run(loosened)
    assert len(store.rows(UNGUARDED)) == 1


def test_no_login_owns_a_table_or_passes_the_policies(store):
    roles = store.rows(
        "SELECT rolname, rolsuper, rolbypassrls, rolcanlogin FROM pg_roles"
        " WHERE rolname LIKE 'wt\\_%%' ORDER BY 1".replace("%%", "%")
    )
    logins = [row["rolname"] for row in roles if row["rolcanlogin"]]
    assert logins == ["wt_app", "wt_migrate", "wt_worker"]
    assert not any(row["rolsuper"] for row in roles)
    assert [row["rolname"] for row in roles if row["rolbypassrls"]] == ["wt_definer"]
    owners = store.rows("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert [row["tableowner"] for row in owners] == ["wt_owner"]


def test_an_app_that_names_no_tenant_sees_nothing_anywhere(filled):
    with as_app(filled) as connection:
        for setting in (None, ""):
            if setting is not None:
                connection.execute("SET wt.tenant = ''")
            for table in set(TABLES) - UNREAD:
                assert connection.execute(f"SELECT FROM {table}").fetchall() == [], table


def test_an_app_sees_its_own_tenant_and_nothing_of_another(filled):
    readable = {row["relname"] for row in filled.rows(READABLE)}
    assert readable >= set(TABLES) - UNREAD
    assert readable.isdisjoint(UNREAD)
    with as_app(filled, OURS) as connection:
        for name in sorted(readable - WITHOUT_TENANT):
            key = "id" if name == "tenants" else "tenant_id"
            found = connection.execute(f"SELECT {key}::text FROM {name}").fetchall()
            expected = {OURS} if name in TABLES or name in SUMMARIES else set()
            assert {row[0] for row in found} == expected, name


def test_relations_without_a_tenant_that_an_app_reads_are_known_by_name(store):
    readable = {row["relname"] for row in store.rows(READABLE)}
    assert readable - set(TABLES) == WITHOUT_TENANT | SUMMARIES | {"location_discrepancies"}
    without = {table.name for table in metadata.sorted_tables} - set(TABLES)
    assert without < WITHOUT_TENANT | FOR_WORKERS
    assert not readable & FOR_WORKERS


def test_an_app_writes_nothing(filled):
    with as_app(filled, OURS) as connection:
        for table in TENANT_TABLES:
            column = columns(table)[0]
            for statement in (
                insert(table, OURS, 9),
                f'UPDATE {table.name} SET "{column}" = "{column}"',
                f"DELETE FROM {table.name}",
                f"TRUNCATE {table.name}",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement)


def test_a_worker_inserts_no_row_of_a_tenant_it_did_not_name(store):
    for table in sorted(TENANT_TABLES, key=lambda table: table is not tenants):
        with store.database.connection() as connection:
            for_tenants(connection, [OURS])
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                connection.execute(insert(table, THEIRS, 1))
            connection.rollback()
            for_tenants(connection, [THEIRS])
            connection.execute(insert(table, THEIRS, 1))
        assert len(store.rows(f"SELECT FROM {table.name}")) == 1, table.name


def test_a_worker_updates_no_row_of_a_tenant_it_did_not_name(filled):
    filled.run(FAIL)
    for table in TENANT_TABLES:
        if table.name in NEVER_UPDATED:
            continue  # no update at all, as shown below
        key = "id" if table is tenants else "tenant_id"
        with filled.database.connection() as connection:
            for_tenants(connection, [OURS])
            touched = connection.execute(f"UPDATE {table.name} SET {key} = {key}").rowcount
            assert touched == 1, "its own only"
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
                connection.execute(f"UPDATE {table.name} SET {key} = '{THEIRS}'")
            connection.rollback()


def test_a_worker_that_names_nobody_sees_only_letters_of_nobody(filled):
    filled.run(insert(dead_letters, OURS, 5).replace(f"'{OURS}'", "NULL"))
    with filled.database.connection() as connection:
        for table in TABLES:
            found = connection.execute(f"SELECT FROM {table}").fetchall()
            assert len(found) == (1 if table == "dead_letters" else 0), table


def test_a_worker_cannot_bring_a_foreign_row_in_by_copy_and_merge(store):
    row = {
        "id": OURS, "tenant_id": THEIRS, "data": {}, "created_at": "2026-01-01T00:00Z",
        "updated_at": "2026-01-01T00:00Z", "partition": 0, "partition_seq": 1,
    }  # fmt: skip
    with store.database.connection() as connection:
        for_tenants(connection, [OURS])
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            write(connection, [Append(patient_read_models, row)])
        connection.rollback()
    assert store.rows("SELECT FROM patient_read_models") == []


def test_a_fold_that_writes_for_another_tenant_is_stopped(store):
    def fold(events, rows):
        row = {
            "id": events[0]["stream_id"], "tenant_id": THEIRS, "data": {},
            "created_at": "2026-01-01T00:00Z", "updated_at": "2026-01-01T00:00Z",
            "partition": 0, "partition_seq": 1,
        }  # fmt: skip
        return [Append(patient_read_models, row)]

    projection = Projection(
        name="tally", reads=frozenset({"patient.updated"}), owns=(patient_read_models,),
        loads=(), fold=fold,
    )  # fmt: skip
    held = store.take()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sink.apply(store.database, projection, held, records(0, 3), line=LINE)
    assert applied(store) == []


def test_copy_straight_into_a_tenant_table_is_refused(store):
    with (
        store.database.connection() as connection,
        pytest.raises(psycopg.errors.FeatureNotSupported),
        connection.cursor().copy("COPY patient_read_models FROM STDIN"),
    ):
        pass


@pytest.mark.parametrize("table", list(NEVER_UPDATED))
def test_what_was_told_is_never_changed_or_deleted_by_a_worker(filled, table):
    for statement in (
        f"UPDATE {table} SET {NEVER_UPDATED[table]}",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
    ):  # fmt: skip
        with filled.database.connection() as connection:
            for_tenants(connection, [OURS, THEIRS])
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
            connection.rollback()


def test_what_a_command_became_stands_unless_it_failed(filled):
    filled.run(f"{FAIL} WHERE tenant_id = %s", OURS)
    with filled.database.connection() as connection:
        for_tenants(connection, [OURS, THEIRS])
        changed = connection.execute(
            "UPDATE command_results SET outcome = 'accepted', rule = NULL, said = NULL"
            " RETURNING tenant_id"
        ).fetchall()
        assert {row["tenant_id"] for row in changed} == {OURS}
        connection.commit()
        for_tenants(connection, [OURS, THEIRS])
        assert connection.execute("UPDATE command_results SET version = 9").rowcount == 0
        for statement in ("DELETE FROM command_results", "TRUNCATE command_results"):
            connection.commit()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
            connection.rollback()


OF_TASKS = ("verification_tasks", "verification_decisions", "emr_verifications",
            "verification_results")  # fmt: skip


@pytest.mark.parametrize("table", OF_TASKS)
def test_what_is_known_of_a_task_is_shown_to_who_may_see_the_task(filled, table):
    shown = {}
    [ours] = filled.rows("SELECT id, department_id FROM tasks WHERE tenant_id = %s", OURS)
    filled.run(f"UPDATE {table} SET task_id = %s WHERE tenant_id = %s", ours["id"], OURS)
    asked = {
        "none": ("", ""), "its own": (str(ours["department_id"]), ""),
        "another": (str(uuid.uuid4()), ""), "all": ("", "on"),
    }  # fmt: skip
    for name, (department, every) in asked.items():
        with psycopg.connect(filled.app) as connection:
            connection.execute(
                "SELECT set_config('wt.tenant', %s, false),"
                " set_config('wt.departments', %s, false),"
                " set_config('wt.all_departments', %s, false)",
                (OURS, f"{{{department}}}", every),
            )
            shown[name] = len(connection.execute(f"SELECT FROM {table}").fetchall())
    assert shown == {"none": 0, "its own": 1, "another": 0, "all": 1}


@pytest.mark.parametrize("role", ["worker", "app"])
def test_no_worker_or_app_makes_or_drops_anything_or_becomes_another(store, role):
    with psycopg.connect(getattr(store, role), autocommit=True) as connection:
        for statement in (
            "CREATE TABLE mine (id int)",
            "DROP TABLE events",
            "ALTER TABLE events DISABLE ROW LEVEL SECURITY",
            "SET ROLE wt_owner",
            "SET ROLE wt_definer",
            "SET ROLE wt_migrate",
            "SET session_replication_role = replica",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_an_app_may_not_ask_which_tenants_there_are(filled):
    with (
        as_app(filled, OURS) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT tenant_ids()")


def test_a_function_that_passes_the_policies_pins_its_search_path(store):
    loose = store.rows(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " AND prosecdef AND NOT 'search_path=pg_catalog, pg_temp' = ANY (coalesce(proconfig, '{}'))"
    )
    assert loose == []


def test_a_view_sees_with_its_readers_eyes(store):
    loose = store.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind = 'v' AND NOT reloptions @> ARRAY['security_invoker=true']"
    )
    assert loose == []
