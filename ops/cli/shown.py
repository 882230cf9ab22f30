"""How things are shown: tables and lines for people, JSON for programs."""

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import orjson
from rich.console import Console
from rich.markup import escape

NONE = "\u2013"
PIPE_COLUMNS = 200  # rich's 80 for what is no terminal would cut tables that somebody greps
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\u2027\u202f-\ud7ff\ue000-\ufffd]")


def out() -> Console:
    """Standard output, as it is now."""
    return Console(file=sys.stdout, highlight=False, width=_width(sys.stdout))


def err() -> Console:
    """Standard error: progress and what isn't data."""
    return Console(file=sys.stderr, highlight=False, width=_width(sys.stderr))


def json(value: object) -> None:
    """Print data as JSON; times are ISO 8601 in UTC."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def line(value: object) -> bytes:
    """Data as one line of NDJSON."""
    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)


def safe(text: str) -> str:
    """Text from outside without what a terminal would obey."""
    return _UNPRINTABLE.sub("\u00b7", text)


def plain(text: str) -> str:
    """Text from outside as rich prints it literally."""
    return escape(safe(text))


def moment(at: datetime | None) -> str:
    """An instant for people, in UTC to the second; a dash for none."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def length(span: timedelta) -> str:
    """A span for people."""
    minutes = int(span.total_seconds()) // 60
    days, hours = minutes // 1440, minutes // 60 % 24
    return (f"{days} d " if days else "") + f"{hours} h {minutes % 60:02d} min"


def _width(stream: Any) -> int | None:  # noqa: ANN401  any text stream
    return None if stream.isatty() else PIPE_COLUMNS
