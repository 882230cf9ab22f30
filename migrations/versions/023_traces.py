"""Messages are found by their MSH-10, under its keyed hash, for a trace."""

from migrations.frozen import run

revision = "023"
down_revision = "022"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
