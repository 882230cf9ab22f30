"""Runs the frozen SQL file that stands beside a revision."""

from pathlib import Path

from alembic import op

from schemas.failpoints import hit


def run(revision: str, suffix: str = ".sql") -> None:
    """Execute ``<revision>.sql`` as it stands, in the migration's transaction."""
    statement = Path(revision).with_suffix(suffix).read_text(encoding="utf-8")
    hit("migration: step")
    op.get_bind().exec_driver_sql(statement)
    hit("migration: step")
