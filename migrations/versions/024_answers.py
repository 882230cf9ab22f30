"""How a feed's messages are acknowledged."""

from migrations.frozen import run

revision = "024"
down_revision = "023"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
