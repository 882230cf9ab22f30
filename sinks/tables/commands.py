"""What became of commands (007, 013, 019)."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from sinks.tables.declare import metadata, tenant, time

command_results = Table(
    "command_results",
    metadata,
    tenant(),
    Column("command_id", Uuid, nullable=False),
    Column("command_type", String(32), nullable=False),
    Column("stream_type", String(100), nullable=False),
    Column("stream_id", Uuid, nullable=False),
    Column("outcome", String(10), nullable=False),
    Column("rule", Text, comment="a code; which rule refused it, or why it failed"),
    Column("said", Text, comment="that in words; never a patient's data"),
    Column(
        "version", Integer, nullable=False, comment="of the stream, after the command; 0: it failed"
    ),
    Column("events", SmallInteger, nullable=False, comment="how many it became"),
    Column("event_partition", SmallInteger, comment="of its last event, to read one's write"),
    Column("event_seq", BigInteger, comment="of its last event, to read one's write"),
    time("recorded_at"),
    Column("partition", SmallInteger, nullable=False, comment="the inbound one"),
    Column("partition_seq", BigInteger, nullable=False, comment="the inbound offset, from one"),
    Column("department_id", Uuid, comment="whose work it is about; none: no one department's"),
    Column("issued_by", Uuid, comment="who asked; none: it couldn't be told"),
    PrimaryKeyConstraint("tenant_id", "command_id"),
    UniqueConstraint("partition", "partition_seq", name="idx_command_results_partition"),
    CheckConstraint("outcome IN ('accepted', 'rejected', 'failed')", name="outcome"),
    CheckConstraint(
        "(outcome <> 'accepted') = (rule IS NOT NULL AND said IS NOT NULL)", name="explained"
    ),
    CheckConstraint(
        "(events > 0) = (event_partition IS NOT NULL AND event_seq IS NOT NULL)", name="placed"
    ),
    Index("idx_command_results_stream", "stream_id"),
)
