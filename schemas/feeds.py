"""A feed: a configured source of messages, as a value."""

from dataclasses import dataclass
from uuid import UUID
from zoneinfo import ZoneInfo

UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Who sends, under which tenant, and how its messages are to be read.

    ``zone`` is used for times without an offset (rule T22). ``authority`` stands in where an
    identifier names no assigning authority. ``identifier_types`` are the PID-3.5 types that
    route and name a patient, best first. ``processing_ids`` are the MSH-11 values it takes
    (rule I4); empty means all. ``senders`` are the MSH-3 values it takes; empty means any.
    """

    feed_id: UUID
    tenant_id: UUID
    name: str
    protocol: str = "mllp"
    zone: ZoneInfo = UTC
    charset: str | None = None
    authority: str = ""
    identifier_types: tuple[str, ...] = ("MR", "MRN", "PI", "PT")
    processing_ids: frozenset[str] = frozenset({"P"})
    senders: frozenset[str] = frozenset()
    active: bool = True
