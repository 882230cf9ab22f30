"""Commands that show one visit's path: where somebody is or was, and the whole of it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ops.cli import shown, visits
from ops.cli.visits import Instant
from ops.settings import Settings
from sinks import queries
from sinks.queries import Happened, Point
from streams.trajectory import PROJECTION

BAR_COLUMNS = 44


@click.command()
@visits.visit_options
@click.option("--at", type=Instant(), help="An instant with its zone; by default now.")
@click.option("--known-at", type=Instant(), help="As it was known then; by default now.")
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def where(
    admission: UUID | str | None,
    visit_number_stdin: bool,
    called: str,
    authority: str | None,
    at: datetime | None,
    known_at: datetime | None,
    as_json: bool,
) -> None:
    """Say where a patient is, or was.

    ADMISSION is an admission's id, or - for a visit number on standard input (NUMBER, or
    NUMBER^^^AUTHORITY).
    """
    meant = visits.meant(admission, visit_number_stdin=visit_number_stdin)
    settings = Settings.load()
    tenant = visits.named(settings, called)
    at = at or datetime.now(UTC)
    with visits.reading(settings, tenant) as snapshot:
        found = visits.visit(settings, snapshot, tenant, meant, authority=authority)
        path = queries.points(snapshot, found, known_at=known_at)
        behind = queries.behind(snapshot, PROJECTION.name)
    _warn(behind)
    here = [point for point in path if _covers(point, at)]
    if as_json:
        told = {"admission_id": found, "at": at, "known_at": known_at, "behind": behind}
        shown.json({**told, "points": here})
        return
    for point in here:
        until = f" until {shown.moment(point.ended_at)}" if point.ended_at else ""
        since = f"since {shown.moment(point.effective_at)}"
        click.echo(f"{shown.safe(point.location)}  ({point.track}, {since}{until} UTC)")
    if not here:
        click.echo(_nowhere(path, at))


@click.command()
@visits.visit_options
@click.option("--known-at", type=Instant(), help="As it was known then; by default now.")
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def timeline(
    admission: UUID | str | None,
    visit_number_stdin: bool,
    called: str,
    authority: str | None,
    known_at: datetime | None,
    as_json: bool,
) -> None:
    """Draw a visit's path, and list what happened.

    ADMISSION is an admission's id, or - for a visit number on standard input (NUMBER, or
    NUMBER^^^AUTHORITY).
    """
    meant = visits.meant(admission, visit_number_stdin=visit_number_stdin)
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with visits.reading(settings, tenant) as snapshot:
        found = visits.visit(settings, snapshot, tenant, meant, authority=authority)
        path = queries.points(snapshot, found, known_at=known_at)
        happened = queries.timeline(snapshot, found)
        behind = queries.behind(snapshot, PROJECTION.name)
    _warn(behind)
    if as_json:
        told = {"admission_id": found, "behind": behind}
        shown.json({**told, "points": path, "events": happened})
        return
    shown.out().print(drawn(found, path))
    shown.out().print(_listed(happened))


def _warn(behind: int) -> None:
    """Say that an answer may be old: "nowhere" is no answer while events wait."""
    if behind:
        click.echo(f"wardtrail: paths are {behind} events behind (see: wardtrail lag)", err=True)


def drawn(admission_id: UUID, path: Sequence[Point]) -> Group:
    """A path as a table with a bar for each stay; `~` marks what was inferred."""
    title = Text(f"admission {admission_id}", style="bold")
    if not path:
        return Group(title, Text("no stays: cancelled, or no place was ever said"))
    first = min(point.effective_at for point in path)
    last = max(point.ended_at or datetime.now(UTC) for point in path)
    last = max(last, max(point.effective_at for point in path))
    table = Table(box=None, pad_edge=False)
    for column in ("track", "place", "from (UTC)", "until", "for", ""):
        table.add_column(column, no_wrap=True)
    for point in path:
        ended = point.ended_at or last
        table.add_row(
            point.track,
            Text(shown.safe(point.location)),
            ("~" if point.start_inferred else "") + shown.moment(point.effective_at),
            ("~" if point.end_inferred else "")
            + (shown.moment(point.ended_at) if point.ended_at else "still there"),
            shown.length(ended - point.effective_at),
            _bar(point, ended, first, last),
        )
    return Group(title, table)


def _bar(point: Point, ended: datetime, first: datetime, last: datetime) -> Text:
    span = (last - first).total_seconds() or 1.0
    start = round((point.effective_at - first).total_seconds() / span * BAR_COLUMNS)
    stop = round((ended - first).total_seconds() / span * BAR_COLUMNS)
    start = min(start, BAR_COLUMNS - 1)
    full = "\u2588" * max(1, stop - start)
    style = "cyan" if point.track == "census" else "magenta"
    return Text(" " * start + full + ("\u25b6" if point.ended_at is None else ""), style=style)


def _listed(happened: Sequence[Happened]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("happened (UTC)")
    table.add_column("event")
    for each in happened:
        table.add_row(shown.moment(each.occurred_at), each.event_type)
    return table


def _covers(point: Point, at: datetime) -> bool:
    return point.effective_at <= at and (point.ended_at is None or at < point.ended_at)


def _nowhere(path: Sequence[Point], at: datetime) -> str:
    said = f"nowhere at {shown.moment(at)} UTC"
    before = [point for point in path if point.ended_at is not None and point.ended_at <= at]
    if not before:
        return said
    last = max(before, key=lambda point: point.ended_at or point.effective_at)
    return f"{said}; last in {shown.safe(last.location)} until {shown.moment(last.ended_at)} UTC"
