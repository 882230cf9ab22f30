"""The questions use their indexes, as seen from inside the functions."""

import psycopg
import pytest

from tests.sinks.paths import visit
from tests.sinks.provisioned import OURS

pytestmark = pytest.mark.stack

# 1,000 visits of ten stays each on two tracks, one after the other in 20 wards.
FILL = """
INSERT INTO trajectory_points (
    id, point_id, tenant_id, admission_id, patient_id, track, location, facility, building, floor,
    point_of_care, room, bed, effective_at, ended_at, known_from, start_inferred, end_inferred,
    start_field, start_event_id, fold_version, partition, partition_seq, data)
SELECT gen_random_uuid(), gen_random_uuid(), %(tenant)s,
       lpad(to_hex(4096 + visit), 32, '0')::uuid, lpad(to_hex(8192 + visit), 32, '0')::uuid,
       track, 'W' || (visit + stay) %% 20, '', '', '', 'W' || (visit + stay) %% 20, '1', '',
       start, start + interval '1 day', start, false, false, 'EVN-6', gen_random_uuid(), 1, 0, 1,
       '{}'
FROM generate_series(1, 1000) AS visit, generate_series(0, 9) AS stay,
     unnest(ARRAY['census', 'physical']) AS track,
     LATERAL (SELECT timestamptz '2026-01-01' + (visit / 10 + stay) * interval '1 day' AS start)
"""
QUESTIONS = {
    f"SELECT * FROM wt_where(p_admission => '{visit(500)}', p_at => '2026-02-25')": 2,
    "SELECT * FROM wt_where(p_patient => lpad(to_hex(8692), 32, '0')::uuid,"
    " p_at => '2026-02-25', p_known_at => '2026-03-01')": 2,
    f"SELECT * FROM wt_path(p_admission => '{visit(500)}')": 20,
    "SELECT * FROM wt_census('W7', '2026-02-25')": 5,
    "SELECT * FROM wt_census('W7', '2026-02-25', '2026-03-01')": 5,
    f"SELECT * FROM wt_contacts('{visit(500)}', 'ward')": None,
}


def test_no_question_reads_a_table_of_20000_points_from_end_to_end(store):
    with psycopg.connect(store.admin, autocommit=True) as connection:
        connection.execute(FILL, {"tenant": OURS})
        connection.execute("ANALYZE trajectory_points")
        for question, expected in QUESTIONS.items():
            plans, found = explained(connection, question)
            assert found, question
            assert expected in (None, len(found)), question
            [inside] = [plan for plan in plans if "on trajectory_points" in plan]
            assert "Seq Scan on trajectory_points" not in inside, inside
            assert "idx_trajectory" in inside, inside


def test_a_plan_without_the_index_is_seen(store):
    with psycopg.connect(store.admin, autocommit=True) as connection:
        connection.execute(FILL, {"tenant": OURS})
        connection.execute("DROP INDEX idx_trajectory_ward, idx_trajectory_ward_long")
        connection.execute("DROP INDEX idx_trajectory_tenant")
        connection.execute("DROP INDEX idx_trajectory_effective, idx_trajectory_current")
        connection.execute("ANALYZE trajectory_points")
        plans, _ = explained(connection, "SELECT * FROM wt_census('W7', '2026-02-25')")
    assert any("Seq Scan on trajectory_points" in plan for plan in plans)


def explained(connection, question):
    """The plans that were run for a question, those inside the function too; and its rows."""
    plans = []
    connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
    connection.execute("LOAD 'auto_explain'")
    for name, value in (
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_nested_statements", "on"),
        ("wt.tenant", OURS),
        ("client_min_messages", "log"),
    ):
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))
    plans.clear()
    return plans, connection.execute(question).fetchall()
