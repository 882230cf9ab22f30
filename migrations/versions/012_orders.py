"""Orders, and the tasks that follow from them."""

from migrations.frozen import run

revision = "012"
down_revision = "011"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    """Nothing to undo yet."""
