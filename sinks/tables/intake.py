"""Where messages come from and what was refused; what of a deleted tenant must be known (014)."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    text,
)

from sinks.tables.declare import json, metadata, time

EMR_SYSTEMS = ("EPIC", "CERNER", "GENERIC_FHIR", "GENERIC_HL7V2")

emr_instances = Table(
    "emr_instances",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("id", Uuid, nullable=False),
    Column("name", String(100), nullable=False),
    Column("emr_system", String(20), nullable=False),
    time("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "id"),
    UniqueConstraint("tenant_id", "name"),
    CheckConstraint(
        "emr_system IN ('EPIC', 'CERNER', 'GENERIC_FHIR', 'GENERIC_HL7V2')", name="emr_system"
    ),
)

intake_refusals = Table(
    "intake_refusals",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("tenant_id", Uuid, comment="none where the port is several tenants'"),
    Column("feed_id", Uuid, comment="none where it fitted no feed, or several"),
    Column("port", Integer, nullable=False),
    time("hour"),
    Column("reason", String(32), nullable=False),
    Column("sender_hmac", Uuid, comment="keyed hash of MSH-3 and MSH-4; none: not kept"),
    Column("refused", BigInteger, nullable=False),
    time("last_at"),
    Index(
        "idx_intake_refusals_counted",
        "hour", "port", "tenant_id", "feed_id", "reason", "sender_hmac",
        unique=True, postgresql_nulls_not_distinct=True,
    ),
    Index("idx_intake_refusals_tenant", "tenant_id"),
)  # fmt: skip

deleted_tenants = Table(
    "deleted_tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name_sha256", LargeBinary, nullable=False),
    time("begun_at", now=True),
    time("deleted_at", nullable=True),
    json("counts", "{}", comment="rows deleted, by table"),
)
deleted_tenants.c.deleted_at.comment = "none: rows may be there still"

deleted_positions = Table(
    "deleted_positions",
    metadata,
    Column("table_name", String(63), nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("last_seq", BigInteger, nullable=False),
    PrimaryKeyConstraint("table_name", "partition", "first_seq"),
    CheckConstraint("first_seq <= last_seq", name="ordered"),
)
