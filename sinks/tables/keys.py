"""People's keys, wrapped by their tenants' (015, 017)."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Uuid,
    text,
)

from sinks.tables.declare import metadata, tenant, time

subject_keys = Table(
    "subject_keys",
    metadata,
    tenant(),
    Column("subject_id", Uuid, nullable=False, comment="whom envelopes name as their person"),
    Column("version", Integer, nullable=False),
    Column("wrapped", LargeBinary, comment="by the tenant's key; none: destroyed"),
    Column("tenant_key_version", Integer, nullable=False, comment="of the data key that wrapped"),
    Column(
        "sealed", BigInteger, nullable=False, server_default="0",
        comment="seals set aside for processes, used or not",
    ),
    time("created_at", now=True),
    time("destroyed_at", nullable=True),
    PrimaryKeyConstraint("tenant_id", "subject_id", "version"),
    CheckConstraint("version > 0", name="counted_from_one"),
    CheckConstraint("sealed BETWEEN 0 AND 4294967296", name="nonces"),
    CheckConstraint("(wrapped IS NULL) = (destroyed_at IS NOT NULL)", name="destroyed_is_gone"),
    Index(
        "idx_subject_keys_wrapped_by",
        "tenant_id", "tenant_key_version", "subject_id",
        postgresql_where=text("destroyed_at IS NULL"),
    ),
    Index(
        "idx_subject_keys_erased", "tenant_id", "subject_id",
        postgresql_where=text("destroyed_at IS NOT NULL"),
    ),
)  # fmt: skip
