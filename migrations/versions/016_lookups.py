"""Keyed tokens by which a patient is found."""

from alembic import op

from migrations.frozen import run

revision = "016"
down_revision = "015"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("DROP TABLE patient_tokens")
    op.execute("DROP INDEX idx_patient_identifiers_value")
