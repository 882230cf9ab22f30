"""Everything that a hospital's rows and records hold, opened by whoever has every key at hand."""

import re
from base64 import b64decode
from dataclasses import dataclass, field

from schemas import sealing
from schemas.codec import Undecodable
from schemas.sealing import EnvelopeInvalid
from schemas.topics import ERASURES
from sinks.keyring import Keyring
from streams import log
from streams.publications import clinical_events, trajectory_points
from tests.ops.erased import ROOT
from tests.streams.ledger.told import CODEC

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{16,}={0,2}")
_HEX = re.compile(rb"\\x((?:[0-9a-f]{2}){8,})")
_TABLES = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
ORDER BY 1
"""


@dataclass
class Scan:
    """The canaries that stand in clear, and those that an envelope gives up."""

    pattern: re.Pattern
    keys: dict  # by their commitments
    clear: set = field(default_factory=set)
    opened: set = field(default_factory=set)

    def look(self, data: bytes, *, inside: bool = False) -> None:
        """Look at bytes, and into whatever they encode or seal."""
        (self.opened if inside else self.clear).update(self.pattern.findall(data))
        for piece in _pieces(data):
            self.look(piece, inside=inside)
            for clear in self._opened(piece):
                self.look(clear, inside=True)

    def _opened(self, envelope):
        try:
            told = sealing.header(envelope)
        except EnvelopeInvalid:
            return
        key = self.keys.get(envelope[7:39])  # it commits to one: no other opens it
        if key is not None:
            person = None if told.person == sealing.NOBODY else told.person
            yield sealing.open_sealed(
                envelope, key, tenant=told.tenant, person=person, record=told.record,
                field=told.field,
            )  # fmt: skip


def _pieces(data):
    """What stands encoded in bytes: base64, PostgreSQL's hex, a record of ours."""
    for found in _BASE64.findall(data):
        if len(found) % 4 == 0:
            yield b64decode(found)
    for found in _HEX.findall(data):
        yield bytes.fromhex(found.decode())
    if data[:1] == b"\0":
        try:
            _, value = CODEC.decode(data)
        except Undecodable:
            return
        yield from _bytes(value)


def _bytes(value):
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _bytes(each)


def everything(ward):
    """Every row of every table, as text, and every record of topics but those of raw messages."""
    for table in (row["relname"] for row in ward.store.rows(_TABLES)):
        for row in ward.store.rows(f"SELECT to_jsonb(each)::text AS said FROM {table} AS each"):
            yield row["said"].replace("\\\\x", "\\x").encode()
    encode = clinical_events(CODEC).encode
    for row in ward.events():
        out = encode(row)
        yield from (out.key, out.value, *(value for _, value in out.headers))
    points = trajectory_points(CODEC).encode
    for row in ward.points():
        yield points(row).value
    for _, _, _, found in log.pieces(ward.servers, ERASURES.name, {}):
        for record in found:
            yield from (record.key() or b"", record.value())


def scan(ward, pattern):
    """Look for canaries everywhere, with every key that there is."""
    ring = Keyring(ward.store.database, ROOT)
    keys = ring.tenant(ward.tenant)
    people = ward.store.rows(
        "SELECT DISTINCT subject_id FROM subject_keys WHERE tenant_id = %s", ward.tenant
    )
    found = ring.reading([(ward.tenant, row["subject_id"]) for row in people])
    at_hand = [*keys.data.values(), ROOT.line()]
    at_hand += [key for subject in found.values() for key in subject.keys.values()]
    done = Scan(pattern, {key.commitment: key for key in at_hand})
    for each in everything(ward):
        done.look(each)
    return done
