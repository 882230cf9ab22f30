"""A folder that is watched: whole files in it are sent, and moved with what was answered.

A file is whole when it was renamed into the folder, or hasn't changed for a while; names of
files that are being written are passed over. What is sent and not yet moved when the process
ends is sent again, and the ledger drops what it knows by the messages' ids.
"""

import fcntl
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from producers import batches, client
from producers.answers import ACCEPTING
from producers.client import Result
from producers.files import DAMAGED, Split, split

DONE, FAILED = "done", "failed"
RESPONSE = ".ack"  # behind the file's own name
FILES_MAX = 1_000  # looked at in a round; more wait for the next
ENTRIES_MAX = 100_000  # of the folder: what is passed over must not hide what is not for ever
FILE_BYTES_MAX = 256 * 1024 * 1024  # a file is read whole, and its messages held beside it
SAME_NAMES_MAX = 10_000  # of a file that comes again and again under one name
# As senders name what they still write, and what we write ourselves.
_UNFINISHED = re.compile(r"\..*|.*(?:\.tmp|\.part|\.partial|\.filepart|\.ack|~)", re.IGNORECASE)

Send = Callable[[Sequence[bytes]], list[Result]]


class FolderTaken(Exception):  # noqa: N818  named for what is wrong
    """Another process watches the folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A file as it was seen: as long as this stays the same, nobody writes it."""

    inode: int
    size: int
    changed_ns: int
    modified_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What became of a file's messages; ``moved`` is where it went, None where it stays."""

    moved: str | None
    messages: int = 0
    refused: int = 0
    why: str | None = None


@dataclass(slots=True, kw_only=True)
class Folder:
    """The files of a folder, and since when each is as it is."""

    path: Path
    quiet_seconds: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[Look, float]] = field(default_factory=dict)

    def whole(self) -> list[Path]:
        """Files that nobody writes any more, the oldest first."""
        now = self.clock()
        looks = _looks(self.path)
        self._seen = {
            name: self._seen[name] if self._seen.get(name, (None,))[0] == look else (look, now)
            for name, look in looks.items()
        }
        ready = [name for name, (_, at) in self._seen.items() if now - at >= self.quiet_seconds]
        order = sorted(ready, key=lambda name: (looks[name].modified_ns, name))
        return [self.path / name for name in order[:FILES_MAX]]

    @property
    def waits(self) -> bool:
        """Whether files are there that aren't known to be whole."""
        now = self.clock()
        return any(now - at < self.quiet_seconds for _, at in self._seen.values())

    def take(self, file: Path, send: Send) -> Told:
        """Send a file's messages and move it, with their answers beside it.

        It stays where it is if a message got no answer, or if it changed meanwhile.
        """
        before = self._seen[file.name][0]
        try:
            found, why = _read(file)
        except FileNotFoundError:
            return Told(moved=None, why="it was taken away")
        if found is None or not found.messages:
            return Told(moved=_moved(file, FAILED, None), why=why or "no HL7 message in it")
        results = send([piece.body for piece in found.messages])
        refused = sum(each.code not in ACCEPTING for each in results if not _answerless(each))
        messages = len(results)
        if any((each.cause or "").startswith(client.NO_ANSWER) for each in results):
            return Told(moved=None, messages=messages, why=client.NO_ANSWER)
        if _looks(self.path).get(file.name) != before:
            return Told(moved=None, messages=messages, why="it was written while it was sent")
        where = FAILED if refused else DONE
        moved = _moved(file, where, response(found, results))
        return Told(moved=moved, messages=messages, refused=refused)


def response(found: Split, results: Sequence[Result]) -> bytes | None:
    """What was answered: an acknowledgement, or a response batch; None if there was no answer."""
    said = [each.said for each in results if each.said is not None]
    batch = batches.of(found)
    if batch is None:
        return said[0] if said else None
    at = datetime.now(UTC)
    return batches.together(batch, said, at=at, own_id=f"w{time.time_ns():x}"[:20])


@contextmanager
def watched(path: Path) -> Iterator[None]:
    """Watch a folder as the only one; raises :class:`FolderTaken`."""
    for name in (DONE, FAILED):
        (path / name).mkdir(mode=0o700, exist_ok=True)
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderTaken(f"another process watches this folder: {path}") from None
        yield
    finally:
        os.close(handle)


def _looks(path: Path) -> Mapping[str, Look]:
    """The files of a folder that may be taken; what is no plain file is passed over."""
    looks = {}
    with os.scandir(path) as entries:
        for entry in islice(entries, ENTRIES_MAX):
            if _UNFINISHED.fullmatch(entry.name):
                continue
            try:
                if not entry.is_file(follow_symlinks=False):
                    continue
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:  # renamed since
                continue
            looks[entry.name] = Look(
                inode=found.st_ino, size=found.st_size,
                changed_ns=found.st_ctime_ns, modified_ns=found.st_mtime_ns,
            )  # fmt: skip
    return looks


def _read(file: Path) -> tuple[Split | None, str | None]:
    """A file taken apart; or None, and why it can't be."""
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except PermissionError:
        return None, "it may not be read"
    if len(data) > FILE_BYTES_MAX:
        return None, f"it has more bytes than: {FILE_BYTES_MAX}"
    found = split(data)
    damaged = any(stray.cause == DAMAGED for stray in found.strays)
    return (None, DAMAGED) if damaged else (found, None)


def _answerless(result: Result) -> bool:
    """Whether it gets no answer: an acknowledgement (rule I5), or one that asks for none."""
    return result.cause in (client.ACKNOWLEDGEMENT, client.NOT_ASKED)


def _moved(file: Path, where: str, said: bytes | None) -> str:
    """Move a file, the answer first: what is there has its answer beside it."""
    folder = file.parent / where
    names = (file.name, *(f"{file.name}.{number}" for number in range(1, SAME_NAMES_MAX)))
    target = next((folder / name for name in names if not (folder / name).exists()), None)
    if target is None:
        raise FileExistsError(17, "too many files of one name", str(folder))
    if said is not None:
        handle, fresh = tempfile.mkstemp(dir=folder, prefix=".")  # mode 0600
        with os.fdopen(handle, "wb") as stream:
            stream.write(said)
            stream.flush()
            os.fsync(stream.fileno())
        Path(fresh).replace(target.with_name(target.name + RESPONSE))
    file.rename(target)
    return where
