"""Dead letters say whether they came behind another one."""

from migrations.frozen import run

revision = "030"
down_revision = "029"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
