"""Flight plans: where a row of theirs stands, as other derived rows say."""

from alembic import op

from migrations.frozen import run

revision = "010"
down_revision = "009"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute(
        "ALTER TABLE flightplan_read_models DROP COLUMN partition_seq, DROP COLUMN partition"
    )
