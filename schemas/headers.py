"""The records' headers: CloudEvents 1.0, Kafka protocol binding, binary content mode."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from schemas.clock import instant
from schemas.events import Event

Headers = list[tuple[str, bytes]]
CONTENT_TYPE = b"application/avro"
RAW_TYPE = "emr.hl7v2.received"
POINT_TYPE = "trajectory.point.changed"
RESULT_TYPE = "app.command.decided"
VERIFICATION_TYPE = "verification.result.changed"
LETTER_TYPE = "dead_letter.changed"
ERASURE_TYPE = "subject.erased"
SEQUENCE = "ce_sequence"
_ID = rb"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_PLACED = re.compile(_ID + rb" [a-z_]+/" + _ID + rb" ([0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose event it is, in which stream, at which ``partition_seq``."""

    tenant_id: str
    stream_id: str
    position: int


def for_event(event: Event) -> Headers:
    """An event's headers; the subject is its stream, a pseudonym.

    The sequence is its ``partition_seq``: by it a record that can't be decoded still has a place.
    """
    headers = _cloud_event(
        id=event["event_id"],
        source=f"urn:tenant:{event['tenant_id']}:feed:{event['feed_id']}",
        type=event["event_type"],
        tenant=event["tenant_id"],
        at=event["occurred_at"],
        recorded_at=event["recorded_at"],
        subject=f"{event['stream_type']}/{event['stream_id']}",
        correlation=event["correlation_id"],
        causation=event["causation_id"],
        trace=event["trace"],
    )
    headers.append((SEQUENCE, str(event["partition_seq"]).encode()))
    return headers


def place(headers: Sequence[tuple[str, bytes]]) -> Place | None:
    """Where :func:`for_event` says that an event belongs; None where that isn't all said."""
    said = dict(headers)
    found = _PLACED.fullmatch(
        b" ".join(said.get(name, b"") for name in ("tenant", "ce_subject", SEQUENCE))
    )
    if found is None:
        return None
    tenant, stream, position = (part.decode() for part in found.groups())
    return Place(tenant_id=tenant, stream_id=stream, position=int(position))


def for_raw(message: Mapping[str, Any]) -> Headers:
    """Headers of a raw message, from its record ``wardtrail.raw.Hl7v2Message``.

    It begins its own chain: correlation and causation are the message itself.
    """
    return _cloud_event(
        id=message["message_id"],
        source=f"urn:tenant:{message['tenant_id']}:feed:{message['feed_id']}",
        type=RAW_TYPE,
        tenant=message["tenant_id"],
        at=message["received_at"],
        recorded_at=message["received_at"],
        subject=f"message/{message['message_id']}",
        correlation=message["message_id"],
        causation=message["message_id"],
        trace=message.get("trace"),
    )


def for_command(command: Mapping[str, Any]) -> Headers:
    """Headers of a command, from its record ``wardtrail.commands.Command``."""
    return _cloud_event(
        id=command["command_id"],
        source=f"urn:tenant:{command['tenant_id']}:app:{command['issued_by']}",
        type=command["command_type"],
        tenant=command["tenant_id"],
        at=command["issued_at"],
        recorded_at=command["issued_at"],
        subject=f"{command['stream_type']}/{command['stream_id']}",
        correlation=command["correlation_id"],
        causation=command["command_id"],
        trace=command.get("trace"),
    )


def for_result(result: Mapping[str, Any]) -> Headers:
    """Headers of what became of a command, which has one result only."""
    return _cloud_event(
        id=f"{result['command_id']}/result",
        source=f"urn:tenant:{result['tenant_id']}:processor:ledger",
        type=RESULT_TYPE,
        tenant=result["tenant_id"],
        at=result["recorded_at"],
        recorded_at=result["recorded_at"],
        subject=f"{result['stream_type']}/{result['stream_id']}",
        correlation=result["command_id"],
        causation=result["command_id"],
        trace=None,
    )


def for_point(point: Mapping[str, Any]) -> Headers:
    """Headers of a trajectory point; a revision has its own id, so that none looks repeated."""
    cause = point["end_event_id"] or point["start_event_id"]
    return _cloud_event(
        id=f"{point['point_id']}/{point['fold_version']}.{point['partition_seq']}",
        source=f"urn:tenant:{point['tenant_id']}:processor:trajectory",
        type=POINT_TYPE,
        tenant=point["tenant_id"],
        at=point["effective_at"],
        recorded_at=point["known_from"],
        subject=f"admission/{point['admission_id']}",
        correlation=point["point_id"],
        causation=cause,
        trace=None,
    )


def for_verification(result: Mapping[str, Any]) -> Headers:
    """Headers of what is known of a task, as of one revision."""
    return _cloud_event(
        id=f"{result['task_id']}/{result['revision']}",
        source=f"urn:tenant:{result['tenant_id']}:processor:verification",
        type=VERIFICATION_TYPE,
        tenant=result["tenant_id"],
        at=result["judged_at"],
        recorded_at=result["judged_at"],
        subject=f"task/{result['task_id']}",
        correlation=result["task_id"],
        causation=result["result_id"],
        trace=None,
    )


def for_letter(letter: Mapping[str, Any]) -> Headers:
    """Headers of a dead letter, as of one state; its cause is the record that it is."""
    return _cloud_event(
        id=f"{letter['letter_id']}/{letter['partition_seq']}",
        source=f"urn:tenant:{letter['tenant_id']}:processor:{letter['subscription']}",
        type=LETTER_TYPE,
        tenant=letter["tenant_id"],
        at=letter["created_at"],
        recorded_at=letter["announced_at"],
        subject=f"dead_letter/{letter['letter_id']}",
        correlation=letter["message_id"] or letter["letter_id"],
        causation=letter["event_id"] or letter["message_id"] or letter["letter_id"],
        trace=None,
    )


def for_erasure(erasure: Mapping[str, Any]) -> Headers:
    """Headers of an erasure, from its record ``wardtrail.erasures.Erasure``."""
    return _cloud_event(
        id=erasure["erasure_id"],
        source=f"urn:tenant:{erasure['tenant_id']}:processor:eraser",
        type=ERASURE_TYPE,
        tenant=erasure["tenant_id"],
        at=erasure["erased_at"],
        recorded_at=erasure["erased_at"],
        subject=f"patient/{erasure['patient_id']}",
        correlation=erasure["request_id"],
        causation=erasure["request_id"],
        trace=None,
    )


def tenant(headers: Sequence[tuple[str, bytes | None]] | None) -> UUID | None:
    """The tenant that the headers name; None if none, several or no UUID stands there."""
    said = {value for name, value in headers or () if name == "tenant"}
    if len(said) != 1:
        return None
    try:
        return UUID((said.pop() or b"").decode("ascii"))
    except ValueError:
        return None


def _cloud_event(
    *,
    id: str,  # noqa: A002  the attribute's name in CloudEvents
    source: str,
    type: str,  # noqa: A002  the attribute's name in CloudEvents
    tenant: str,
    at: int,
    recorded_at: int,
    subject: str,
    correlation: str,
    causation: str,
    trace: str | None,
) -> Headers:
    """The attributes in the order of the design; times are microseconds, written as RFC 3339."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", type.encode()),
        ("ce_time", instant(at).isoformat().encode()),
        ("ce_recordedtime", instant(recorded_at).isoformat().encode()),
        ("ce_subject", subject.encode()),
        ("ce_correlationid", correlation.encode()),
        ("ce_causationid", causation.encode()),
        ("content-type", CONTENT_TYPE),
        ("tenant", tenant.encode()),
    ]
    if trace:
        headers.append(("traceparent", trace.encode()))
    return headers
