"""Deletion requests, and what came of them."""

from migrations.frozen import run

revision = "017"
down_revision = "016"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    """Nothing to undo yet."""
