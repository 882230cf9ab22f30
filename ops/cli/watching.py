"""The command that watches a folder and sends the files in it."""

import asyncio
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from ops import certificates
from ops.cli.errors import Failed
from ops.cli.sending import WINDOW, secured
from ops.settings import Settings
from ops.watching import DONE, FAILED, Folder, FolderTaken, Send, Told, watched
from producers import client
from producers.client import Patience, Result

QUIET_SECONDS = 2.0
ROUND_SECONDS = 0.5  # between two looks
AWAY_SECONDS = 5.0  # after a file without an answer: the intake is away
# Shorter than `send` waits: the file stays where it is, and is sent again in the next round.
PATIENCE = Patience(without_progress=30.0)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--host", help="Where to; by default this line's own intake.")
@click.option("--port", type=click.IntRange(1, 65_535), help="The port there.")
@click.option(
    "--quiet-seconds",
    type=click.FloatRange(0, 3_600),
    default=QUIET_SECONDS,
    show_default=True,
    help="A file unchanged for so long is whole.",
)
@click.option("--once", is_flag=True, help="End when no file is left to take.")
@secured
def watch(
    folder: Path,
    host: str | None,
    port: int | None,
    quiet_seconds: float,
    once: bool,
    **named: Path | None,
) -> None:
    """Send the HL7 v2 files that come into a folder, as `send` does.

    A file goes to done/ when all its messages were accepted, else to failed/, with what was
    answered beside it (NAME.ack). Without an answer it stays, and is sent again. Names that
    begin with a dot or end with .tmp or .part are passed over until they are renamed.
    """
    settings = Settings.load()
    if port is None and not settings.mllp_port:
        raise Failed("no intake is up or named", "wardtrail up, or --host and --port")
    if not folder.is_dir():
        raise click.BadParameter(f"no such folder: {folder}", param_hint="DIR")
    context = certificates.to_send(settings, named, own=host is None and port is None)
    where = (host or settings.mllp_host, port or settings.mllp_port)

    def send(bodies: Sequence[bytes]) -> list[Result]:
        sent = client.send(*where, bodies, window=WINDOW, patience=PATIENCE, context=context)
        return asyncio.run(sent)

    files = Folder(path=folder, quiet_seconds=quiet_seconds)
    told: Counter[str] = Counter()
    away = False
    try:
        with _until_a_signal() as stop, watched(folder):
            while not stop.is_set():
                away = not _round(files, send, stop, told)
                if once and (away or not files.waits):
                    break
                stop.wait(AWAY_SECONDS if away else ROUND_SECONDS)
    except FolderTaken as taken:
        raise Failed(str(taken), "one process is enough") from None
    click.echo(f"{DONE} {told[DONE]}, {FAILED} {told[FAILED]}, messages {told['messages']}")
    if once and (told[FAILED] or away):
        raise Failed("not every file was taken whole", "see failed/ and the answers there")


@contextmanager
def _until_a_signal() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets; the file that is being sent is ended first."""
    stop = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: stop.set())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _round(files: Folder, send: Send, stop: threading.Event, told: Counter[str]) -> bool:
    """Take the files that are whole, in their order; False where one got no answer."""
    for file in files.whole():
        if stop.is_set():
            break
        became = files.take(file, send)
        _tell(became)
        if became.moved is None:
            return False
        told[became.moved] += 1
        told["messages"] += became.messages
    return True


def _tell(became: Told) -> None:
    """One line for each file, without its name: a file may be named after a patient."""
    where = became.moved or "waits"
    why = f": {became.why}" if became.why else ""
    click.echo(
        f"{where}: messages {became.messages}, refused {became.refused}{why}",
        err=became.moved != DONE,
    )
