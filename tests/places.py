"""The places where a canary may have got to: files, records, tables, processes."""

import gzip
import mmap
import os
import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import cramjam
import psycopg
from psycopg import sql

from ops.stack.state import PostgresServer
from tests.needles import Hit, Needles

CONNECT_SECONDS = 5
# Kafka's record batch, version 2: https://kafka.apache.org/documentation/#recordbatch
_BATCH = struct.Struct(">qiibIhiqqqhii")
_LENGTH_AT = 12  # of what follows the first offset and the length
_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_XERIAL = b"\x82SNAPPY\0"
RELATION = re.compile(r"(\d+)(?:_[a-z]+)?(?:\.\d+)?")
FIRST_OF_USERS = 16384  # relations below are the catalogue, made by initdb
_TABLES = """
SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  AND pg_relation_size(c.oid) > 0
ORDER BY 1
"""


class Unreadable(AssertionError):  # noqa: N818  named for what is wrong
    """A place can't be searched, so that nothing is known of it."""


def home(needles: Needles, folder: Path) -> list[Hit]:
    """Whatever a line keeps in its home: logs, state, copies, Kafka's and PostgreSQL's data."""
    hits = []
    for path in files(folder):
        inside = path.relative_to(folder).parts
        if inside[0] == "kafka" and path.suffix == ".log":
            hits += segment(needles, path)
        elif "postgres" not in inside[0]:
            hits += needles.in_file(path)
    return hits


def cluster(needles: Needles, markers: Needles, folder: Path) -> list[Hit]:
    """PostgreSQL's files. In its log and catalogue, which are large, only markers are searched."""
    hits = []
    for path in files(folder):
        inside = path.relative_to(folder).parts
        if "installed" in inside:
            continue
        hits += (needles if _of_users(inside) else markers).in_file(path)
    return hits


def _of_users(inside: tuple[str, ...]) -> bool:
    """Whether it is a relation that somebody made, or no relation at all."""
    if "pg_wal" in inside:
        return False
    found = RELATION.fullmatch(inside[-1]) if "base" in inside or "global" in inside else None
    return found is None or int(found[1]) >= FIRST_OF_USERS


def segment(needles: Needles, path: Path) -> list[Hit]:
    """A file of Kafka's log, decompressed; a hit says which part of a record it is in."""
    hits: list[Hit] = []
    with suppress(FileNotFoundError), path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return hits
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for offset, records, control in batches(data, path):
                place = f"{path.parent.name} from offset {offset}"
                if not control and needles.in_bytes(place, records):
                    hits += [
                        hit
                        for part, field in parts(records)
                        for hit in needles.in_bytes(f"{place}, {part}", field)
                    ]
    return hits


def batches(data: mmap.mmap, path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """First offset, decompressed records, and whether they are the broker's own marks."""
    at = 0
    while at + _BATCH.size <= len(data):
        first, length, _, magic, _, attributes, *_ = _BATCH.unpack_from(data, at)
        end = at + _LENGTH_AT + length
        if length <= 0 or end > len(data):
            return  # being written, or the zeros of a preallocated file
        if magic != 2:
            raise Unreadable(f"a batch of an unknown version in {path}: {magic}")
        codec = _CODECS[attributes & 7]
        yield first, decompressed(codec, data[at + _BATCH.size : end]), bool(attributes & 32)
        at = end


def decompressed(codec: str, data: bytes) -> bytes:
    """The records of a batch."""
    match codec:
        case "none":
            return data
        case "gzip":
            return gzip.decompress(data)
        case "lz4":
            return bytes(cramjam.lz4.decompress(data))
        case "zstd":
            return bytes(cramjam.zstd.decompress(data))
    if not data.startswith(_XERIAL):
        return bytes(cramjam.snappy.decompress_raw(data))
    clear, at = b"", 16  # the name and two versions
    while at < len(data):
        (length,) = struct.unpack_from(">i", data, at)
        clear += bytes(cramjam.snappy.decompress_raw(data[at + 4 : at + 4 + length]))
        at += 4 + length
    return clear


def parts(records: bytes) -> Iterator[tuple[str, bytes]]:
    """Key, value and headers of each record, by what they are."""
    at = 0
    while at < len(records):
        length, at = _varint(records, at)
        end, at = at + length, at + 1
        for _ in range(2):  # the record's time and offset, after the batch's
            _, at = _varint(records, at)
        for name in ("key", "value"):
            field, at = _field(records, at)
            yield name, field
        count, at = _varint(records, at)
        for _ in range(count):
            for name in ("header's name", "header"):
                field, at = _field(records, at)
                yield name, field
        at = end


def _field(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = _varint(data, at)
    return data[at : at + max(length, 0)], at + max(length, 0)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag number and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return (value >> 1) ^ -(value & 1), at


def databases(server: PostgresServer) -> list[str]:
    """The addresses of its databases, once all that they hold is in its files."""
    with psycopg.connect(
        server.superuser_url(), autocommit=True, connect_timeout=CONNECT_SECONDS
    ) as connection:
        connection.execute("CHECKPOINT")
        names = connection.execute("SELECT datname FROM pg_database WHERE datallowconn")
        return [server.superuser_url(name) for (name,) in names if name != "template1"]


def rows(needles: Needles, url: str) -> list[Hit]:
    """Every row of a database: in its files long values are compressed."""
    hits = []
    with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
        connection.execute("SET statement_timeout = '60s'; SET lock_timeout = '5s'")
        for (table,) in connection.execute(_TABLES).fetchall():
            # In the binary form, bytes are bytes and texts are texts.
            copy = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT binary)").format(
                sql.SQL(table)  # quoted by regclass
            )
            with connection.cursor().copy(copy) as copied:
                for piece in _gathered(copied):
                    hits += needles.in_bytes(f"table {table}", piece)
    return hits


def _gathered(rows: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """Whole rows, joined to pieces of about a mebibyte."""
    held = bytearray()
    for row in rows:
        held += row
        if len(held) >= 1 << 20:
            yield bytes(held)
            held.clear()
    yield bytes(held)


def command_lines(needles: Needles, temporary: str) -> list[Hit]:
    """The command lines of all processes of this run, known by its temporary folder."""
    hits, folder = [], os.fsencode(temporary)
    told = (b"TMPDIR=%s\0" % folder, b"WARDTRAIL_HOME=%s/" % folder)
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with suppress(OSError):
                line = (process / "cmdline").read_bytes()
                environment = (process / "environ").read_bytes()
                if folder + b"/" in line or any(each in environment for each in told):
                    hits += needles.in_bytes("command line", line)
    return hits


def files(folder: Path) -> Iterator[Path]:
    """All regular files below a folder, though it changes meanwhile."""
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at) / name
            if path.is_file() and not path.is_symlink():
                yield path
