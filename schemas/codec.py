"""The wire format: byte 0, four bytes of schema id, one Avro record; the only code that knows."""

import json
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from random import SystemRandom
from typing import Any

import cavro
import fastavro

from schemas import catalogue
from schemas.topics import RECORD_BYTES_MAX

_HEAD = struct.Struct(">BI")
HEAD_BYTES = _HEAD.size
SCHEMA_ID_MAX = 2**32 - 1
ASK_SECONDS = 10.0  # a stream of foreign records mustn't become a stream of questions
_END = cavro.Schema({"type": "double"})
# Put behind a record's bytes and read after it: who finds it there has read all of them and no
# more. cavro tells its place in no other way, and its complaint at the end costs half a µs. No
# sender knows this number, so none can write it there.
_MARK = SystemRandom().random()
_MARK_BYTES = _END.binary_encode(_MARK)


class Undecodable(Exception):  # noqa: N818  named for what is wrong
    """The bytes are no record of ours. ``cause`` is one word; nothing of the content is said.

    Causes: ``empty``, ``too_large``, ``magic``, ``schema_id``, ``cut``, ``trailing``,
    ``malformed``, ``record``. ``index`` is the place in the batch, where there is one.
    """

    def __init__(self, cause: str, said: str, index: int | None = None) -> None:
        self.cause = cause
        self.said = said
        self.index = index
        super().__init__(said)


class Unencodable(Exception):  # noqa: N818  named for what is wrong
    """The value doesn't fit its record: our own mistake. Never says the value."""


class IdsInvalid(Exception):  # noqa: N818  named for what is wrong
    """The stored schema ids can't be read, or are of another catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """An older version of a record's schema, under which records still lie in the topics."""

    schema_id: int
    record: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """The registry's ids: of each record's present schema, and of the older ones.

    ``foreign`` are events of which only a newer release knows more than the envelope.
    """

    newest: Mapping[str, int]
    older: tuple[Writer, ...] = field(default=())
    foreign: tuple[Writer, ...] = field(default=())

    def __post_init__(self) -> None:
        missing = set(catalogue.records()) - set(self.newest)
        if missing:
            raise IdsInvalid(f"schema ids are missing for: {', '.join(sorted(missing))}")
        every = [*self.newest.values(), *(writer.schema_id for writer in self.older)]
        if len(set(every)) != len(every) or not all(0 <= one <= SCHEMA_ID_MAX for one in every):
            raise IdsInvalid("schema ids are not distinct numbers of four bytes")

    @classmethod
    def in_order(cls) -> "Ids":
        """Ids 1, 2, 3 … in the catalogue's order, for programs that have no registry."""
        return cls(newest={record: n for n, record in enumerate(catalogue.records(), start=1)})

    def dumps(self) -> str:
        """As JSON, to be stored beside the settings while the registry can be asked."""
        older, foreign = (
            [[writer.schema_id, writer.record, writer.text] for writer in writers]
            for writers in (self.older, self.foreign)
        )
        schemas = {record: catalogue.text(record) for record in self.newest}
        return json.dumps(
            {"newest": dict(self.newest), "older": older, "foreign": foreign, "schemas": schemas}
        )

    @classmethod
    def loads(cls, stored: str) -> "Ids":
        """Out of JSON; :class:`IdsInvalid` if it was stored by another catalogue."""
        try:
            loaded = json.loads(stored)
            newest = {str(record): int(number) for record, number in loaded["newest"].items()}
            older, foreign = (
                tuple(
                    Writer(schema_id=int(number), record=str(record), text=str(text))
                    for number, record, text in writers
                )
                for writers in (loaded["older"], loaded.get("foreign", ()))
            )
            schemas = loaded["schemas"]
            same = all(schemas[record] == catalogue.text(record) for record in newest)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise IdsInvalid("stored schema ids can't be read; ask the registry again") from None
        if not same:
            raise IdsInvalid("stored schema ids are of other schemas; ask the registry again")
        return cls(newest=newest, older=older, foreign=foreign)


class Codec:
    """Encodes by the newest schemas; decodes what any registered version of them wrote.

    The newest version is read by cavro in half of fastavro's time, the older ones by fastavro,
    which resolves them with the newest; a test holds the two to the same values.

    ``ask`` is the registry's answer as of now. It is asked, at most every ``ASK_SECONDS``, when
    a record has an id that isn't known: a newer release may have begun to write. What it raises
    comes out of :meth:`decode`, for such a record is neither good nor bad yet. Of an event whose
    record only that release knows the envelope is read, without ``data``.
    """

    __slots__ = ("_ask", "_asked_at", "_newest", "_older", "_writers")

    def __init__(self, ids: Ids, ask: Callable[[], Ids] | None = None) -> None:
        self._ask = ask
        self._asked_at = -ASK_SECONDS
        self._learn(ids)

    def _learn(self, ids: Ids) -> None:
        """Know these ids from now on; other threads see the old ones or the new ones, whole."""
        writers: dict[str, tuple[bytes, Mapping[str, Any]]] = {}
        newest_readers: dict[bytes, tuple[str, cavro.Schema]] = {}
        older_readers: dict[bytes, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {}
        for record, number in ids.newest.items():
            if record not in catalogue.records():
                continue  # a record that a newer release knows
            head = _HEAD.pack(0, number)
            writers[record] = head, catalogue.parsed(record)
            newest_readers[head] = record, catalogue.reader(record)
        for writer in ids.older:
            if writer.record not in writers:
                continue
            try:
                older = catalogue.prepared(json.loads(writer.text))
            except catalogue.SchemaUnsafe:
                continue  # its records are refused like those of an unknown id
            newest = writers[writer.record][1]
            older_readers[_HEAD.pack(0, writer.schema_id)] = writer.record, older, newest
        for writer in ids.foreign:
            try:
                theirs = catalogue.foreign(writer.record, writer.text)
            except catalogue.SchemaUnsafe:
                continue
            found = writer.record, theirs, catalogue.envelope(writer.record)
            older_readers.setdefault(_HEAD.pack(0, writer.schema_id), found)
        self._writers, self._newest, self._older = writers, newest_readers, older_readers

    def decode(self, data: bytes) -> tuple[str, dict[str, Any]]:
        """Record name and value of one record; :class:`Undecodable` on anything else."""
        found = self._newest.get(data[:HEAD_BYTES])
        if found is None or len(data) > RECORD_BYTES_MAX:
            return self._decode_older(data)
        record, schema = found
        body = cavro.MemoryReader(data[HEAD_BYTES:] + _MARK_BYTES)
        try:
            value: dict[str, Any] = schema.binary_read(body)
            whole = _END.binary_read(body) == _MARK
        except Exception:  # whatever it is, its text may hold what was read
            whole = False
        if whole:
            return record, value
        raise _damaged(record, schema, data)

    def _decode_older(self, data: bytes) -> tuple[str, dict[str, Any]]:
        """A record of an older version of its schema, as the newest reads it."""
        found = self._older.get(data[:HEAD_BYTES])
        if found is None or len(data) > RECORD_BYTES_MAX:
            refusal = _refused(data)
            if refusal.cause == "schema_id" and self._asked():
                return self.decode(data)
            raise refusal
        record, writer, newest = found
        # fastavro doesn't notice the end of the bytes inside a field that the newest schema no
        # longer has; with a byte more it passes the end, and that is seen below.
        body = BytesIO(data + b"\0")
        body.seek(HEAD_BYTES)
        try:
            value: dict[str, Any] = fastavro.schemaless_reader(body, writer, newest)
        except EOFError:
            raise Undecodable("cut", f"record is cut short, bytes: {len(data)}") from None
        except Exception:  # whatever it is, its text may hold what was read
            raise Undecodable("malformed", f"record doesn't follow its schema: {record}") from None
        end = body.tell()
        if end > len(data):
            raise Undecodable("cut", f"record is cut short, bytes: {len(data)}")
        if end < len(data):
            raise Undecodable("trailing", f"bytes after the record: {record}")
        return record, value

    def _asked(self) -> bool:
        """Ask the registry, unless that was just done; whether it was asked."""
        now = time.monotonic()
        if self._ask is None or now - self._asked_at < ASK_SECONDS:
            return False
        ids = self._ask()
        self._asked_at = now
        self._learn(ids)
        return True

    def decode_as(self, record: str, data: bytes) -> dict[str, Any]:
        """The value of one record that must be a ``record``."""
        found, value = self.decode(data)
        if found != record:
            raise Undecodable("record", f"expected {record}, got: {found}")
        return value

    def decode_many(self, values: Sequence[bytes]) -> list[tuple[str, dict[str, Any]]]:
        """All of a batch in order; :class:`Undecodable` has the ``index`` of the first bad one."""
        decode = self.decode
        decoded: list[tuple[str, dict[str, Any]]] = []
        try:
            decoded.extend(map(decode, values))
        except Undecodable as error:
            raise Undecodable(error.cause, error.said, index=len(decoded)) from None
        return decoded

    def encode(self, record: str, value: Mapping[str, Any]) -> bytes:
        """The record's bytes on the wire; :class:`Unencodable` if the value doesn't fit it."""
        head, schema = self._writers[record]
        body = BytesIO()
        body.write(head)
        try:
            fastavro.schemaless_writer(body, schema, value, strict_allow_default=True)
        except Exception:  # whatever it is, its text holds the value
            raise Unencodable(f"value doesn't fit its record: {record}") from None
        if body.tell() > RECORD_BYTES_MAX:
            raise Unencodable(f"record is larger than {RECORD_BYTES_MAX} bytes: {body.tell()}")
        return body.getvalue()

    def known(self) -> Iterable[int]:
        """The schema ids that this codec decodes."""
        return sorted(_HEAD.unpack(head)[1] for head in {*self._newest, *self._older})


def _damaged(record: str, schema: cavro.Schema, data: bytes) -> Undecodable:
    """Why a record that isn't whole is refused."""
    try:
        schema.binary_decode(data[HEAD_BYTES:])
    except EOFError:
        return Undecodable("cut", f"record is cut short, bytes: {len(data)}")
    except Exception:  # whatever it is, its text may hold what was read
        return Undecodable("malformed", f"record doesn't follow its schema: {record}")
    return Undecodable("trailing", f"bytes after the record: {record}")


def _refused(data: bytes) -> Undecodable:
    """Why a record is refused before its first field is read."""
    if not data:
        return Undecodable("empty", "record has no bytes")
    if len(data) > RECORD_BYTES_MAX:
        return Undecodable("too_large", f"record is larger than {RECORD_BYTES_MAX}: {len(data)}")
    if data[0] != 0:
        return Undecodable("magic", f"record doesn't begin with byte 0 but: {data[0]}")
    if len(data) < HEAD_BYTES:
        return Undecodable("cut", f"record is cut short, bytes: {len(data)}")
    return Undecodable("schema_id", f"no schema of ours has this id: {_HEAD.unpack_from(data)[1]}")
