"""Where messages come from and what was refused; what of a deleted tenant must be known (014)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
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

feeds = Table(
    "feeds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("protocol", String(20), nullable=False, server_default="mllp"),
    Column("port", Integer, comment="the listener; none for the default listener"),
    Column("zone", String(64), nullable=False, server_default="UTC", comment="IANA name"),
    Column("charset", String(32), comment="overrides MSH-18"),
    Column("authority", String(200), nullable=False, server_default=""),
    json("identifier_types", '["MR", "MRN", "PI", "PT"]'),
    json("processing_ids", '["P"]'),
    json("senders", "[]", comment="MSH-3; empty: any"),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    time("created_at", now=True),
    time("updated_at", now=True),
    Column("emr_instance_id", Uuid),
    json("facilities", "[]", comment="MSH-4; empty: any"),
    json("receiving_applications", "[]", comment="MSH-5; empty: any"),
    json("receiving_facilities", "[]", comment="MSH-6; empty: any"),
    json("certificates", "[]", comment="SHA-256 of the client's, in hex; empty: any or none"),
    Column(
        "refusal_answer", String(2), nullable=False, server_default="AR",
        comment="MSA-1 of a message that is not taken",
    ),
    Column("messages_per_second", Integer),
    Column("connections_max", Integer),
    Column("in_flight_bytes_max", Integer),
    Column(
        "transient_answer", String(2),
        comment="MSA-1 of a message that may be taken later; none: no answer",
    ),
    Column(
        "ignored_answer", String(2), nullable=False, server_default="AA",
        comment="MSA-1 of a message that the ledger ignores, where answered by outcome",
    ),
    Column(
        "acknowledgement", String(8), nullable=False, server_default="auto",
        comment="as MSH-15 and MSH-16 say, or original whatever they say",
    ),
    Column(
        "answer_when", String(8), nullable=False, server_default="custody",
        comment="custody: durable in Kafka; outcome: read by the ledger",
    ),
    UniqueConstraint("tenant_id", "name"),
    # Of the tenant and its own instance: nobody learns by it which ids another tenant has.
    ForeignKeyConstraint(
        ["tenant_id", "emr_instance_id"], ["emr_instances.tenant_id", "emr_instances.id"],
        name="fk_feeds_emr_instance",
    ),
    CheckConstraint("refusal_answer IN ('AR', 'AE')", name="refusal_answer"),
    CheckConstraint("transient_answer IN ('AR', 'AE')", name="transient_answer"),
    CheckConstraint("ignored_answer IN ('AA', 'AE', 'AR')", name="ignored_answer"),
    CheckConstraint("acknowledgement IN ('auto', 'original')", name="acknowledgement"),
    CheckConstraint("answer_when IN ('custody', 'outcome')", name="answer_when"),
    CheckConstraint(
        "messages_per_second > 0 AND connections_max > 0 AND in_flight_bytes_max > 0",
        name="bounds",
    ),
)  # fmt: skip

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
