"""Messages that became no events are found without reading those that did, for an erasure."""

from migrations.frozen import run

revision = "021"
down_revision = "020"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
