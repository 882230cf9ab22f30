"""Decisions on tasks of orders say for when, under which order, and for whom."""

from migrations.frozen import run

revision = "022"
down_revision = "021"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
