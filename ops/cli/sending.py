"""The command that sends HL7 v2 files over MLLP and tells what was answered."""

import asyncio
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ops import certificates
from ops.cli import shown
from ops.cli.errors import Failed
from ops.settings import Settings
from producers import client
from producers.answers import ACCEPTING, ERRORS
from producers.client import Result
from producers.files import DAMAGED, Split, Stray, split

WINDOW = 16
WINDOW_MAX = 1_024
FILE_BYTES_MAX = 1024 * 1024 * 1024  # a file is read whole
CONNECT_SECONDS = 5.0
LISTED_MAX = 50  # answers other than AA and CA that people get to see; --json has them all
STDIN = "-"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One message with its place in its file, counted from 1, and what became of it."""

    file: str
    index: int
    result: Result


_Command = TypeVar("_Command", bound=Callable[..., Any])


def secured(command: _Command) -> _Command:
    """The options by which it is sent over TLS."""
    for decorate in (
        click.option("--tls-key", "key", type=_FILE, help="Its key, if in another file."),
        click.option("--tls-certificate", "certificate", type=_FILE, help="To show the server."),
        click.option("--tls-ca", "ca", type=_FILE, help="Speak TLS to a server of this CA."),
    ):
        command = decorate(command)
    return command


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--host", help="Where to; by default this line's own intake.")
@click.option("--port", type=click.IntRange(1, 65_535), help="The port there.")
@click.option(
    "--window",
    type=click.IntRange(1, WINDOW_MAX),
    default=WINDOW,
    show_default=True,
    help="How many messages may wait for their answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
@secured
def send(
    files: tuple[str, ...],
    host: str | None,
    port: int | None,
    window: int,
    as_json: bool,
    **named: Path | None,
) -> None:
    """Send the HL7 v2 messages of files over MLLP; - is standard input.

    A file may hold one message or many, in batches or not, with any line ends. A broken
    connection is opened again and what wasn't answered sent again. Exit code 1 if a message got
    no answer.
    """
    settings = Settings.load()
    if port is None and not settings.mllp_port:
        raise Failed("no intake is up or named", "wardtrail up, or --host and --port")
    where = (host or settings.mllp_host, port or settings.mllp_port)
    context = certificates.to_send(settings, named, own=host is None and port is None)
    found = {file: _split(file) for file in dict.fromkeys(files)}
    places = [
        (file, number)
        for file, inside in found.items()
        for number in range(1, len(inside.messages) + 1)
    ]
    strays = [(file, stray) for file, inside in found.items() for stray in inside.strays]
    if not places:
        causes = {DAMAGED for _, stray in strays if stray.cause == DAMAGED}
        raise Failed(f"no HL7 message in: {', '.join(found)}", *causes)
    bodies = [piece.body for inside in found.values() for piece in inside.messages]
    began = time.monotonic()
    results = deliver(where, bodies, window=window, said="sending", context=context)
    sent = [
        Sent(file=file, index=index, result=result)
        for (file, index), result in zip(places, results, strict=True)
    ]
    if as_json:
        shown.json(_report(sent, strays, time.monotonic() - began))
    else:
        _tell(sent, strays)
    damaged = sorted({file for file, stray in strays if stray.cause == DAMAGED})
    if damaged:
        raise Failed(f"nothing of these was sent: {', '.join(damaged)}", "write them out again")
    unanswered = [each for each in sent if not _answered(each.result)]
    if unanswered:
        raise Failed(
            f"messages without an answer: {len(unanswered)}",
            "send them again: what was taken already is dropped as a duplicate",
        )


def deliver(
    where: tuple[str, int],
    bodies: Sequence[bytes],
    *,
    window: int,
    said: str,
    context: ssl.SSLContext | None = None,
) -> list[Result]:
    """Send messages with a progress bar; a result for each, in their order.

    Raises `Failed` if nobody listens; once somebody did, a broken connection is opened again.
    """
    host, port = where
    try:
        socket.create_connection(where, CONNECT_SECONDS).close()
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise Failed(f"no intake at {host}:{port}: {why}", "wardtrail up") from None
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=shown.err(),
    ) as progress:
        task = progress.add_task(said, total=len(bodies))

        def answered(_index: int, _result: Result) -> None:
            progress.advance(task)

        return asyncio.run(
            client.send(host, port, bodies, window=window, answered=answered, context=context)
        )


def counted(results: Sequence[Result]) -> dict[str, int]:
    """How often each code was answered; always with AA, AE, AR and `none`."""
    codes = Counter(result.code or "none" for result in results)
    return {code: codes.get(code, 0) for code in ("AA", "AE", "AR", "none", *sorted(codes))}


def _split(file: str) -> Split:
    if file == STDIN:
        data = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
    else:
        path = Path(file)
        if not path.is_file():
            raise click.BadParameter(f"no such file: {file}", param_hint="FILE")
        with path.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise Failed(f"a file of at most {FILE_BYTES_MAX} bytes is read, not: {file}", "split it")
    return split(data)


def _answered(result: Result) -> bool:
    """Whether it got what it can get: some ask for no answer, an acknowledgement gets none."""
    return result.code is not None or result.cause in (client.ACKNOWLEDGEMENT, client.NOT_ASKED)


def _report(
    sent: Sequence[Sent], strays: Sequence[tuple[str, Stray]], seconds: float
) -> dict[str, Any]:
    return {
        "messages": len(sent),
        "sent": sum(each.result.sends > 0 for each in sent),
        "answers": counted([each.result for each in sent]),
        "seconds": round(seconds, 3),
        "not_accepted": [_refused(each) for each in sent if each.result.code not in ACCEPTING],
        "strays": [
            {"file": file, "cause": stray.cause, "start": stray.start, "end": stray.end}
            for file, stray in strays
        ],
    }


def _refused(each: Sent) -> dict[str, Any]:
    result = each.result
    return {
        "file": each.file,
        "index": each.index,
        "code": result.code,
        "error": result.error,
        "text": result.cause or (result.error and ERRORS.get(result.error)),
    }


def _tell(sent: Sequence[Sent], strays: Sequence[tuple[str, Stray]]) -> None:
    results = [each.result for each in sent]
    codes = ", ".join(f"{code} {count}" for code, count in counted(results).items())
    click.echo(f"sent {sum(result.sends > 0 for result in results)}: {codes}")
    refused = [_refused(each) for each in sent if each.result.code not in ACCEPTING]
    if refused:
        table = Table(box=None, pad_edge=False)
        for column in ("file", "message", "answer", "error", "text"):
            table.add_column(column, overflow="fold")
        for each in refused[:LISTED_MAX]:
            table.add_row(
                shown.plain(each["file"]),
                str(each["index"]),
                shown.plain(each["code"] or "none"),
                str(each["error"] or ""),
                each["text"] or "",
            )
        shown.out().print(table)
    if len(refused) > LISTED_MAX:
        click.echo(f"and {len(refused) - LISTED_MAX} more (hint: --json lists all)")
    for file, stray in strays[:LISTED_MAX]:
        shown.err().print(
            f"{file}: {stray.cause}: bytes {stray.start} to {stray.end}", markup=False
        )
    if len(strays) > LISTED_MAX:
        shown.err().print(f"and {len(strays) - LISTED_MAX} more pieces that are no message")
