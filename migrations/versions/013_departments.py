"""Who may command and see what belongs to a department."""

from migrations.frozen import run

revision = "013"
down_revision = "012"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    """Nothing to undo yet."""
