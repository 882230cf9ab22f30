"""Whose a raw body is that became no events: by the numbers and ids that stand in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from schemas import formed, sealing
from schemas.codec import Codec, Undecodable
from schemas.feeds import Feed
from schemas.identity import lookup
from schemas.sealing import EnvelopeInvalid, KeyMissing, Keys
from schemas.topics import COMMANDS, HL7V2
from sinks.dead_letters import open_record
from sinks.remains import Silent
from streams.ledger.mapping.mentions import mentioned

# Which field of a topic's record is sealed, and which is its id: what the envelope is bound to.
_IDS = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SEALED = {HL7V2.name: ("body", "message_id"), COMMANDS.name: ("data", "command_id")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """Some people of a tenant, whom identifiers (authority, keyed hash) name, whose streams are."""

    people: frozenset[UUID]
    names: Mapping[tuple[str, UUID], UUID]
    streams: Mapping[UUID, UUID]
    keys: Keys
    feeds: Mapping[UUID, Feed]
    codec: Codec

    def message(self, silent: Silent) -> set[UUID] | None:
        """Whom of them a message's body is about; None where that can't be told."""
        if silent.topic not in _SEALED:
            return None
        field, _ = _SEALED[silent.topic]
        found = self._body(silent.topic, silent.sealed, silent.id, field, silent.feed_id)
        streams = self._of_stream(silent.stream_id)
        return streams or None if found is None else found | streams

    def letter(self, silent: Silent, line: sealing.Key) -> set[UUID] | None:
        """Whom of them a dead letter's record is about; None where that can't be told.

        Nobody, of another tenant's, and of one that is empty. Raises ``EnvelopeInvalid`` where
        the line's key doesn't open it.
        """
        _, value = open_record(silent.id, silent.sealed, line)
        if value is None:
            return set()
        if silent.topic not in _SEALED:
            return None
        try:
            said = self._said(silent.topic, value)
        except Undecodable:
            return None
        if said["tenant_id"] != str(self.keys.tenant_id):
            return set()
        field, named = _SEALED[silent.topic]
        feed = UUID(said["feed_id"]) if "feed_id" in said else None
        streams = self._of_stream(UUID(said["stream_id"]) if "stream_id" in said else None)
        found = self._body(silent.topic, said[field], UUID(said[named]), field, feed)
        return streams or None if found is None else found | streams

    def _of_stream(self, stream_id: UUID | None) -> set[UUID]:
        if stream_id is None:
            return set()
        whose = stream_id if stream_id in self.people else self.streams.get(stream_id)
        return set() if whose is None else {whose}

    def _said(self, topic: str, value: bytes) -> dict[str, Any]:
        record = HL7V2.records[0] if topic == HL7V2.name else COMMANDS.records[0]
        said = self.codec.decode_as(record, value)
        flaw = formed.flaw(record, said)
        if flaw is not None:
            raise Undecodable("malformed", flaw)
        return said

    def _body(
        self, topic: str, sealed: bytes, record: UUID, field: str, feed_id: UUID | None
    ) -> set[UUID] | None:
        try:
            clear = self.keys.open(sealed, person=None, record=record, field=field)
        except (EnvelopeInvalid, KeyMissing):
            return None
        if topic == COMMANDS.name:  # Avro writes an id as its text
            return {UUID(each.decode()) for each in _IDS.findall(clear)} & self.people
        feed = None if feed_id is None else self.feeds.get(feed_id)
        found = mentioned(clear, feed or Feed(feed_id=record, tenant_id=record, name="-"))
        hashed = [
            (each.authority[:200], UUID(bytes=lookup(self.keys.identity, each))) for each in found
        ]
        if feed is None:  # whose authority stands for one that isn't said can't be told
            values = {value for _, value in hashed}
            return {person for (_, value), person in self.names.items() if value in values}
        return {self.names[each] for each in hashed if each in self.names} if found else None
