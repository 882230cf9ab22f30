"""What became of commands is shown by department, and to who issued them."""

from migrations.frozen import run

revision = "019"
down_revision = "018"


def upgrade() -> None:
    run(__file__)


def downgrade() -> None:
    run(__file__, ".down.sql")
