"""The questions pass row-level security, so each is attacked: they answer for one tenant only."""

from uuid import UUID

import psycopg
import pytest

from sinks import queries
from sinks.database import Database
from tests.sinks.paths import alias, fact, hour, person, stay, visit
from tests.sinks.provisioned import OURS, THEIRS

pytestmark = pytest.mark.stack

QUESTIONS = {
    "where a visit": f"SELECT * FROM wt_where(p_admission => '{visit(1)}')",
    "where a patient": f"SELECT * FROM wt_where(p_patient => '{person(1)}')",
    "where, as known": f"SELECT * FROM wt_where('{visit(1)}', p_known_at => now())",
    "path of a visit": f"SELECT * FROM wt_path(p_admission => '{visit(1)}')",
    "path of a patient": f"SELECT * FROM wt_path(p_patient => '{person(1)}')",
    "census": "SELECT * FROM wt_census('W')",
    "census, as known": "SELECT * FROM wt_census('W', p_known_at => now())",
    "contacts in a room": f"SELECT * FROM wt_contacts('{visit(1)}')",
    "contacts in a ward": f"SELECT * FROM wt_contacts('{visit(1)}', 'ward', now())",
}
INNER = (
    "SELECT * FROM wt_known(NULL)",
    "SELECT * FROM wt_near('W', '{census}', now(), now(), NULL)",
    f"SELECT * FROM wt_asked('{visit(1)}', NULL, NULL)",
    f"SELECT * FROM wt_patients('{person(1)}', NULL)",
    f"SELECT * FROM wt_visit('{visit(1)}', NULL)",
)
FUNCTIONS = """
SELECT proname, proowner::regrole::text AS owner, prosecdef,
       has_function_privilege('wt_app', oid, 'EXECUTE') AS app,
       has_function_privilege('wt_worker', oid, 'EXECUTE') AS worker
FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND proname LIKE 'wt\\_%' ORDER BY proname
"""


@pytest.fixture
def filled(store):
    """Two visits of ours share a room; as many of another tenant have the same ids and places."""
    for tenant in (OURS, THEIRS):
        for number in (1, 2):
            event = fact(store, number, "created", 0, tenant_id=tenant)
            stay(store, number, f"W^1^{number}", 0, tenant_id=tenant, start_event_id=event)
    return store


@pytest.fixture
def app(filled):
    with psycopg.connect(filled.app, autocommit=True, prepare_threshold=None) as connection:
        yield connection


def rows(connection, question):
    return connection.execute(QUESTIONS[question]).fetchall()


def test_every_function_of_the_definer_is_attacked_here(store):
    found = store.rows(FUNCTIONS)
    asked = {row["proname"] for row in found if row["app"]}
    assert all(any(name in query for query in QUESTIONS.values()) for name in asked)
    assert asked == {"wt_where", "wt_path", "wt_census", "wt_contacts"}
    inner = {row["proname"] for row in found} - asked
    assert all(any(name in query for query in INNER) for name in inner)


def test_the_questions_are_the_definers_and_for_apps_alone(store):
    for row in store.rows(FUNCTIONS):
        assert row["owner"] == "wt_definer"
        assert not row["worker"], row["proname"]
        assert row["prosecdef"] == row["app"], "what nobody may call needs no definer's rights"


def test_a_tenant_gets_its_own_rows_and_no_other(app, filled):
    def answered(tenant):
        app.execute("SELECT set_config('wt.tenant', %s, false)", (tenant,))
        return {question: rows(app, question) for question in QUESTIONS}

    ours, theirs = answered(OURS), answered(THEIRS)
    for question in QUESTIONS:
        assert len(ours[question]) == len(theirs[question]) > 0, question
    filled.run("DELETE FROM trajectory_points WHERE tenant_id = %s", THEIRS)
    assert answered(OURS) == ours
    assert answered(THEIRS) == {question: [] for question in QUESTIONS}


@pytest.mark.parametrize("setting", [None, "", str(UUID(int=0xC))])
def test_without_a_tenant_that_is_there_nothing_is_answered(app, setting):
    if setting is not None:
        app.execute("SELECT set_config('wt.tenant', %s, false)", (setting,))
    for question in QUESTIONS:
        assert rows(app, question) == [], question


def test_a_tenant_that_is_no_id_is_refused(app):
    app.execute("SET wt.tenant = 'all'")
    for question in QUESTIONS:
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            rows(app, question)


def test_nothing_is_left_of_a_tenant_when_its_transaction_ends(filled):
    pool = Database.open(filled.app, name="test", size=1)
    try:
        for question in QUESTIONS:
            with pool.connection() as connection, connection.transaction():
                connection.execute("SELECT set_config('wt.tenant', %s, true)", (OURS,))
                assert rows(connection, question) != [], question
                first = connection.info.backend_pid
            with pool.connection() as connection:
                assert connection.info.backend_pid == first, "the same session, from the pool"
                assert rows(connection, question) == [], question
    finally:
        pool.close()


@pytest.mark.parametrize("reset", ["RESET wt.tenant", "DISCARD ALL"])
def test_nothing_is_left_of_a_tenant_when_a_session_is_reset(app, reset):
    for question in QUESTIONS:
        app.execute(f"SET wt.tenant = '{OURS}'")
        assert rows(app, question) != [], question
        app.execute(reset)
        assert rows(app, question) == [], question


def test_a_worker_may_not_ask(filled):
    with psycopg.connect(filled.worker, autocommit=True) as connection:
        connection.execute(f"SET wt.tenant = '{OURS}'")
        for question in QUESTIONS:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                rows(connection, question)


@pytest.mark.parametrize("query", INNER)
def test_what_the_questions_share_may_be_called_by_nobody(app, query):
    app.execute(f"SET wt.tenant = '{OURS}'")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute(query)


def test_tables_and_functions_of_the_session_do_not_stand_in_for_ours(app):
    app.execute(f"SET wt.tenant = '{OURS}'")
    before = {question: rows(app, question) for question in QUESTIONS}
    app.execute("CREATE TEMPORARY TABLE trajectory_points (LIKE public.trajectory_points)")
    app.execute("CREATE TEMPORARY TABLE patient_aliases (LIKE public.patient_aliases)")
    app.execute(
        "CREATE FUNCTION pg_temp.current_setting(text, boolean) RETURNS text LANGUAGE sql"
        f" AS $$ SELECT '{THEIRS}' $$"
    )
    app.execute("SET search_path = pg_temp, public")
    for question in QUESTIONS:
        assert rows(app, question) == before[question], question


def test_aliases_of_another_tenant_join_nobody_of_ours(filled):
    alias(filled, 2, 1, 0, tenant_id=THEIRS)
    with queries.as_tenant(filled.app, UUID(OURS)) as snapshot:
        assert len(queries.where(snapshot, patient_id=person(1))) == 1
        assert len(queries.contacts(snapshot, visit(1), level="room")) == 1
    with queries.as_tenant(filled.app, UUID(THEIRS)) as snapshot:
        assert len(queries.where(snapshot, patient_id=person(1))) == 2
        assert queries.contacts(snapshot, visit(1), level="room") == []


def test_a_fact_of_another_tenant_gives_no_message(filled):
    event = fact(filled, 3, "created", 0, tenant_id=THEIRS)
    stay(filled, 3, "V", 0, start_event_id=event)
    with queries.as_tenant(filled.app, UUID(OURS)) as snapshot:
        [seen] = queries.where(snapshot, admission_id=visit(3), at=hour(1))
    assert seen.message_id is None
