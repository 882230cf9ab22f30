"""Event store: events, streams, messages, identifiers, subscriptions, dead letters."""

from alembic import op

from migrations.frozen import run

revision = "001"
down_revision = None


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute(
        "DROP TABLE events, snapshots, subscriptions, streams, partitions, messages,"
        " patient_identifiers, dead_letters"
    )
