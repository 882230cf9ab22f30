"""A data key for each person."""

from migrations.frozen import run

revision = "015"
down_revision = "014"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    """Nothing to undo yet."""
