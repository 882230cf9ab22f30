"""A feed: a configured source of messages, as a value."""

from dataclasses import dataclass
from uuid import UUID
from zoneinfo import ZoneInfo

UTC = ZoneInfo("UTC")


AUTO, ORIGINAL = "auto", "original"  # as MSH-15 and MSH-16 say, or as if they were blank
CUSTODY, OUTCOME = "custody", "outcome"  # answered when the log holds it, or when it was read
IN_FLIGHT_BYTES_MAX = 16 * 1024 * 1024  # of a feed that says nothing else: a quarter of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """Who sends, under which tenant, and how its messages are to be read.

    ``zone`` is used for times without an offset (rule T22). ``authority`` stands in where an
    identifier names no assigning authority. ``identifier_types`` are the PID-3.5 types that
    route and name a patient, best first. ``processing_ids`` are the MSH-11 values it takes
    (rule I4); empty means all. ``senders``, ``facilities``, ``receiving_applications`` and
    ``receiving_facilities`` are the values of MSH-3 to MSH-6 it comes with, ``certificates`` the
    SHA-256 of its client's certificates in hex; empty means any. What doesn't fit, and what comes
    while the feed isn't ``active`` or its tenant is ``suspended``, is answered with
    ``refusal_answer``; what may succeed later with ``transient_answer``, None for no answer and a
    closed connection. ``acknowledgement`` is AUTO or ORIGINAL, ``answer_when`` CUSTODY or OUTCOME;
    by outcome, what the ledger ignores is answered with ``ignored_answer``. Its quotas are
    messages a second (its own and its whole tenant's), connections at a time, and bytes taken and
    not yet answered; None means no bound of its own.
    ``fault``: why it can't be read as it is set; then nothing of it is taken, answered or mapped.
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
    emr_instance_id: UUID | None = None
    facilities: frozenset[str] = frozenset()
    receiving_applications: frozenset[str] = frozenset()
    receiving_facilities: frozenset[str] = frozenset()
    certificates: frozenset[str] = frozenset()
    refusal_answer: str = "AR"
    transient_answer: str | None = None
    ignored_answer: str = "AA"
    acknowledgement: str = AUTO
    answer_when: str = CUSTODY
    suspended: bool = False
    messages_per_second: int | None = None
    tenant_messages_per_second: int | None = None
    connections_max: int | None = None
    in_flight_bytes_max: int = IN_FLIGHT_BYTES_MAX
    fault: str | None = None
