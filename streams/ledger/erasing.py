"""Reading ``subject.erasures.v1``: each record becomes ``patient.erased``, or is dead."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from schemas import erasures, formed, identity
from schemas.clock import micros
from schemas.codec import Codec, Undecodable
from schemas.erasures import Erasure
from schemas.events import TYPES
from schemas.sealing import Keys
from sinks.dead_letters import DeadLetter
from sinks.numbering import Entry
from sinks.subject_keys import Erased
from streams import ports
from streams.ownership import told

ERASED = TYPES["patient.erased"]
MESSAGE_TYPE = "erasure"  # in the row of messages
VERSION = 1  # in the event's mapper_version


class Unproven(Exception):  # noqa: N818  named for what is wrong
    """The record wasn't made by who has the tenant's key, or the tenant has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasing:
    """Makes entries of records.

    ``keys_of`` gives a tenant's keys, fresh ones if told so, or None where there are none.
    """

    codec: Codec
    keys_of: Callable[[UUID, bool], Keys | None]

    def entries(self, records: Sequence[ports.Record]) -> list[Entry]:
        """The entries of records, in order; raises what is transient."""
        return [self._entry(each) for each in records]

    def _entry(self, record: ports.Record) -> Entry:
        try:
            with told():
                erasure, said = read(self.codec, record.value or b"")
            prove(erasure, said, self.keys_of(erasure.tenant_id, False))
        except (Undecodable, Unproven) as unfit:
            return _dead(record, unfit)
        return Entry(
            offset=record.offset, key=record.key, value=record.value,
            message=_message(erasure), events=[_event(erasure)], said_at=erasure.erased_at,
            erases=erased(erasure),
        )  # fmt: skip


def read(codec: Codec, value: bytes) -> tuple[Erasure, Mapping[str, Any]]:
    """An erasure out of its record's bytes, and the record; raises `Undecodable`."""
    said = codec.decode_as(erasures.RECORD, value)
    flaw = formed.flaw(erasures.RECORD, said)
    if flaw is not None:
        raise Undecodable("malformed", flaw)
    try:
        return Erasure.read(said), said
    except (ValueError, OverflowError):
        raise Undecodable("malformed", "the record contradicts itself") from None


def prove(erasure: Erasure, said: Mapping[str, Any], keys: Keys | None) -> None:
    """Raise :class:`Unproven` unless the tenant's own key made the record."""
    if keys is None or not erasure.proven(said, keys.identity):
        raise Unproven("its proof isn't made by the tenant's key")


def erased(erasure: Erasure) -> Erased:
    """Whose key is to be destroyed by it."""
    return Erased(
        name=(erasure.tenant_id, erasure.patient_id), key_version=erasure.key_version,
        at=erasure.erased_at,
    )  # fmt: skip


def _event(erasure: Erasure) -> dict[str, Any]:
    """The row of ``events``, without version, partition and ``recorded_at``."""
    person, feed = str(erasure.patient_id), str(identity.app_feed(erasure.tenant_id))
    return {
        "event_id": str(identity.event(erasure.erasure_id, ERASED.name, 0, MESSAGE_TYPE)),
        "stream_id": person,
        "stream_type": ERASED.stream_type,
        "event_type": ERASED.name,
        "schema_version": ERASED.schema_version,
        "tenant_id": str(erasure.tenant_id),
        "feed_id": feed,
        "message_id": str(erasure.erasure_id),
        "person_id": person,
        "occurred_at": erasure.erased_at,
        "occurred_precision": "fraction",
        "occurred_field": MESSAGE_TYPE,
        "occurred_text": erasure.erased_at.isoformat(),
        "data": {
            "request_id": str(erasure.request_id), "key_version": erasure.key_version,
            "erased_at": micros(erasure.erased_at),
        },
        "sealed": {},
        "metadata": {
            "correlation_id": str(erasure.request_id), "causation_id": str(erasure.erasure_id),
            "mapper_version": VERSION, "trace": None,
        },
        "created_by": feed,
    }  # fmt: skip


def _message(erasure: Erasure) -> dict[str, Any]:
    return {
        "tenant_id": str(erasure.tenant_id),
        "feed_id": str(identity.app_feed(erasure.tenant_id)),
        "message_id": str(erasure.erasure_id),
        "received_at": erasure.erased_at,
        "message_type": MESSAGE_TYPE,
        "outcome": "applied",
        "reason": None,
        "mapper_version": VERSION,
        "body_sealed": b"",
        "control_hmac": None,
    }


def _dead(record: ports.Record, unfit: Exception) -> Entry:
    cause = "unproven" if isinstance(unfit, Unproven) else "undecodable"
    letter = DeadLetter(
        offset=record.offset, key=record.key, value=record.value,
        stage="open" if cause == "unproven" else "decode", cause=cause, reason=str(unfit),
    )  # fmt: skip
    return Entry(offset=record.offset, key=record.key, value=record.value, letter=letter)
