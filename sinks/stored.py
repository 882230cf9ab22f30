"""An event as its row in the ledger holds it, and as whoever reads the topic gets it."""

from collections.abc import Callable
from typing import Any, cast

from schemas import sealing
from schemas.catalogue import EVENTS_NAMESPACE
from schemas.clock import micros
from schemas.codec import Codec
from schemas.events import TYPES, Event
from sinks.database import Row

EVENT_COLUMNS = (
    "event_id", "stream_type", "stream_id", "event_version", "event_type", "schema_version",
    "tenant_id", "feed_id", "message_id", "person_id", "occurred_at", "occurred_precision",
    "occurred_field", "occurred_text", "recorded_at", "partition", "partition_seq",
    "global_position", "metadata", "created_by", "sealed", "data",
)  # fmt: skip


def event_of(row: Row) -> Event:
    """The event that a row of ``events`` holds."""
    metadata = row["metadata"]
    return Event(
        event_id=row["event_id"],
        stream_type=row["stream_type"],
        stream_id=row["stream_id"],
        event_version=row["event_version"],
        event_type=row["event_type"],
        schema_version=row["schema_version"],
        tenant_id=row["tenant_id"],
        feed_id=row["feed_id"],
        message_id=row["message_id"],
        person_id=row["person_id"],
        occurred_at=micros(row["occurred_at"]),
        occurred_precision=row["occurred_precision"],
        occurred_field=row["occurred_field"],
        occurred_text=row["occurred_text"],
        recorded_at=micros(row["recorded_at"]),
        partition=row["partition"],
        partition_seq=row["partition_seq"],
        global_position=row["global_position"],
        correlation_id=metadata["correlation_id"],
        causation_id=metadata["causation_id"],
        mapper_version=metadata["mapper_version"],
        trace=metadata["trace"],
        created_by=row["created_by"],
        sealed={field: sealing.untext(text) for field, text in row["sealed"].items()},
        data=row["data"],
    )


def encoded(codec: Codec, event: Event) -> bytes:
    """The event as it is published."""
    record = f"{EVENTS_NAMESPACE}.{TYPES[event['event_type']].record}"
    return codec.encode(record, cast("dict[str, Any]", event))


def as_read(codec: Codec) -> Callable[[Row], Event]:
    """What turns a row of ``events`` into the event that readers of the topic decode.

    By the way of the wire: a field that came later has its default, a number its type.
    """
    return lambda row: cast("Event", codec.decode(encoded(codec, event_of(row)))[1])
