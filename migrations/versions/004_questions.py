"""Questions that people ask, as functions that keep their indexes under row-level security."""

from alembic import op

from migrations.frozen import run

revision = "004"
down_revision = "003"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("DROP FUNCTION wt_where, wt_path, wt_census, wt_contacts, wt_asked, wt_near")
    op.execute("DROP FUNCTION wt_known, wt_patients")
    op.execute("DROP TYPE wt_stay, wt_contact")
    op.execute(
        "DROP INDEX idx_trajectory_ward, idx_trajectory_ward_long, idx_trajectory_ward_before,"
        " idx_trajectory_patient, idx_trajectory_facts_feed"
    )
