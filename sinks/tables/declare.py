"""What every table is declared with: the metadata, its names, the columns that many have."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    MetaData,
    SmallInteger,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "idx_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def time(name: str, *, nullable: bool = False, now: bool = False) -> Column[object]:
    """An instant with its zone (rule S3); ``now`` for the moment of insertion."""
    default = text("now()") if now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def json(name: str, default: str | None = None, *, comment: str | None = None) -> Column[object]:
    """Any JSON value that is there; ``default`` is JSON text."""
    said = default and text(f"'{default}'")
    return Column(name, JSONB, nullable=False, server_default=said, comment=comment)


def tenant() -> Column[object]:
    """Whose row it is: what every policy looks at."""
    return Column("tenant_id", Uuid, nullable=False)


def origin() -> list[Column[object]]:
    """Where a derived row stands: its home partition and the last event folded into it."""
    return [
        Column("partition", SmallInteger, nullable=False),
        Column("partition_seq", BigInteger, nullable=False),
    ]
