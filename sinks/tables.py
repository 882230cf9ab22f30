"""The database's shape, once: every table, its constraints and indexes, as SQLAlchemy Core.

Names follow document 000 where it gives them (``rules.md`` S1 to S10 say where and why not).
Migrations are proven equal to this; policies and grants stand in :mod:`sinks.roles`.
"""

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
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSTZRANGE

metadata = MetaData(
    naming_convention={
        "ix": "idx_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _time(name: str, *, nullable: bool = False, now: bool = False) -> Column[object]:
    default = text("now()") if now else None
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=default)


def _json(name: str, default: str | None = None) -> Column[object]:
    return Column(name, JSONB, nullable=False, server_default=default and text(f"'{default}'"))


def _tenant() -> Column[object]:
    return Column("tenant_id", Uuid, nullable=False)


# --- the event store (migration 001) -------------------------------------------------------------

tenants = Table(
    "tenants",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("subdomain", String(100), unique=True),
    Column("plan", String(50)),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    _json("features", "{}"),
    _json("enabled_specialties", "[]"),
    _json("branding", "{}"),
    _json("integrations", "{}"),
    _time("created_at", now=True),
    _time("updated_at", now=True),
    Index("idx_tenants_active", "is_active"),
)

tenant_keys = Table(
    "tenant_keys",
    metadata,
    Column("tenant_id", Uuid, ForeignKey("tenants.id"), nullable=False),
    Column("purpose", String(20), nullable=False),
    Column("version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False, comment="sealed by the root key"),
    _time("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "purpose", "version"),
    CheckConstraint("purpose IN ('data', 'identity')", name="purpose"),
    # The identity key is never rotated: ids are made from it.
    CheckConstraint("purpose = 'data' OR version = 1", name="identity_once"),
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
    _json("identifier_types", '["MR", "MRN", "PI", "PT"]'),
    _json("processing_ids", '["P"]'),
    _json("senders", "[]"),
    Column("is_active", Boolean, nullable=False, server_default=text("true")),
    _time("created_at", now=True),
    _time("updated_at", now=True),
    UniqueConstraint("tenant_id", "name"),
)

events = Table(
    "events",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("stream_id", Uuid, nullable=False),
    Column("stream_type", String(100), nullable=False),
    Column("event_type", String(200), nullable=False),
    Column("event_version", Integer, nullable=False),
    Column("schema_version", Integer, nullable=False),
    _tenant(),
    Column("feed_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("person_id", Uuid),
    _time("occurred_at"),
    Column("occurred_precision", String(10), nullable=False),
    Column("occurred_field", String(20), nullable=False),
    Column("occurred_text", Text, nullable=False),
    _time("recorded_at"),
    Column("partition", SmallInteger, nullable=False),
    Column("partition_seq", BigInteger, nullable=False),
    Column("global_position", BigInteger, Identity(always=True), nullable=False, unique=True),
    _json("data"),
    _json("sealed", "{}"),
    _json("metadata"),
    Column("created_by", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True), Computed("recorded_at", persisted=True)),
    UniqueConstraint("stream_id", "event_version", name="idx_events_stream"),
    UniqueConstraint("partition", "partition_seq", name="idx_events_partition"),
    CheckConstraint("event_version > 0 AND partition_seq > 0", name="counted_from_one"),
    Index("idx_events_type", "event_type", "created_at"),
    Index("idx_events_tenant", "tenant_id", "created_at"),
    Index("idx_events_created_at", "created_at"),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("snapshot_id", Uuid, primary_key=True),
    Column("stream_id", Uuid, nullable=False),
    Column("stream_type", String(100), nullable=False),
    Column("version", Integer, nullable=False),
    _tenant(),
    _json("state"),
    _time("created_at", now=True),
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
    _time("leased_until", nullable=True),
    *(
        Column(outcome, BigInteger, nullable=False, server_default="0")
        for outcome in ("applied", "duplicate", "ignored", "parked", "dead", "no_record")
    ),
    _time("updated_at", now=True),
    PrimaryKeyConstraint("subscription_id", "topic", "partition"),
    # Nothing vanishes: every offset passed has an outcome.
    CheckConstraint(
        "next_offset - first_offset = applied + duplicate + ignored + parked + dead + no_record",
        name="nothing_vanishes",
    ),
    Index("idx_subscriptions_updated", "updated_at"),
)

streams = Table(
    "streams",
    metadata,
    Column("stream_id", Uuid, primary_key=True),
    Column("stream_type", String(100), nullable=False),
    _tenant(),
    Column("partition", SmallInteger, nullable=False, comment="home; never changes"),
    Column("version", Integer, nullable=False),
    _time("recorded_at"),
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
    _tenant(),
    Column("feed_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("topic", String(200), nullable=False),
    Column("partition", SmallInteger, nullable=False),
    Column("offset", BigInteger, nullable=False),
    _time("received_at"),
    _time("recorded_at"),
    Column("message_type", String(32), nullable=False),
    Column("outcome", String(10), nullable=False),
    Column("reason", Text, comment="why ignored or dead; never a patient's data"),
    Column("mapper_version", Integer, nullable=False),
    Column("events", SmallInteger, nullable=False, comment="how many it became"),
    Column("body_sealed", LargeBinary, nullable=False),
    Column("control_hmac", Uuid, comment="keyed hash of MSH-10, which a feed may reuse"),
    PrimaryKeyConstraint("tenant_id", "feed_id", "message_id"),
    CheckConstraint("outcome IN ('applied', 'ignored', 'dead')", name="outcome"),
    Index("idx_messages_recorded", "tenant_id", "recorded_at"),
)

patient_identifiers = Table(
    "patient_identifiers",
    metadata,
    _tenant(),
    Column("authority", String(200), nullable=False),
    Column("value_hmac", Uuid, nullable=False, comment="keyed hash; the type is no part of it"),
    Column("type", String(20), nullable=False),
    Column("patient_id", Uuid, nullable=False),
    _time("created_at", now=True),
    PrimaryKeyConstraint("tenant_id", "authority", "value_hmac"),
    Index("idx_patient_identifiers_patient", "patient_id"),
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
    _time("created_at", now=True),
    UniqueConstraint("subscription_id", "topic", "partition", "offset"),
    CheckConstraint("state IN ('dead', 'parked', 'retried', 'discarded')", name="state"),
    Index("idx_dead_letters_created", "created_at"),
)

# --- read models (migration 002) -----------------------------------------------------------------


def _origin() -> list[Column[object]]:
    """Where a derived row stands: its home partition and the last event folded into it."""
    return [
        Column("partition", SmallInteger, nullable=False),
        Column("partition_seq", BigInteger, nullable=False),
    ]


patient_read_models = Table(
    "patient_read_models",
    metadata,
    Column("id", Uuid, primary_key=True),
    _tenant(),
    _json("data"),
    _time("created_at"),
    _time("updated_at"),
    *_origin(),
    Index("idx_patient_tenant", "tenant_id"),
)

admission_read_models = Table(
    "admission_read_models",
    metadata,
    Column("id", Uuid, primary_key=True),
    _tenant(),
    Column("patient_id", Uuid, nullable=False),
    _json("data"),
    _time("created_at"),
    _time("updated_at"),
    *_origin(),
    Index("idx_admission_tenant", "tenant_id"),
    Index("idx_admission_patient", "patient_id"),
)

admission_facts = Table(
    "admission_facts",
    metadata,
    Column("id", Uuid, primary_key=True, comment="the admission's"),
    _tenant(),
    _json("facts"),
    _time("created_at"),
    *_origin(),
    Index("idx_admission_facts_tenant", "tenant_id"),
)

flightplan_read_models = Table(
    "flightplan_read_models",
    metadata,
    Column("id", Uuid, primary_key=True),
    _tenant(),
    Column("admission_id", Uuid, nullable=False),
    _json("data"),
    _time("created_at"),
    _time("updated_at"),
    Index("idx_flightplan_tenant", "tenant_id"),
    Index("idx_flightplan_admission", "admission_id"),
)

timeline_events = Table(
    "timeline_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    _tenant(),
    Column("admission_id", Uuid, nullable=False),
    Column("event_type", String(200), nullable=False),
    _time("occurred_at"),
    _json("data"),
    *_origin(),
    Index("idx_timeline_tenant", "tenant_id"),
    Index("idx_timeline_admission", "admission_id"),
    Index("idx_timeline_occurred", "occurred_at"),
)

trajectory_facts = Table(
    "trajectory_facts",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    _tenant(),
    Column("admission_id", Uuid, nullable=False),
    Column("patient_id", Uuid, nullable=False),
    Column("feed_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("event_type", String(200), nullable=False),
    _time("effective_at"),
    Column("effective_field", String(20), nullable=False),
    _time("reported_at", nullable=True),
    _time("recorded_at"),
    Column("place", Text, comment="none: not said; empty: said to be unknown"),
    Column("prior_place", Text),
    Column("temporary_place", Text),
    Column("prior_temporary_place", Text),
    Column("pending_place", Text),
    Column("planned_place", Text),
    Column("plan", String(20)),
    _time("expected_at", nullable=True),
    Column("patient_class", Text),
    Column("movement_id", Uuid),
    Column("movement_historic", Boolean, nullable=False),
    Column("original_trigger", Text),
    *_origin(),
    Index("idx_trajectory_facts_tenant", "tenant_id"),
    Index("idx_trajectory_facts_admission", "admission_id"),
    Index("idx_trajectory_facts_feed", "feed_id", "recorded_at"),
)

trajectory_points = Table(
    "trajectory_points",
    metadata,
    Column("id", Uuid, primary_key=True, comment="of the point at this revision"),
    Column("point_id", Uuid, nullable=False),
    _tenant(),
    Column("admission_id", Uuid, nullable=False),
    Column("patient_id", Uuid, nullable=False),
    Column("track", String(10), nullable=False),
    Column("location", Text, nullable=False, comment="PV1-3 as sent"),
    *(
        Column(name, Text, nullable=False, comment="of the place; empty: not said")
        for name in ("facility", "building", "floor", "point_of_care", "room", "bed")
    ),
    _time("effective_at"),
    _time("ended_at", nullable=True),
    Column("effective", TSTZRANGE, Computed("tstzrange(effective_at, ended_at)", persisted=True)),
    _time("known_from"),
    _time("known_to", nullable=True),
    Column("known", TSTZRANGE, Computed("tstzrange(known_from, known_to)", persisted=True)),
    _time("retracted_at", nullable=True),
    Column("start_inferred", Boolean, nullable=False),
    Column("end_inferred", Boolean, nullable=False),
    Column("start_field", String(20), nullable=False),
    _time("reported_at", nullable=True),
    Column("start_event_id", Uuid, nullable=False),
    Column("end_event_id", Uuid),
    Column("fold_version", SmallInteger, nullable=False),
    *_origin(),
    _json("data"),
    CheckConstraint("track IN ('census', 'physical', 'planned')", name="track"),
    CheckConstraint("ended_at > effective_at", name="no_zero_length"),
    CheckConstraint("known_to > known_from", name="known_rises"),
    Index("idx_trajectory_tenant", "tenant_id"),
    Index("idx_trajectory_admission", "admission_id"),
    Index("idx_trajectory_effective", "effective_at"),
    Index("idx_trajectory_revision", "partition", "partition_seq"),
    Index(
        "idx_trajectory_current", "point_id", unique=True, postgresql_where=text("known_to IS NULL")
    ),
    Index("idx_trajectory_patient", "patient_id"),
    # Who is in a ward: as known now, by stays of at most 30 days and by others; as known before.
    Index(
        "idx_trajectory_ward", "tenant_id", "point_of_care", "track", "effective_at", "ended_at",
        postgresql_where=text(
            "((known_to IS NULL) AND (retracted_at IS NULL)"
            " AND ((ended_at - effective_at) <= '720:00:00'::interval))"
        ),
    ),
    Index(
        "idx_trajectory_ward_long", "tenant_id", "point_of_care", "track",
        text("COALESCE(ended_at, 'infinity'::timestamp with time zone)"), "effective_at",
        postgresql_where=text(
            "((known_to IS NULL) AND (retracted_at IS NULL)"
            " AND (((ended_at - effective_at) <= '720:00:00'::interval) IS NOT TRUE))"
        ),
    ),
    Index(
        "idx_trajectory_ward_before", "tenant_id", "point_of_care", "track",
        "known_to", "known_from", "effective_at",
        postgresql_where=text("((known_to IS NOT NULL) AND (retracted_at IS NULL))"),
    ),
)  # fmt: skip

# --- aliases (migration 003) ---------------------------------------------------------------------

patient_merges = Table(
    "patient_merges",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    _tenant(),
    Column("patient_id", Uuid, nullable=False, comment="as told; who was merged"),
    Column("into_patient_id", Uuid, nullable=False, comment="as told; into whom"),
    Column("kind", String(10), nullable=False),
    Column("said_at", DateTime(timezone=True), nullable=False, comment="reported, else occurred"),
    _time("recorded_at"),
    CheckConstraint("kind IN ('merge', 'move', 'change', 'undo')", name="kind"),
    CheckConstraint("patient_id <> into_patient_id", name="of_two"),
    Index("idx_patient_merges_tenant", "tenant_id"),
    Index("idx_patient_merges_patient", "patient_id"),
    Index("idx_patient_merges_into", "into_patient_id"),
)

patient_aliases = Table(
    "patient_aliases",
    metadata,
    _tenant(),
    Column("patient_id", Uuid, nullable=False, comment="who is another; streams keep this id"),
    Column("into_patient_id", Uuid, nullable=False, comment="who may be another again"),
    Column("event_id", Uuid, nullable=False, comment="the merge that it follows from"),
    Column("kind", String(10), nullable=False),
    _time("recorded_at"),
    _time("undone_at", nullable=True),
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
    _tenant(),
    Column("admission_id", Uuid, primary_key=True, comment="by the visit's former number"),
    Column("into_admission_id", Uuid, nullable=False, comment="as which the visit goes on"),
    Column("event_id", Uuid, nullable=False),
    _time("recorded_at"),
    CheckConstraint("admission_id <> into_admission_id", name="of_two"),
    Index("idx_admission_aliases_tenant", "tenant_id"),
    Index("idx_admission_aliases_into", "into_admission_id"),
)

TENANT_TABLES: tuple[Table, ...] = tuple(
    table for table in metadata.sorted_tables if table is tenants or "tenant_id" in table.c
)
SHARED_TABLES: tuple[Table, ...] = tuple(
    table for table in metadata.sorted_tables if table not in TENANT_TABLES
)
