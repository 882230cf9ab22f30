"""Dead letters are announced, each state once."""

from migrations.frozen import run

revision = "028"
down_revision = "027"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
