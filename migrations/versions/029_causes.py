"""A message's row keeps the cause beside the reason."""

from migrations.frozen import run

revision = "029"
down_revision = "028"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
