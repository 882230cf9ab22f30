"""The planner keeps no samples of keys and bodies: they would outlive what is destroyed."""

from migrations.frozen import run

revision = "020"
down_revision = "019"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
