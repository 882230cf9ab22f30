"""People and work: departments, users, shifts, tasks, handovers."""

from alembic import op

from migrations.frozen import run

revision = "008"
down_revision = "007"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("DROP VIEW patient_task_summary, patients")
    op.execute("DROP FUNCTION clock_order, clock_merge, same_patients")
    op.execute(
        "DROP TABLE handovers, tasks, shifts, emr_identities, user_departments, users, departments"
    )
    op.execute("DROP TYPE task_status, task_priority, user_role, emr_system, verification_status")
