"""Requests to erase people, legal holds, and what is needed to carry them out."""

from migrations.frozen import run

revision = "017"
down_revision = "016"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
