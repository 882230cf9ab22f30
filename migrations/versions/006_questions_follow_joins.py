"""Questions follow joined visits; what the ledger keeps of accounts and of what came again."""

from alembic import op

from migrations.frozen import run

revision = "006"
down_revision = "005"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
    op.execute("DROP FUNCTION wt_visit")
    op.execute("DROP TABLE visit_accounts")
    op.execute("ALTER TABLE messages DROP COLUMN duplicates")
