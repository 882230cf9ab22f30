"""The command that asks for something over HTTP and tells what became of it."""

import http.client
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import orjson

from ops import keys
from ops.cli import shown
from ops.cli.errors import MISUSED, Failed
from ops.commands import BODY_BYTES_MAX, WAIT_SECONDS_MAX
from ops.openapi import PREFIX
from ops.posting import PREFER
from ops.route import JSON
from ops.settings import Settings
from schemas.commands import TYPES

WAIT_SECONDS = 5
REPLY_SECONDS = 15.0  # of waiting for the answer beyond what was asked to be waited
ANSWER_BYTES_MAX = 1024 * 1024
STDIN = "-"
NEEDED = (400, 404, 413, 415)  # what another body would change


@dataclass(frozen=True, slots=True)
class Answer:
    """What the port said."""

    status: int
    body: Mapping[str, Any]


@click.command()
@click.argument("command_type", metavar="TYPE")
@click.option("--stream", type=click.UUID, required=True, help="The id of what is asked.")
@click.option("--expected-version", type=click.IntRange(0), help="Refuse unless it stands there.")
@click.option(
    "--data",
    default=STDIN,
    show_default=True,
    metavar="FILE",
    help="The data, as JSON; - is standard input.",
)
@click.option(
    "--id",
    "command_id",
    type=click.UUID,
    help="The command's id, to send the same one again; by default a new one.",
)
@click.option(
    "--wait",
    type=click.IntRange(0, WAIT_SECONDS_MAX),
    default=WAIT_SECONDS,
    show_default=True,
    help="How many seconds to wait for the result.",
)
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def command(
    command_type: str,
    stream: uuid.UUID,
    expected_version: int | None,
    data: str,
    command_id: uuid.UUID | None,
    wait: int,
    as_json: bool,
) -> None:
    """Ask for something, as the holder of the home's access key: TYPE is such as task.start.

    The data never stand in the command line, where every account of the machine can read them.
    Exit code 0 if it was accepted, or taken and not decided yet; 1 if a rule refused it; 2 if it
    has no good form. The same --id again gives the same answer and does nothing twice.
    """
    if command_type not in TYPES:
        raise click.BadParameter(f"there are: {', '.join(TYPES)}", param_hint="TYPE")
    settings = Settings.load()
    command_id = command_id or uuid.uuid4()
    body = {
        "command_id": command_id, "command_type": command_type, "stream_id": stream,
        "expected_version": expected_version, "data": _data(data),
    }  # fmt: skip
    answer = _posted(settings, orjson.dumps(body), wait, command_id)
    if as_json:
        shown.json(answer.body)
    _tell(answer, command_id, quiet=as_json)


def _data(file: str) -> object:
    if file == STDIN:
        text = sys.stdin.buffer.read(BODY_BYTES_MAX + 1)
    else:
        path = Path(file)
        if not path.is_file():
            raise click.BadParameter(f"no such file: {file}", param_hint="--data")
        with path.open("rb") as stream:
            text = stream.read(BODY_BYTES_MAX + 1)
    if len(text) > BODY_BYTES_MAX:
        raise Failed(f"data are at most so many bytes: {BODY_BYTES_MAX}")
    try:
        return orjson.loads(text or b"{}")
    except orjson.JSONDecodeError:  # its text quotes the data
        raise click.BadParameter("the data are not JSON", param_hint="--data") from None


def _posted(settings: Settings, body: bytes, wait: int, command_id: uuid.UUID) -> Answer:
    if not settings.http_port:
        raise Failed("no HTTP port is up or named", "wardtrail up")
    file = keys.clear_file(settings)
    try:
        token = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise Failed(f"no access key: {file}", "wardtrail serve makes it") from None
    headers = {"Authorization": f"Bearer {token}", "Content-Type": JSON, PREFER: f"wait={wait}"}
    connection = http.client.HTTPConnection(
        settings.http_host, settings.http_port, timeout=wait + REPLY_SECONDS
    )
    try:
        connection.request("POST", f"{PREFIX}/commands", body, headers)
        answer = connection.getresponse()
        said = orjson.loads(answer.read(ANSWER_BYTES_MAX))
        return Answer(answer.status, said)
    except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
        why = type(error).__name__
        raise Failed(
            f"no answer at {settings.http_host}:{settings.http_port}: {why}",
            f"is it up? then send it again, with --id {command_id}",
        ) from None
    finally:
        connection.close()


def _tell(answer: Answer, command_id: uuid.UUID, *, quiet: bool) -> None:
    """The answer in a line; a refusal ends the command."""
    said = answer.body
    if answer.status == 202:
        _echo(f"pending: {command_id} (hint: the same again, with --id {command_id})", quiet=quiet)
    elif answer.status == 200:
        _echo(f"accepted: version {said['version']}, at {said['position'] or 'no position'}",
              quiet=quiet)  # fmt: skip
    elif answer.status == 500 and "rule" in said:
        raise Failed(f"failed: {shown.safe(said['detail'])}", shown.safe(said.get("hint", "")))
    elif "rule" in said:
        raise Failed(
            f"refused by {said['rule']}: {shown.safe(said['detail'])}; "
            f"the stream stands at version: {said['version']}"
        )
    else:
        again = f"send it again, with --id {command_id}" if answer.status == 503 else ""
        failed = Failed(shown.safe(said["detail"]), again or shown.safe(said.get("hint", "")))
        failed.exit_code = MISUSED if answer.status in NEEDED else failed.exit_code
        raise failed


def _echo(line: str, *, quiet: bool) -> None:
    if not quiet:
        click.echo(line)
