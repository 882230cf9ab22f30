"""The database's shape, once: every table, its constraints and indexes, as SQLAlchemy Core.

Names follow document 000 where it gives them (``rules.md`` S1 to S10 say where and why not).
Migrations are proven equal to this; policies and grants stand in :mod:`sinks.roles`.
"""

from sqlalchemy import Table

from sinks.tables.commands import command_results
from sinks.tables.declare import metadata
from sinks.tables.erasure import data_deletion_requests, legal_holds
from sinks.tables.intake import (
    deleted_positions,
    deleted_tenants,
    emr_instances,
    feeds,
    intake_refusals,
)
from sinks.tables.keys import subject_keys
from sinks.tables.read_models import (
    admission_facts,
    admission_read_models,
    flightplan_read_models,
    patient_read_models,
    patient_tokens,
    timeline_events,
    trajectory_facts,
    trajectory_points,
)
from sinks.tables.store import (
    admission_aliases,
    dead_letter_requests,
    dead_letters,
    events,
    messages,
    parked_records,
    partitions,
    patient_aliases,
    patient_identifiers,
    patient_merges,
    snapshots,
    streams,
    subscriptions,
    tenant_keys,
    tenants,
    visit_accounts,
)
from sinks.tables.verification import (
    emr_verifications,
    feed_watermarks,
    verification_decisions,
    verification_due,
    verification_evidence,
    verification_links,
    verification_orders,
    verification_results,
    verification_rules,
    verification_tasks,
    verification_visits,
)
from sinks.tables.work import (
    departments,
    emr_identities,
    handovers,
    shifts,
    tasks,
    user_departments,
    users,
)

TENANT_TABLES: tuple[Table, ...] = tuple(
    table for table in metadata.sorted_tables if table is tenants or "tenant_id" in table.c
)

__all__ = [
    "TENANT_TABLES",
    "admission_aliases",
    "admission_facts",
    "admission_read_models",
    "command_results",
    "data_deletion_requests",
    "dead_letter_requests",
    "dead_letters",
    "deleted_positions",
    "deleted_tenants",
    "departments",
    "emr_identities",
    "emr_instances",
    "emr_verifications",
    "events",
    "feed_watermarks",
    "feeds",
    "flightplan_read_models",
    "handovers",
    "intake_refusals",
    "legal_holds",
    "messages",
    "metadata",
    "parked_records",
    "partitions",
    "patient_aliases",
    "patient_identifiers",
    "patient_merges",
    "patient_read_models",
    "patient_tokens",
    "shifts",
    "snapshots",
    "streams",
    "subject_keys",
    "subscriptions",
    "tasks",
    "tenant_keys",
    "tenants",
    "timeline_events",
    "trajectory_facts",
    "trajectory_points",
    "user_departments",
    "users",
    "verification_decisions",
    "verification_due",
    "verification_evidence",
    "verification_links",
    "verification_orders",
    "verification_results",
    "verification_rules",
    "verification_tasks",
    "verification_visits",
    "visit_accounts",
]
