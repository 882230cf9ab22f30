"""Orders: what is known of each, and which of them a rule makes tasks of."""

from alembic import op

from migrations.frozen import run

revision = "012"
down_revision = "011"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("ALTER TABLE verification_rules DROP COLUMN retired_at, DROP COLUMN order_codes")
    op.execute("DROP TABLE verification_orders")
