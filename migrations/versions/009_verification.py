"""Verification: facts, what is due, what is known of each task, what was told of it."""

from alembic import op

from migrations.frozen import run

revision = "009"
down_revision = "008"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("DROP TABLE verification_results, emr_verifications, verification_due")
    op.execute("DROP TABLE feed_watermarks, verification_links, verification_visits")
    op.execute("DROP TABLE verification_decisions, verification_rules, verification_evidence")
    op.execute("DROP TABLE verification_tasks")
