"""Outcomes are shown by department; commands that fail have a result."""

from migrations.frozen import run

revision = "013"
down_revision = "012"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
