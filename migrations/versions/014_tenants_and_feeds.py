"""What a tenant is and may, and how a feed is recognised."""

from migrations.frozen import run

revision = "014"
down_revision = "013"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
