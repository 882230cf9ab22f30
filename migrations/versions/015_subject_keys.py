"""A data key for each person."""

from alembic import op

from migrations.frozen import run

revision = "015"
down_revision = "014"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    op.execute("DROP FUNCTION rewrap_tenant_key(uuid, text, integer, bytea, bytea)")
    # Of the columns too; what the version before granted is given back.
    op.execute("REVOKE SELECT, UPDATE ON tenant_keys FROM wt_definer")
    op.execute("GRANT SELECT (tenant_id) ON tenant_keys TO wt_definer")
    op.execute("REVOKE UPDATE (sealed) ON tenant_keys FROM wt_worker")
    op.execute("ALTER TABLE tenant_keys DROP COLUMN sealed")
    op.execute("DROP TABLE subject_keys")
    op.execute("DROP FUNCTION subject_key_stays_destroyed()")
