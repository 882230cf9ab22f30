"""Policies ask once for a statement whose rows are seen, and not for each row."""

from migrations.frozen import run

revision = "032"
down_revision = "031"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
