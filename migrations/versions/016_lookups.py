"""Keyed tokens by which a patient is found."""

from migrations.frozen import run

revision = "016"
down_revision = "015"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    """Nothing to undo yet."""
