"""How precise a fact's time is, and which places an encounter states, beside each fact."""

from alembic import op

from migrations.frozen import run

revision = "005"
down_revision = "004"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("ALTER TABLE trajectory_facts DROP COLUMN effective_precision, DROP COLUMN stays")
