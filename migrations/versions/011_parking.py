"""What waits behind a record that could not be processed."""

from migrations.frozen import run

revision = "011"
down_revision = "010"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    """Nothing to undo yet."""
