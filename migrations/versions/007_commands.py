"""What became of commands."""

from alembic import op

from migrations.frozen import run

revision = "007"
down_revision = "006"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("DROP TABLE command_results")
