"""`upgrade head` equals the declared tables, both ways, again and again, and by one at a time."""

import threading

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, make_url
from sqlalchemy.schema import CreateIndex, CreateTable, SetColumnComment

import migrations
from schemas.failpoints import FailPoint
from sinks.database import DatabaseAway
from sinks.tables import metadata

pytestmark = pytest.mark.stack

CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, character_maximum_length, is_nullable,
               column_default, is_identity, identity_generation, is_generated,
               generation_expression
        FROM information_schema.columns WHERE table_schema = %s""",
    "indexes": """
        SELECT tablename, indexname, replace(indexdef, %s || '.', '') FROM pg_indexes
        WHERE schemaname = %s""",
    "constraints": """
        SELECT replace(conrelid::regclass::text, %s || '.', ''), conname,
               replace(pg_get_constraintdef(oid), %s || '.', '')
        FROM pg_constraint WHERE connamespace = %s::regnamespace""",
    "comments": """
        SELECT relname, attname, col_description(pg_class.oid, attnum)
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = %s::regnamespace AND relkind = 'r' AND attnum > 0
          AND NOT attisdropped""",
}

VIEWS = ("location_discrepancies", "patients", "patient_task_summary")


def engine(url):
    return create_engine(make_url(url).set(drivername="postgresql+psycopg"))


def difference(url):
    made = engine(url)
    with made.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        found = compare_metadata(context, metadata)
    made.dispose()
    return found


def catalogue(connection, schema):
    """All that the server says of a schema's tables, but for Alembic's own."""
    found = {}
    for what, query in CATALOGUE.items():
        rows = connection.exec_driver_sql(query, (schema,) * query.count("%s")).fetchall()
        ours = [tuple(row) for row in rows if row[0] not in ("alembic_version", *VIEWS)]
        found[what] = sorted(ours, key=repr)
    return found


def tables(url):
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row[0] for row in rows} - {"alembic_version"}


def shape(url):
    """Everything in the schema: columns, constraints, indexes, policies, grants, functions."""
    made = engine(url)
    with made.connect() as connection:
        found = catalogue(connection, "public")
        for query in (
            "SELECT tablename, policyname, roles::text, qual, with_check FROM pg_policies",
            """SELECT relname, relrowsecurity, relforcerowsecurity, relacl::text FROM pg_class
            WHERE relnamespace = 'public'::regnamespace""",
            """SELECT proname, prosrc, proacl::text, proowner::regrole::text FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace""",
        ):
            found[query] = sorted(map(tuple, connection.exec_driver_sql(query)), key=repr)
    made.dispose()
    return found


def test_the_migrated_database_is_what_the_tables_declare(store):
    assert difference(store.admin) == []


def test_a_column_too_many_is_seen_by_that_comparison(store):
    store.run("ALTER TABLE events ADD COLUMN colour text")
    store.run("ALTER TABLE feeds ALTER COLUMN zone SET DEFAULT 'Europe/London'")
    assert len(difference(store.admin)) == 2


def test_indexes_constraints_and_comments_are_what_the_tables_declare(store):
    made = engine(store.admin)
    with made.connect() as connection:
        migrated = catalogue(connection, "public")
        connection.exec_driver_sql("CREATE SCHEMA declared")
        connection.exec_driver_sql("SET search_path = declared, public")  # enum types
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table))
            for index in table.indexes:
                connection.execute(CreateIndex(index))
            for column in table.columns:
                if column.comment:
                    connection.execute(SetColumnComment(column))
        declared = catalogue(connection, "declared")
        connection.rollback()
    made.dispose()
    for what in CATALOGUE:
        assert migrated[what] == declared[what], what


def test_down_to_nothing_and_up_again_gives_the_same_database(store):
    before = shape(store.admin)
    migrations.downgrade(store.migrate, "base")
    assert tables(store.admin) == set()
    assert migrations.current(store.migrate) is None
    migrations.upgrade(store.migrate)
    assert shape(store.admin) == before
    assert migrations.current(store.migrate) == migrations.head()


def test_every_step_down_and_up_gives_the_same_database(store):
    before = shape(store.admin)
    migrations.downgrade(store.migrate, "-1")
    assert "events" in tables(store.admin)
    migrations.upgrade(store.migrate)
    assert shape(store.admin) == before


def test_a_step_down_from_settings_read_once_reads_each_as_before(store):
    def policies():
        rows = store.rows("SELECT * FROM pg_policies ORDER BY tablename, policyname")
        return {
            (row["tablename"], row["policyname"]): f"{row['qual']} / {row['with_check']}"
            for row in rows
        }

    once = policies()
    assert any("SELECT" in said for said in once.values())
    migrations.downgrade(store.migrate, "031")
    each = policies()
    assert not [said for said in each.values() if "SELECT (NULLIF" in said]
    migrations.downgrade(store.migrate, "base")
    migrations.upgrade(store.migrate, "031")
    # Casts within a list are written otherwise once they were read again.
    lists = {name for name, said in each.items() if "ARRAY[" in said}
    assert {name: said for name, said in policies().items() if name not in lists} == {
        name: said for name, said in each.items() if name not in lists
    }
    migrations.upgrade(store.migrate)
    assert policies() == once


def test_a_step_down_from_peoples_keys_leaves_what_deletes_a_tenant(store):
    migrations.downgrade(store.migrate, "014")
    [may] = store.rows(
        "SELECT has_table_privilege('wt_definer', 'tenant_keys', 'DELETE') AS delete,"
        " has_column_privilege('wt_definer', 'tenant_keys', 'tenant_id', 'SELECT') AS find,"
        " has_column_privilege('wt_definer', 'tenant_keys', 'wrapped', 'SELECT') AS read,"
        " has_table_privilege('wt_definer', 'tenant_keys', 'UPDATE') AS change"
    )
    assert may == {"delete": True, "find": True, "read": False, "change": False}


def test_an_upgrade_of_what_is_up_to_date_does_nothing(store):
    before = shape(store.admin)
    migrations.upgrade(store.migrate)
    assert shape(store.admin) == before


@pytest.mark.parametrize("passage", [1, 2, 3, 4])
def test_a_version_that_fails_midway_leaves_no_half_and_the_rerun_completes(empty, armed, passage):
    armed(f"migration: step=raise@{passage}")
    with pytest.raises(FailPoint):
        migrations.upgrade(empty["wt_migrate"])
    assert migrations.current(empty["wt_migrate"]) == (None if passage < 3 else "001")
    assert ("events" in tables(empty["admin"])) == (passage >= 3)
    assert "tenants" not in tables(empty["admin"])
    armed("")
    migrations.upgrade(empty["wt_migrate"])
    assert difference(empty["admin"]) == []


def test_two_migrators_at_once_wait_for_each_other(empty):
    failed = []

    def upgrade():
        try:
            migrations.upgrade(empty["wt_migrate"])
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert difference(empty["admin"]) == []


def test_a_migrator_waits_for_one_that_stands_in_the_middle(empty):
    with psycopg.connect(empty["admin"], autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (migrations.LOCK,))
        second = threading.Thread(target=migrations.upgrade, args=(empty["wt_migrate"],))
        second.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while other.execute(waiting).fetchone() == (0,):
            pass
        assert tables(empty["admin"]) == set()
        other.execute("SELECT pg_advisory_unlock(%s)", (migrations.LOCK,))
        second.join()
    assert migrations.current(empty["wt_migrate"]) == migrations.head()


def test_a_migration_never_waits_long_behind_a_transaction(store):
    assert "10s" in settings_of(store)


def settings_of(store):
    """The lock time-out under which a version runs."""
    seen = []

    def look(config):
        connection = config.attributes["connection"]
        seen.append(connection.exec_driver_sql("SHOW lock_timeout").scalar())
        seen.append(connection.exec_driver_sql("SELECT current_user").scalar())

    migrations._run(store.migrate, look)
    assert seen[1] == "wt_owner"
    return seen[0]


def test_a_database_that_is_away_is_told_as_such(store):
    with pytest.raises(DatabaseAway):
        migrations.upgrade(store.migrate.replace("wt_migrate:m@", "wt_migrate:wrong@"))
