"""Requests to erase people, and the legal holds that refuse them (017)."""

from sqlalchemy import CheckConstraint, Column, Index, String, Table, Uuid, text

from sinks.tables.declare import json, metadata, tenant, time

data_deletion_requests = Table(
    "data_deletion_requests",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    tenant(),
    Column("patient_id", Uuid, nullable=False, comment="who the person is now"),
    Column("request_type", String(50), nullable=False),
    Column("status", String(50), nullable=False, server_default="pending"),
    time("requested_at", now=True),
    time("completed_at", nullable=True),
    json("data_categories"),
    Column("verification_method", String(50), nullable=False),
    json("verification_details", "{}"),
    time("created_at", now=True),
    time("updated_at", now=True),
    Column("requested_by", String(200), nullable=False),
    Column("purpose", String(1000), nullable=False, comment="why; never a patient's data"),
    json("people", comment="every id of the person, with key versions"),
    time("erased_at", nullable=True),
    time("announced_at", nullable=True),
    time("destroyed_at", nullable=True),
    Column("said", String(1000), comment="why it was refused or cancelled"),
    json("receipt", "{}"),
    CheckConstraint(
        "status IN ('pending', 'processing', 'completed', 'refused', 'cancelled')", name="status"
    ),
    CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed"),
    Index("idx_data_deletion_requests_user", "tenant_id", "patient_id"),
    Index("idx_data_deletion_requests_status", "status"),
    Index(
        "idx_data_deletion_requests_open", "tenant_id", "patient_id", unique=True,
        postgresql_where=text("status IN ('pending', 'processing')"),
    ),
)  # fmt: skip
data_deletion_requests.c.erased_at.comment = (
    "what is reported later may be of somebody who came again"
)
data_deletion_requests.c.announced_at.comment = "when the log held every announcement"

legal_holds = Table(
    "legal_holds",
    metadata,
    Column("id", Uuid, primary_key=True, server_default=text("gen_random_uuid()")),
    tenant(),
    Column(
        "patient_id", Uuid, nullable=False,
        comment="one id of the person: it holds for every alias",
    ),
    Column("reason", String(1000), nullable=False, comment="why; never a patient's data"),
    Column("placed_by", String(200), nullable=False),
    time("placed_at", now=True),
    time("released_at", nullable=True),
    Column("released_by", String(200)),
    CheckConstraint("(released_at IS NULL) = (released_by IS NULL)", name="released"),
    Index("idx_legal_holds_patient", "tenant_id", "patient_id"),
)  # fmt: skip
