"""A tenant sees its own: every relation of the catalogue is attacked, by plan and by chance.

The catalogue says what there is, so a new table, view, function or sequence is attacked without
being named here; one that this can't fill, or that lacks a policy, fails.
"""

import dataclasses
import uuid

import psycopg
import pytest

from sinks.tables import TENANT_TABLES
from tests.sinks import attacks, random_queries
from tests.sinks.attacks import APP, TELLING, Prey, entered
from tests.sinks.provisioned import OURS, THEIRS, Store, made
from tests.sinks.test_policies import insert

pytestmark = pytest.mark.stack
QUERIES = 10_000
SEED = 20_260_302


@pytest.fixture(scope="module")
def filled(stack):
    """A row of each of two tenants in every table that holds a tenant's rows."""
    with made(stack) as store:
        with psycopg.connect(store.admin, autocommit=True) as connection:
            for number, tenant in enumerate((OURS, THEIRS), start=1):
                for table in TENANT_TABLES:
                    connection.execute(insert(table, tenant, number))
            connection.execute("ANALYZE")
        yield store


@pytest.fixture
def copy(filled):
    """A database of the test's own with the same rows."""
    with copied(filled) as one:
        yield one


class copied:  # noqa: N801  a context manager
    """The same database again, dropped afterwards."""

    def __init__(self, store: Store) -> None:
        self.store, self.name = store, f"copy_{uuid.uuid4().hex[:12]}"

    def __enter__(self) -> Store:
        self._run(f"CREATE DATABASE {self.name} OWNER wt_owner TEMPLATE {self.store.name}")
        names = ("admin", "worker", "app", "migrate")
        urls = {each: getattr(self.store, each) for each in names}
        renamed = {each: url.replace(self.store.name, self.name) for each, url in urls.items()}
        one = dataclasses.replace(self.store, name=self.name, **renamed)
        one.run(
            f"GRANT CONNECT, TEMPORARY ON DATABASE {self.name} TO wt_migrate, wt_worker, wt_app"
        )
        return one

    def __exit__(self, *_: object) -> None:
        self._run(f"DROP DATABASE {self.name} WITH (FORCE)")

    def _run(self, statement: str) -> None:
        server = self.store.admin.rsplit("/", 1)[0]
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(statement)


def test_no_attack_on_any_relation_gets_through(filled):
    prey = Prey.of(filled)
    assert len(prey.relations) > len(TENANT_TABLES)
    assert prey.theirs
    assert prey.ours
    breaches = prey.breaches()
    assert not breaches, "\n".join(breaches)


def test_what_is_unique_and_can_be_guessed_is_there_and_has_its_reason(filled):
    there = {row["name"] for row in filled.rows(attacks._UNIQUE)}
    assert set(TELLING) <= there
    assert all(TELLING.values())


TENANTS = "tenant_id = ANY (nullif(current_setting('wt.tenants', true), '')::uuid[])"
LOOSE = """
CREATE TABLE {0} ({1}, tenant_id uuid NOT NULL);
ALTER TABLE {0} ENABLE ROW LEVEL SECURITY; ALTER TABLE {0} FORCE ROW LEVEL SECURITY;
CREATE POLICY worker ON {0} TO wt_worker USING ({2}) WITH CHECK ({2});
GRANT ALL ON {0} TO wt_worker; GRANT SELECT ON {0} TO wt_app
"""
ROWS = f"INSERT INTO loose VALUES (gen_random_uuid(), '{OURS}'), (gen_random_uuid(), '{THEIRS}')"
UNGUARDED = f"CREATE TABLE loose (id uuid, tenant_id uuid); {ROWS}"


@pytest.mark.parametrize(
    ("among", "broken", "breach"),
    [
        ("loose", "CREATE TABLE loose (id uuid, tenant_id uuid)", "no rows of both tenants"),
        ("loose", "CREATE TABLE loose (id uuid)", "isn't known as nobody's"),
        (
            "loose",
            f"{UNGUARDED}; GRANT SELECT ON loose TO wt_app",
            ("app: loose: SELECT", "app: loose: COPY TO", "pg_stats: values"),
        ),
        (
            "loose",
            f"{UNGUARDED}; GRANT ALL ON loose TO wt_worker",
            (
                "loose: INSERT for another", "loose: UPDATE to another", "worker: loose: DELETE",
                "worker: loose: COPY FROM", "worker: loose: TRUNCATE",
            ),
        ),
        ("events", "ALTER TABLE events NO FORCE ROW LEVEL SECURITY", "owner: events: SELECT"),
        ("events", "ALTER TABLE events DISABLE ROW LEVEL SECURITY", "as none: events: SELECT"),
        ("events", "CREATE POLICY more ON events TO wt_app USING (true)", "app: events: SELECT"),
        (
            "tasks",
            "CREATE POLICY more ON tasks TO wt_worker USING (true)",
            "worker: tasks: UPDATE",
        ),
        ("leak", "CREATE VIEW leak AS SELECT * FROM events; GRANT SELECT ON leak TO wt_app",
         "app: leak: SELECT"),
        ("leak", ("CREATE MATERIALIZED VIEW leak AS SELECT * FROM events;"
         " GRANT SELECT ON leak TO wt_app"), "app: leak: SELECT"),
        ("leak", "CREATE SEQUENCE leak; GRANT USAGE ON leak TO wt_app", "app: leak: sequence"),
        (
            "leak",
            ("CREATE FUNCTION leak(p_visit uuid) RETURNS SETOF events LANGUAGE sql"
            " SECURITY DEFINER AS 'SELECT * FROM events'; GRANT CREATE ON SCHEMA public TO"
            " wt_definer; ALTER FUNCTION leak OWNER TO wt_definer"),
            "app: leak: function",
        ),
        (
            "loose",
            ("CREATE TABLE loose (id uuid, tenant_id uuid) PARTITION BY LIST (tenant_id);"
            f" CREATE TABLE loose_part PARTITION OF loose DEFAULT; {ROWS};"
            " ALTER TABLE loose ENABLE ROW LEVEL SECURITY;"
            " GRANT SELECT ON loose, loose_part TO wt_app"),
            "app: loose_part: SELECT",
        ),
        (
            "loose",
            LOOSE.format(
                "loose", "patient_id uuid NOT NULL REFERENCES patient_read_models", TENANTS
            ) + "; INSERT INTO loose SELECT id, tenant_id FROM patient_read_models",
            "worker: loose: foreign key",
        ),
        (
            "loose",
            LOOSE.format("loose", "mrn text NOT NULL UNIQUE", TENANTS),
            "unique over what can be guessed",
        ),
        (
            "loose",
            ("CREATE TABLE loose (id uuid, tenant_id uuid);"
            " INSERT INTO loose SELECT gen_random_uuid(), t::uuid FROM generate_series(1, 9999),"
            f" unnest(ARRAY['{OURS}', '{THEIRS}']) AS t;"
            " WITH one AS (SELECT max(id::text)::uuid AS id FROM loose"
            f" WHERE tenant_id = '{THEIRS}') UPDATE loose SET id = one.id FROM one"
            f" WHERE tenant_id = '{THEIRS}';"
            " ANALYZE loose; GRANT SELECT ON loose TO wt_app"),
            "app: loose: EXPLAIN of id",
        ),
    ],
)  # fmt: skip
def test_each_attack_gets_through_where_its_guard_is_gone(copy, among, broken, breach):
    with psycopg.connect(copy.admin, autocommit=True) as connection:
        connection.execute(broken)
        connection.execute("ANALYZE")
    found = Prey.of(copy, among).breaches()
    for said in (breach,) if isinstance(breach, str) else breach:
        assert any(said in each for each in found), (said, found)


def test_ten_thousand_random_queries_find_what_they_find_without_the_other_tenant(filled):
    prey = Prey.of(filled)
    with copied(filled) as alone:
        with psycopg.connect(alone.admin, autocommit=True) as connection:
            for table in reversed(TENANT_TABLES):
                whose = "id" if table.name == "tenants" else "tenant_id"
                connection.execute(f"DELETE FROM {table.name} WHERE {whose} = '{THEIRS}'")
        asked = list(random_queries.made(prey, seed=SEED, count=QUERIES))
        with entered(filled, APP) as beside, entered(alone, APP) as by_itself:
            answers = random_queries.compared(asked, beside, by_itself)
    assert len(set(asked)) > QUERIES * 9 // 10
    assert sum(1 for each in answers if each.state == "") > QUERIES * 9 // 10
    assert sum(1 for each in answers if each.rows) > QUERIES // 3, "they find something"
    assert [each.query for each in answers if each.differs or not each.own(prey)] == []


def test_a_random_query_sees_a_policy_that_is_gone(copy):
    with copied(copy) as alone:
        alone.run(f"DELETE FROM events WHERE tenant_id = '{THEIRS}'")
        copy.run("CREATE POLICY more ON events TO wt_app USING (true)")
        prey = Prey.of(copy, "events")
        asked = list(random_queries.made(prey, seed=SEED, count=50))
        with entered(copy, APP) as beside, entered(alone, APP) as by_itself:
            answers = random_queries.compared(asked, beside, by_itself)
    assert sum(1 for each in answers if each.differs) > 10
    assert any(not each.own(prey) for each in answers)
