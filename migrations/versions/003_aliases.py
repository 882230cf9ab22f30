"""Aliases of patients and visits."""

from alembic import op

from migrations.frozen import run

revision = "003"
down_revision = "002"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("DROP TABLE patient_aliases, patient_merges, admission_aliases")
