"""What waits behind a record that could not be processed, and what is asked about it."""

from alembic import op

from migrations.frozen import run

revision = "011"
down_revision = "010"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("DROP TABLE dead_letter_requests, parked_records")
    op.execute("ALTER TABLE dead_letters DROP COLUMN position")
    op.execute("DROP INDEX idx_dead_letters_event")
    op.execute("ALTER TABLE subscriptions DROP CONSTRAINT ck_subscriptions_parked_counted")
    op.execute("ALTER TABLE subscriptions DROP COLUMN parked_keys")
