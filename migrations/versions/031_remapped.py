"""Events that count no more: what they had made may go, and they're found by their message."""

from migrations.frozen import run

revision = "031"
down_revision = "030"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
