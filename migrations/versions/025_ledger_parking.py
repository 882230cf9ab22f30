"""Messages that wait in the ledger behind a dead one of the same patient."""

from migrations.frozen import run

revision = "025"
down_revision = "024"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
