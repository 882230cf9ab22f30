"""Why a partition stands still, in its subscription's row."""

from migrations.frozen import run

revision = "027"
down_revision = "025"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
