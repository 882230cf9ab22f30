"""The event store: what we were told, who is whom, how far each reader is (001, 003)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)

from sinks.tables.declare import json, metadata, tenant, time

tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("subdomain", String(100), unique=True),
    Column("plan", String(50)),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    json("features", "{}"),
    json("enabled_specialties", "[]"),
    json("branding", "{}"),
    json("integrations", "{}"),
    time("created_at", now=True),
    time("updated_at", now=True),
    Column(
        "messages_per_second", Integer, comment="of all its feeds together; none: no bound"
    ),
    time("suspended_at", nullable=True),
    Column(
        "exported_at", DateTime(timezone=True),
        comment="as of when everything was last written out",
    ),
    Column(
        "erased_people", String(10), nullable=False, server_default="dark",
        comment="what is reported of them later: stays dark, or is of somebody who came anew",
    ),
    CheckConstraint("erased_people IN ('dark', 'anew')", name="erased_people"),
    CheckConstraint("subdomain ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'", name="subdomain"),
    CheckConstraint("messages_per_second > 0", name="rate"),
    Index("idx_tenants_active", "is_active"),
)  # fmt: skip

tenant_keys = Table(
    "tenant_keys",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("purpose", String(20), nullable=False),
    Column("version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False, comment="sealed by the root key"),
    time("created_at", now=True),
    Column(
        "sealed", BigInteger, nullable=False, server_default="0",
        comment="seals set aside for processes, used or not",
    ),
    PrimaryKeyConstraint("tenant_id", "purpose", "version"),
    CheckConstraint("purpose IN ('data', 'identity')", name="purpose"),
    # The identity key is never rotated: ids are made from it.
    CheckConstraint("purpose = 'data' OR version = 1", name="identity_once"),
)  # fmt: skip

events = Table(
    "events",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("stream_id", Uuid, nullable=False),
    Column("stream_type", String(100), nullable=False),
    Column("event_type", String(200), nullable=False),
    Column("event_version", Integer, nullable=False),
    Column("schema_version", Integer, nullable=False),
    tenant(),
    Column("feed_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("person_id", Uuid),
    time("occurred_at"),
    Column("occurred_precision", String(10), nullable=False),
    Column("occurred_field", String(20), nullable=False),
    Column("occurred_text", Text, nullable=False),
    time("recorded_at"),
    Column("partition", SmallInteger, nullable=False),
    Column("partition_seq", BigInteger, nullable=False),
    Column("global_position", BigInteger, Identity(always=True), nullable=False, unique=True),
    json("data"),
    json("sealed", "{}"),
    json("metadata"),
    Column("created_by", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True), Computed("recorded_at", persisted=True)),
    UniqueConstraint("stream_id", "event_version", name="idx_events_stream"),
    UniqueConstraint("partition", "partition_seq", name="idx_events_partition"),
    CheckConstraint("event_version > 0 AND partition_seq > 0", name="counted_from_one"),
    Index("idx_events_type", "event_type", "created_at"),
    Index("idx_events_tenant", "tenant_id", "created_at"),
    Index("idx_events_created_at", "created_at"),
    Index(
        "idx_events_remapped", "message_id",
        postgresql_where=text("metadata ? 'remapped'"),
    ),
)  # fmt: skip

snapshots = Table(
    "snapshots",
    metadata,
    Column("snapshot_id", Uuid, primary_key=True),
    Column("stream_id", Uuid, nullable=False),
    Column("stream_type", String(100), nullable=False),
    Column("version", Integer, nullable=False),
    tenant(),
    json("state"),
    time("created_at", now=True),
    UniqueConstraint("stream_id", "version"),
)

subscriptions = Table(
    "subscriptions",
    metadata,
    Column("subscription_id", String(200), nullable=False),
    Column("topic", String(200), nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("topic_id", String(32), comment="Kafka's id of the topic; another one means loss"),
    Column("first_offset", BigInteger, nullable=False, server_default="0"),
    Column("next_offset", BigInteger, nullable=False, server_default="0"),
    Column("last_position", BigInteger, nullable=False, server_default="0"),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("owner", String(200)),
    time("leased_until", nullable=True),
    Column("parked_keys", Integer, nullable=False, server_default="0", comment="of now"),
    *(
        Column(outcome, BigInteger, nullable=False, server_default="0")
        for outcome in ("applied", "duplicate", "ignored", "parked", "dead", "no_record")
    ),
    time("updated_at", now=True),
    time("stopped_at", nullable=True),
    Column("stopped", String(20), comment="why its owner stands still there: a kind of trouble"),
    Column("stopped_said", Text, comment="in words; never a patient's data"),
    PrimaryKeyConstraint("subscription_id", "topic", "partition"),
    # Nothing vanishes: every offset passed has an outcome.
    CheckConstraint(
        "next_offset - first_offset = applied + duplicate + ignored + parked + dead + no_record",
        name="nothing_vanishes",
    ),
    CheckConstraint("parked_keys >= 0 AND parked >= 0 AND dead >= 0", name="parked_counted"),
    CheckConstraint(
        "(stopped_at IS NULL) = (stopped IS NULL) AND (stopped IS NULL) = (stopped_said IS NULL)",
        name="stopped_said",
    ),
    Index("idx_subscriptions_updated", "updated_at"),
)

streams = Table(
    "streams",
    metadata,
    Column("stream_id", Uuid, primary_key=True),
    Column("stream_type", String(100), nullable=False),
    tenant(),
    Column("partition", SmallInteger, nullable=False, comment="home; never changes"),
    Column("version", Integer, nullable=False),
    time("recorded_at"),
)

partitions = Table(
    "partitions",
    metadata,
    Column("topic", String(200), nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("next_seq", BigInteger, nullable=False, server_default="1"),
    PrimaryKeyConstraint("topic", "partition"),
)

messages = Table(
    "messages",
    metadata,
    tenant(),
    Column("feed_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("topic", String(200), nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    time("received_at"),
    time("recorded_at"),
    Column("message_type", String(32), nullable=False),
    Column("outcome", String(10), nullable=False),
    Column(
        "reason",
        Text,
        comment="why ignored, dead, parked or left out in part; never a patient's data",
    ),
    Column("mapper_version", Integer, nullable=False),
    Column("events", SmallInteger, nullable=False, comment="how many it became"),
    Column("body_sealed", LargeBinary, nullable=False),
    Column("control_hmac", Uuid, comment="keyed hash of MSH-10, which a feed may reuse"),
    Column(
        "duplicates", Integer, nullable=False, server_default="0", comment="how often it came again"
    ),
    Column("cause", String(50), comment="of the reason, a code: by it a sender is answered"),
    PrimaryKeyConstraint("tenant_id", "feed_id", "message_id"),
    CheckConstraint("outcome IN ('applied', 'ignored', 'dead', 'parked')", name="outcome"),
    Index("idx_messages_recorded", "tenant_id", "recorded_at"),
    Index(
        "idx_messages_silent", "tenant_id", "feed_id", "message_id",
        postgresql_where=text("events = 0"),
    ),
    Index(
        "idx_messages_control", "tenant_id", "control_hmac",
        postgresql_where=text("control_hmac IS NOT NULL"),
    ),
)  # fmt: skip

patient_identifiers = Table(
    "patient_identifiers",
    metadata,
    tenant(),
    Column("authority", String(200), nullable=False),
    Column("value_hmac", Uuid, nullable=False, comment="keyed hash; the type is no part of it"),
    Column("type", String(20), nullable=False),
    Column("patient_id", Uuid, nullable=False),
    time("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "authority", "value_hmac"),
    Index("idx_patient_identifiers_patient", "patient_id"),
    Index("idx_patient_identifiers_value", "tenant_id", "value_hmac"),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("tenant_id", Uuid, comment="none where the record didn't tell"),
    Column("subscription_id", String(200), nullable=False),
    Column("topic", String(200), nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("feed_id", Uuid),
    Column("message_id", Uuid),
    Column("event_id", Uuid),
    Column("stage", String(20), nullable=False, comment="decode, map, decide, fold, write"),
    Column("cause", String(50), nullable=False),
    Column("reason", Text, nullable=False, comment="never a patient's data"),
    Column("state", String(20), nullable=False, server_default="dead"),
    Column("record_sealed", LargeBinary, nullable=False, comment="the whole record"),
    Column("position", BigInteger, comment="the event's partition_seq, where it was told"),
    time("created_at", now=True),
    Column("family", String(20), comment="of a feed's message: adt, results, orders, …"),
    Column("announced", String(20), comment="the state that was told last"),
    time("announced_at", nullable=True),
    Column("partition_seq", BigInteger, comment="where it is told, in dead-letters.v1"),
    Column(
        "waited", Boolean, nullable=False, server_default="false",
        comment="whether it came behind another one, whatever it is now",
    ),
    UniqueConstraint("subscription_id", "topic", "partition", "offset"),
    CheckConstraint("state IN ('dead', 'parked', 'retried', 'discarded')", name="state"),
    Index("idx_dead_letters_created", "created_at"),
    Index("idx_dead_letters_event", "event_id"),
    Index("idx_dead_letters_told", "partition", "partition_seq"),
    Index(
        "idx_dead_letters_untold", "created_at", "offset", "id",
        postgresql_where=text("announced IS DISTINCT FROM state"),
    ),
    Index(
        "idx_dead_letters_open", "subscription_id", "topic", "partition", "position",
        postgresql_where=text("state IN ('dead', 'parked')"),
    ),
)  # fmt: skip

parked_records = Table(
    "parked_records",
    metadata,
    Column("subscription_id", String(200), nullable=False),
    Column("topic", String(200), nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("parked_key", String(200), nullable=False, comment="what waits; a pseudonym"),
    Column("offset", BigInteger, nullable=False, comment="of a dead letter that is open"),
    Column("tenant_id", Uuid, comment="the letter's"),
    PrimaryKeyConstraint("subscription_id", "topic", "partition", "parked_key", "offset"),
    Index("idx_parked_records_letter", "subscription_id", "topic", "partition", "offset"),
)

dead_letter_requests = Table(
    "dead_letter_requests",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    Column("tenant_id", Uuid, comment="the letter's"),
    Column("letter_id", Uuid, nullable=False),
    Column("subscription_id", String(200), nullable=False),
    Column("topic", String(200), nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("action", String(10), nullable=False),
    Column("requested_by", String(200), nullable=False),
    Column("purpose", String(1000), nullable=False, comment="why; never a patient's data"),
    time("requested_at", now=True),
    time("executed_at", nullable=True),
    Column("ended", String(10), comment="how"),
    Column("said", Text, comment="in words; never a patient's data"),
    Column("released", Integer, comment="records that were processed by it"),
    CheckConstraint("action IN ('retry', 'discard')", name="action"),
    CheckConstraint("ended IN ('done', 'partly', 'failed', 'moot')", name="ended"),
    CheckConstraint("(executed_at IS NULL) = (ended IS NULL)", name="ended_when_executed"),
    Index("idx_dead_letter_requests_letter", "letter_id"),
    Index(
        "idx_dead_letter_requests_open", "letter_id", unique=True,
        postgresql_where=text("executed_at IS NULL"),
    ),
)  # fmt: skip

patient_merges = Table(
    "patient_merges",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    tenant(),
    Column("patient_id", Uuid, nullable=False, comment="as told; who was merged"),
    Column("into_patient_id", Uuid, nullable=False, comment="as told; into whom"),
    Column("kind", String(10), nullable=False),
    Column("said_at", DateTime(timezone=True), nullable=False, comment="reported, else occurred"),
    time("recorded_at"),
    CheckConstraint("kind IN ('merge', 'move', 'change', 'undo')", name="kind"),
    CheckConstraint("patient_id <> into_patient_id", name="of_two"),
    Index("idx_patient_merges_tenant", "tenant_id"),
    Index("idx_patient_merges_patient", "patient_id"),
    Index("idx_patient_merges_into", "into_patient_id"),
)

patient_aliases = Table(
    "patient_aliases",
    metadata,
    tenant(),
    Column("patient_id", Uuid, nullable=False, comment="who is another; streams keep this id"),
    Column("into_patient_id", Uuid, nullable=False, comment="who may be another again"),
    Column("event_id", Uuid, nullable=False, comment="the merge that it follows from"),
    Column("kind", String(10), nullable=False),
    time("recorded_at"),
    time("undone_at", nullable=True),
    Column("undone_event_id", Uuid, comment="by which it is none, or another one"),
    PrimaryKeyConstraint("tenant_id", "patient_id", "recorded_at"),
    CheckConstraint("kind IN ('merge', 'move', 'change')", name="kind"),
    CheckConstraint("patient_id <> into_patient_id", name="of_two"),
    CheckConstraint("undone_at > recorded_at", name="known_rises"),
    Index(
        "idx_patient_aliases_current",
        "patient_id",
        unique=True,
        postgresql_where=text("undone_at IS NULL"),
    ),
    Index("idx_patient_aliases_patient", "patient_id"),
    Index("idx_patient_aliases_into", "into_patient_id"),
)

admission_aliases = Table(
    "admission_aliases",
    metadata,
    tenant(),
    Column("admission_id", Uuid, primary_key=True, comment="by the visit's former number"),
    Column("into_admission_id", Uuid, nullable=False, comment="as which the visit goes on"),
    Column("event_id", Uuid, nullable=False),
    time("recorded_at"),
    CheckConstraint("admission_id <> into_admission_id", name="of_two"),
    Index("idx_admission_aliases_tenant", "tenant_id"),
    Index("idx_admission_aliases_into", "into_admission_id"),
)

visit_accounts = Table(
    "visit_accounts",
    metadata,
    tenant(),
    Column(
        "account_id", Uuid, nullable=False,
        comment="what a visit by the account's number would have as its id",
    ),
    Column("admission_id", Uuid, nullable=False),
    Column("patient_id", Uuid, nullable=False, comment="as told with both"),
    time("recorded_at"),
    PrimaryKeyConstraint("account_id", "admission_id", "patient_id"),
    Index("idx_visit_accounts_tenant", "tenant_id", "patient_id"),
)  # fmt: skip
