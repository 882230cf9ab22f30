"""Counts of refused messages that are removed in time."""

from alembic import op

from migrations.frozen import run

revision = "018"
down_revision = "017"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("REVOKE DELETE ON intake_refusals FROM wt_worker")
