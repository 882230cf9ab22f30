"""What is fed in: clinical events with every field of the envelope, and an ADT day's messages."""

import os
import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import UUID, uuid4

from ops.deploy import DEMO_TENANT
from ops.simulator import day, sized
from schemas.events import Event
from sinks.transaction import Recorded

RECORD = "wardtrail.events.AdmissionLocationChanged"
MESSAGE = "wardtrail.raw.Hl7v2Message"
FEED = "d4805d46-ff5b-5732-8c58-2e7a9d6c73f3"
START = 1_767_258_000_000_000  # microseconds since 1970
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SEALED_BYTES = 147  # a visit number's envelope
ENVELOPE_BYTES = 80  # what sealing adds to a body


class Events:
    """Moves of patients, each of a visit of its own, with positions that follow one another."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)
        self._seq = 0

    def next(self, *, partition: int = 0, event_id: str | None = None) -> Event:
        """The next event; its ids are random, as keyed hashes are."""
        self._seq += 1
        message, patient = self._id(), self._id()
        happened = START + self._seq * 1_000_000
        return {
            "event_id": event_id or self._id(),
            "stream_type": "admission",
            "stream_id": self._id(),
            "event_version": 3,
            "event_type": "admission.location_changed",
            "schema_version": 1,
            "tenant_id": str(DEMO_TENANT),
            "feed_id": FEED,
            "message_id": message,
            "person_id": patient,
            "occurred_at": happened,
            "occurred_precision": "second",
            "occurred_field": "EVN-6",
            "occurred_text": "20260101100000+0100",
            "recorded_at": happened + 61_500_250,
            "partition": partition,
            "partition_seq": self._seq,
            "global_position": self._seq,
            "correlation_id": message,
            "causation_id": message,
            "mapper_version": 1,
            "trace": TRACE,
            "created_by": FEED,
            "sealed": {"visit_number": os.urandom(SEALED_BYTES)},
            "data": {
                "patient_id": patient,
                "trigger": "A02",
                "reported_at": happened + 60_000_000,
                "place": f"WARD{self._random.randrange(9)}^ROOM{self._random.randrange(20)}^A",
                "prior_place": f"WARD{self._random.randrange(9)}^ROOM2^B",
                "patient_class": "I",
                "attending_id": self._id(),
            },
        }

    def _id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))


def raw_messages(count: int) -> Iterator[Mapping[str, Any]]:
    """A simulated day's messages as the server publishes them, their bodies in an envelope."""
    for message in day(sized(count))[:count]:
        yield {
            "message_id": str(uuid4()),
            "tenant_id": str(DEMO_TENANT),
            "feed_id": FEED,
            "received_at": START,
            "message_type": "ADT^A02",
            "size_bytes": len(message.body),
            "body": os.urandom(ENVELOPE_BYTES + len(message.body)),
            "trace": TRACE,
        }


def recorded(events: Iterable[Event]) -> list[Recorded]:
    """Events as the sink gets them: decoded, at the offsets that their positions give."""
    return [
        Recorded(event["partition_seq"] - 1, event["stream_id"].encode(), b"", event)
        for event in events
    ]
