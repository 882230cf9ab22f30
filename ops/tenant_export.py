"""Everything of one tenant, row by row, to a file that its owner alone may read."""

import hashlib
import os
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any
from uuid import UUID

import orjson

from ops import access
from ops.opening import People
from schemas import sealing
from schemas.sealing import EnvelopeInvalid, KeyMissing, Keys, Scope
from sinks import lifecycle

PAGE = 100  # rows whose people's keys are asked for at once; each may hold some MiB
_ENVELOPE = "AQE"  # how the base64 of one begins: version 1, AES-256-GCM


class ExportThere(Exception):  # noqa: N818  named for what is wrong
    """The file is there already; it is not written over."""


@dataclass(slots=True, kw_only=True)
class Written:
    """What was written: rows by table, the file's size and SHA-256."""

    as_of: datetime
    tables: dict[str, int] = field(default_factory=dict)
    unopened: int = 0  # envelopes whose key is gone, or is the line's own; or that are damaged
    size: int = 0
    sha256: str = ""


def write(
    url: str,
    tenant_id: UUID,
    file: Path,
    *,
    keys: Keys | None,
    people: People,
    tell: Callable[[str, int], None] = lambda _table, _rows: None,
) -> Written:
    """Write a tenant's rows as NDJSON; with ``keys``, what is sealed by them is opened.

    ``people`` gives the keys of those whom rows are about.

    Each line is ``{"table": …, "row": {…}}``; bytes are base64. One snapshot, streamed; the
    file has mode 0600 and its name only when it is whole.
    """
    digest = hashlib.sha256()
    with (
        lifecycle.exporting(url, tenant_id) as (connection, as_of),
        _whole(file) as stream,
    ):
        written = Written(as_of=as_of)
        opening = None if keys is None else Opening(keys, people)
        for table in lifecycle.exported_tables():
            count = 0
            rows = lifecycle.rows_of(connection, table, tenant_id)
            for shown in rows if opening is None else opening.rows(rows):
                line = orjson.dumps(
                    {"table": table, "row": shown}, default=_plain,
                    option=orjson.OPT_APPEND_NEWLINE,
                )  # fmt: skip
                stream.write(line)
                digest.update(line)
                written.size += len(line)
                count += 1
            written.tables[table] = count
            tell(table, count)
    written.unopened = 0 if opening is None else opening.unopened
    written.sha256 = digest.hexdigest()
    return written


def manifest(file: Path, written: Written, **said: object) -> Path:
    """Write down beside the file what it holds; also for its owner alone."""
    beside = file.with_name(f"{file.name}.manifest.json")
    told = {
        "file": file.name, "sha256": written.sha256, "bytes": written.size,
        "as_of": written.as_of.isoformat(), "rows": written.tables,
        "unopened": written.unopened, "left_out": "wrapped keys", **said,
    }  # fmt: skip
    access.write_private(beside, orjson.dumps(told, option=orjson.OPT_INDENT_2).decode() + "\n")
    return beside


@dataclass(slots=True)
class Opening:
    """Opens what rows hold sealed, wherever in them; what can't be opened stays as it is."""

    keys: Keys
    people: People
    unopened: int = 0

    def rows(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Any]:
        """The rows, opened, a page in memory at a time."""
        left = iter(rows)
        while page := list(islice(left, PAGE)):
            self.keys = self.keys.apart()
            wanted = {(self.keys.tenant_id, each) for each in _people(page)}
            found = self.people(wanted)
            self.keys.subjects.update({name[1]: subject for name, subject in found.items()})
            yield from map(self._shown, page)

    def _shown(self, value: Any) -> Any:  # noqa: ANN401  any JSON
        """The value with each envelope replaced by ``{"opened": …}``."""
        if isinstance(value, dict):
            return {name: self._shown(each) for name, each in value.items()}
        if isinstance(value, list):
            return [self._shown(each) for each in value]
        envelope = _envelope(value)
        return value if envelope is None else self._opened(value, envelope)

    def _opened(self, value: Any, envelope: bytes) -> Any:  # noqa: ANN401  any JSON
        header = sealing.header(envelope)
        if header.scope is Scope.LINE:
            self.unopened += 1
            return value
        person = None if header.person == sealing.NOBODY else header.person
        try:
            clear = self.keys.open(
                envelope, person=person, record=header.record, field=header.field
            )
        except (EnvelopeInvalid, KeyMissing):
            self.unopened += 1
            return value
        return {"opened": _said(clear)}


def _people(value: Any) -> Iterator[UUID]:  # noqa: ANN401  any JSON
    """Whom the envelopes in a value are about."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _people(each)
    elif (envelope := _envelope(value)) is not None:
        header = sealing.header(envelope)
        if header.scope is not Scope.LINE and header.person != sealing.NOBODY:
            yield header.person


def _envelope(value: object) -> bytes | None:
    """The envelope that a value is, None where it is something else."""
    envelope = value
    try:
        if isinstance(value, str) and value.startswith(_ENVELOPE):
            envelope = sealing.untext(value)
        if not isinstance(envelope, bytes):
            return None
        sealing.header(envelope)
    except EnvelopeInvalid:  # a text that begins like one
        return None
    return envelope


def _said(clear: bytes) -> object:
    """What was sealed, as JSON shows it best."""
    try:
        return orjson.loads(clear)
    except orjson.JSONDecodeError:
        pass
    try:
        return clear.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(clear).decode()}


@contextmanager
def _whole(file: Path) -> Iterator[IO[bytes]]:
    if file.exists():
        raise ExportThere(f"the file is there already: {file}")
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.link(part, file)  # fails where somebody made the file meanwhile
    finally:
        part.unlink(missing_ok=True)


def _plain(value: object) -> str:
    return b64encode(value).decode() if isinstance(value, bytes) else str(value)
