"""Searches what a test run leaves behind for its sample people (invariant 12).

Everybody whom the simulator makes carries a marker; other people are registered here, or read out
of the corpus. They are looked for in what tests print and log, in expected exceptions, in refused
requests, in command lines, in temporary files, in homes and in databases, before these are
removed. What may show them is listed below, with the reason. (PYTEST_DONT_REWRITE: the servers'
fixtures import this before it is loaded as a plugin.)
"""

import http.client
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, wraps
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from ops.settings import Settings
from ops.simulator import MARKER
from ops.stack import stack
from ops.stack.state import read
from tests import places, sampled
from tests.needles import Hit, Needles, distinctive, marker, numbers_after

REGISTERED = (
    "Canaryname", "Canarystreet", "CANARYMRN", "CANARYVISIT", "CANARY-4711", "V-CANARY-1",
)  # fmt: skip
# Commands whose standard output answers who asks about a person, or makes people up.
SHOWING = frozenset({"export", "simulate", "where", "timeline", "census", "contacts"})
# Tests that put a canary where it mustn't be, to see it refused: the place and why.
ALLOWED = {
    "test_a_place_at_a_time_by_admission_and_by_visit_number": ("command line", "refused there"),
    "test_a_path_that_was_not_walked_is_untrue": ("exception Untrue", "names the visit at fault"),
}
SAID_BYTES_MAX = 1 << 20  # of one answer; the rest isn't looked at

SAMPLE_SECONDS = 1.0  # between two looks at all processes: one takes some milliseconds

_heard: list[Hit] = []  # since the last test's end
_sampled = 0.0


class Leaked(AssertionError):  # noqa: N818  named for what is wrong
    """Sample people stand outside their ciphertext."""

    def __init__(self, hits: Iterable[Hit]) -> None:
        lines = "\n  ".join(dict.fromkeys(map(str, hits)))
        super().__init__(f"canaries stand in clear:\n  {lines}")


@cache
def markers() -> Needles:
    """Whatever the simulator makes."""
    return Needles([*marker(MARKER), *numbers_after("+999", 8)])


@cache
def everybody() -> Needles:
    """All sample people: the simulator's, those of tests, and those of the corpus."""
    named = [value for value in REGISTERED if distinctive(value)]
    assert len(named) == len(REGISTERED), "a canary that may stand anywhere shows nothing"
    return Needles(
        [*marker(MARKER), *numbers_after("+999", 8)], [*named, *sampled.people(sampled.corpus())]
    )


def search_home(settings: Settings) -> None:
    """Search a home with its servers' data, before it is wiped; raises Leaked."""
    folder, known = settings.home, everybody()
    state = read(folder)
    hits = places.home(known, folder)
    hits += known.in_text("status", repr(stack.status(settings)))
    if state.postgres is not None:
        if state.running("postgres"):
            for url in places.databases(state.postgres):
                hits += places.rows(known, url)
        hits += places.cluster(known, markers(), state.postgres.folder)
    if state.running("serve"):
        hits += _metrics(known, state.ports["http"])
    if hits:
        raise Leaked(hits)


def search_database(url: str) -> None:
    """Search the rows of a database, before it is dropped; raises Leaked."""
    if hits := places.rows(everybody(), url):
        raise Leaked(hits)


def hear(place: str, said: str | bytes) -> None:
    """Search what was said; the test that runs fails by it at its end."""
    data = said if isinstance(said, bytes) else said.encode("utf-8", "backslashreplace")
    _heard.extend(everybody().in_bytes(place, data[:SAID_BYTES_MAX]))


def hear_command(arguments: Sequence[str], stdout: str, stderr: str) -> None:
    """Search what a command printed; its answer only if it isn't about the person asked for."""
    name = arguments[0] if arguments else ""
    hear(f"standard error of {name}", stderr)
    if name not in SHOWING:
        hear(f"standard output of {name}", stdout)


def taken() -> list[Hit]:
    """What was heard since it was last asked."""
    hits = _heard.copy()
    _heard.clear()
    return hits


def _metrics(known: Needles, port: int) -> list[Hit]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return known.in_bytes("metrics", connection.getresponse().read())
    except OSError:
        return []  # it was killed by the test
    finally:
        connection.close()


# The plugin


def pytest_configure(config: pytest.Config) -> None:
    """Listen to processes that start, to exceptions, to refusals and to commands."""
    if getattr(sys, "_canaries_listen", False):
        return
    sys._canaries_listen = True  # type: ignore[attr-defined]  # an audit hook is never removed
    sys.addaudithook(_started)
    after(pytest.RaisesExc, "__exit__", _raised)
    after(web.Response, "__init__", _answered)
    after(http.client.HTTPResponse, "read", _received)
    after(CliRunner, "invoke", _invoked)
    after(pytest.CaptureFixture, "readouterr", _printed)


def after(owner: type, name: str, listen: Callable[..., None]) -> None:
    """Have a method's arguments and result listened to."""
    plain = getattr(owner, name)

    @wraps(plain)
    def listened(self: Any, *arguments: Any, **named: Any) -> Any:
        result = plain(self, *arguments, **named)
        listen(self, result, *arguments, **named)
        return result

    setattr(owner, name, listened)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Fail a test at its end by what was heard of it, printed and logged."""
    report = yield
    _sample()
    if call.when == "teardown":
        for name, text in report.sections:
            hear(name, text)
        kind, _ = ALLOWED.get(item.originalname, ("", ""))  # type: ignore[attr-defined]
        hits = [hit for hit in taken() if not kind or not hit.place.startswith(kind)]
        if hits and report.passed:
            report.outcome, report.longrepr = "failed", str(Leaked(hits))
    return report


def _sample() -> None:
    """Look at the processes that run now; not after each of thousands of short tests."""
    global _sampled
    now = time.monotonic()
    if now - _sampled >= SAMPLE_SECONDS:
        _sampled = now
        _heard.extend(places.command_lines(markers(), tempfile.gettempdir()))


@pytest.fixture(scope="session", autouse=True)
def temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary folder of this run's own, whose files are searched at its end."""
    tmp_path_factory.getbasetemp()  # what tests write as their input stays beside it
    folder = Path(tempfile.mkdtemp(prefix="wardtrail-test-"))
    folder.chmod(0o711)  # the database's account has to get through
    before, was = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield folder
        search_files(folder)
    finally:
        tempfile.tempdir = before
        os.environ.pop("TMPDIR")
        os.environ.update({"TMPDIR": was} if was else {})
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def _files_of_a_module(
    temporary_files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Homes without servers, and temporary files, are searched when a module is through."""
    yield
    homes = tmp_path_factory.getbasetemp().glob("*/home")
    search_files(temporary_files, *homes)


def search_files(*folders: Path) -> None:
    """Search all files but those of homes that are still used; raises Leaked."""
    hits = [
        hit
        for folder in folders
        for path in places.files(folder)
        if not any(part.startswith("wardtrail-") for part in path.relative_to(folder).parts[:-1])
        for hit in everybody().in_file(path)
    ]
    if hits:
        raise Leaked(hits)


def _started(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: the command line of every process that this one starts."""
    if event == "subprocess.Popen":
        words = arguments[1]
        listed = [words] if isinstance(words, str | bytes | os.PathLike) else list(words)
        hear("command line", b"\0".join(os.fsencode(each) for each in listed))


def _raised(_: Any, matched: bool, _kind: Any, error: BaseException | None, *_rest: Any) -> None:
    chain = [error, error and error.__cause__]
    for each in chain:
        if each is not None and not isinstance(each, pytest.fail.Exception | Leaked):
            hear(f"exception {type(each).__name__}", str(each))


def _answered(response: web.Response, *_: Any, **__: Any) -> None:
    if response.status >= 400 and isinstance(response.body, bytes):
        hear(f"answer {response.status}", response.body)


def _received(response: http.client.HTTPResponse, body: bytes, *_: Any, **__: Any) -> None:
    if response.status >= 400:
        hear(f"answer {response.status}", body)


def _invoked(_: Any, result: Any, _main: Any, arguments: Any = (), **__: Any) -> None:
    with suppress(ValueError):  # where standard error isn't kept apart
        hear_command([str(each) for each in arguments or ()], result.stdout, result.stderr)


def _printed(_: Any, captured: Any) -> None:
    hear("standard output", captured.out)
    hear("standard error", captured.err)
