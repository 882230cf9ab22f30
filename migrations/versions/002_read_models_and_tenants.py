"""Read models, trajectories, tenants, their keys and feeds."""

from alembic import op

from migrations.frozen import run

revision = "002"
down_revision = "001"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("DROP VIEW location_discrepancies")
    op.execute("DROP FUNCTION tenant_ids()")
    op.execute(
        "DROP TABLE patient_read_models, admission_read_models, admission_facts,"
        " flightplan_read_models,"
        " timeline_events, trajectory_facts, trajectory_points, feeds, tenant_keys, tenants"
    )
