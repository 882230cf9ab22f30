"""The read models and the path: what is derived, for whom (002, 005, 010)."""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSTZRANGE

from sinks.tables.declare import json, metadata, origin, tenant, time

patient_read_models = Table(
    "patient_read_models",
    metadata,
    Column("id", Uuid, primary_key=True),
    tenant(),
    json("data"),
    time("created_at"),
    time("updated_at"),
    *origin(),
    Index("idx_patient_tenant", "tenant_id"),
)

patient_tokens = Table(
    "patient_tokens",
    metadata,
    tenant(),
    Column("token", Uuid, nullable=False, comment="keyed hash; its kind stands nowhere"),
    Column("patient_id", Uuid, nullable=False, comment="as told; who may be another one since"),
    *origin(),
    PrimaryKeyConstraint("tenant_id", "token", "patient_id"),
    Index("idx_patient_tokens_patient", "patient_id"),
)

admission_read_models = Table(
    "admission_read_models",
    metadata,
    Column("id", Uuid, primary_key=True),
    tenant(),
    Column("patient_id", Uuid, nullable=False),
    json("data"),
    time("created_at"),
    time("updated_at"),
    *origin(),
    Index("idx_admission_tenant", "tenant_id"),
    Index("idx_admission_patient", "patient_id"),
)

admission_facts = Table(
    "admission_facts",
    metadata,
    Column("id", Uuid, primary_key=True, comment="the admission's"),
    tenant(),
    json("facts"),
    time("created_at"),
    *origin(),
    Index("idx_admission_facts_tenant", "tenant_id"),
)

flightplan_read_models = Table(
    "flightplan_read_models",
    metadata,
    Column("id", Uuid, primary_key=True),
    tenant(),
    Column("admission_id", Uuid, nullable=False),
    json("data"),
    time("created_at"),
    time("updated_at"),
    *origin(),
    Index("idx_flightplan_tenant", "tenant_id"),
    Index("idx_flightplan_admission", "admission_id"),
)

timeline_events = Table(
    "timeline_events",
    metadata,
    Column("id", Uuid, primary_key=True),
    tenant(),
    Column("admission_id", Uuid, nullable=False),
    Column("event_type", String(200), nullable=False),
    time("occurred_at"),
    json("data"),
    *origin(),
    Index("idx_timeline_tenant", "tenant_id"),
    Index("idx_timeline_admission", "admission_id"),
    Index("idx_timeline_occurred", "occurred_at"),
)

trajectory_facts = Table(
    "trajectory_facts",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    tenant(),
    Column("admission_id", Uuid, nullable=False),
    Column("patient_id", Uuid, nullable=False),
    Column("feed_id", Uuid, nullable=False),
    Column("message_id", Uuid, nullable=False),
    Column("event_type", String(200), nullable=False),
    time("effective_at"),
    Column("effective_field", String(20), nullable=False),
    time("reported_at", nullable=True),
    time("recorded_at"),
    Column("place", Text, comment="none: not said; empty: said to be unknown"),
    Column("prior_place", Text),
    Column("temporary_place", Text),
    Column("prior_temporary_place", Text),
    Column("pending_place", Text),
    Column("planned_place", Text),
    Column("plan", String(20)),
    time("expected_at", nullable=True),
    Column("patient_class", Text),
    Column("movement_id", Uuid),
    Column("movement_historic", Boolean, nullable=False),
    Column("original_trigger", Text),
    Column("effective_precision", Text, comment="of effective_at, as sent; none: not kept"),
    Column("stays", JSONB, comment="what an encounter states of its places; none: no encounter"),
    Column(
        "superseded_at",
        DateTime(timezone=True),
        comment="since when it counts no more, as its message was mapped anew; none: it counts",
    ),
    *origin(),
    Index("idx_trajectory_facts_tenant", "tenant_id"),
    Index("idx_trajectory_facts_admission", "admission_id"),
    Index("idx_trajectory_facts_feed", "feed_id", "recorded_at"),
)

trajectory_points = Table(
    "trajectory_points",
    metadata,
    Column("id", Uuid, primary_key=True, comment="of the point at this revision"),
    Column("point_id", Uuid, nullable=False),
    tenant(),
    Column("admission_id", Uuid, nullable=False),
    Column("patient_id", Uuid, nullable=False),
    Column("track", String(10), nullable=False),
    Column("location", Text, nullable=False, comment="PV1-3 as sent"),
    *(
        Column(name, Text, nullable=False, comment="of the place; empty: not said")
        for name in ("facility", "building", "floor", "point_of_care", "room", "bed")
    ),
    time("effective_at"),
    time("ended_at", nullable=True),
    Column("effective", TSTZRANGE, Computed("tstzrange(effective_at, ended_at)", persisted=True)),
    time("known_from"),
    time("known_to", nullable=True),
    Column("known", TSTZRANGE, Computed("tstzrange(known_from, known_to)", persisted=True)),
    time("retracted_at", nullable=True),
    Column("start_inferred", Boolean, nullable=False),
    Column("end_inferred", Boolean, nullable=False),
    Column("start_field", String(20), nullable=False),
    time("reported_at", nullable=True),
    Column("start_event_id", Uuid, nullable=False),
    Column("end_event_id", Uuid),
    Column("fold_version", SmallInteger, nullable=False),
    *origin(),
    json("data"),
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
