"""A data key for each person."""

from alembic import op

from migrations.frozen import run

revision = "015"
down_revision = "014"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("DROP FUNCTION rewrap_tenant_key(uuid, text, integer, bytea, bytea)")
    op.execute("REVOKE ALL ON tenant_keys FROM wt_definer")
    op.execute("REVOKE UPDATE (sealed) ON tenant_keys FROM wt_worker")
    op.execute("ALTER TABLE tenant_keys DROP COLUMN sealed")
    op.execute("DROP TABLE subject_keys")
    op.execute("DROP FUNCTION subject_key_stays_destroyed()")
