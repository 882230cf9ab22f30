"""Commands that show a path: where somebody is or was, and a visit's whole path drawn."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from uuid import UUID

import click
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ops import drawing, lanes
from ops.cli import shown, visits
from ops.cli.visits import Instant
from ops.lanes import Picture, Stay
from ops.settings import Settings
from sinks import queries, tenancy
from sinks.queries import Happened, Seen, Snapshot, Tenant
from streams.trajectory import PROJECTION

_PATIENT = visits.patient_id("where - --json has the patient_id of a visit", numbered=False)


@click.command()
@visits.visit_options
@click.option("--patient", type=_PATIENT, help="A patient's id: all visits, in place of one.")
@click.option("--at", type=Instant(), help="An instant with its zone; by default now.")
@click.option("--known-at", type=Instant(), help="As it was known then; by default now.")
@click.option("--why", is_flag=True, help="Also which message and field said so.")
@click.option("--json", "as_json", is_flag=True, help="Data for programs, with what --why says.")
def where(
    admission: UUID | str | None,
    visit_number_stdin: bool,
    called: str,
    authority: str | None,
    patient: UUID | None,
    at: datetime | None,
    known_at: datetime | None,
    why: bool,
    as_json: bool,
) -> None:
    """Say where a patient is, or was.

    ADMISSION is an admission's id, or - for a visit number on standard input (NUMBER, or
    NUMBER^^^AUTHORITY). The bed that is the patient's is on the track census, where the patient
    is on the track physical. A ~ stands before what was inferred.
    """
    if patient is not None and (admission is not None or visit_number_stdin):
        raise click.UsageError("either a visit or a patient, not both")
    meant = None if patient else visits.meant(admission, visit_number_stdin=visit_number_stdin)
    settings = Settings.load()
    tenant = visits.named(settings, called)
    at = at or datetime.now(UTC)
    with visits.reading(settings, tenant) as snapshot:
        found = None
        if patient is None:
            found = visits.visit(settings, snapshot, tenant, meant, authority=authority)
        here = queries.where(
            snapshot, admission_id=found, patient_id=patient, at=at, known_at=known_at
        )
        path = here or queries.path(
            snapshot, admission_id=found, patient_id=patient, known_at=known_at
        )
        late = behind(snapshot)
    if as_json:
        told = {"admission_id": found, "patient_id": patient, "at": at, "known_at": known_at}
        shown.json({**told, "behind": late, "points": here})
        return
    for point in here:
        click.echo(_said(point, several=patient is not None))
        if why:
            click.echo(_why(point))
    if not here:
        click.echo(_nowhere(path, at))


@click.command()
@visits.visit_options
@click.option("--known-at", type=Instant(), help="As it was known then; by default now.")
@click.option("--zone", help="Whose clock to show; by default the feeds', if all have the same.")
@click.option(
    "--svg",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write the drawing to this file instead; - is standard output.",
)
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def timeline(
    admission: UUID | str | None,
    visit_number_stdin: bool,
    called: str,
    authority: str | None,
    known_at: datetime | None,
    zone: str | None,
    svg: Path | None,
    as_json: bool,
) -> None:
    """Draw a visit's path, and list its stays and what happened.

    ADMISSION is an admission's id, or - for a visit number on standard input (NUMBER, or
    NUMBER^^^AUTHORITY). A lane for each place, in order of the first visit.
    """
    if as_json and svg:
        raise click.UsageError("either --json or --svg, not both")
    meant = visits.meant(admission, visit_number_stdin=visit_number_stdin)
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with visits.reading(settings, tenant) as snapshot:
        found = visits.visit(settings, snapshot, tenant, meant, authority=authority)
        path = queries.path(snapshot, admission_id=found, known_at=known_at)
        happened = queries.timeline(snapshot, found)
        clock = tenancy.zone(zone) if zone else _clock(snapshot, tenant)
        late = behind(snapshot)
    if as_json:
        told = {"admission_id": found, "known_at": known_at, "behind": late}
        shown.json({**told, "points": path, "events": happened})
    elif svg is not None:
        picture = Picture.of(path, now=datetime.now(UTC))
        _write(svg, drawing.svg(picture, title=f"admission {found}", zone=clock))
    else:
        shown.out().print(drawn(found, path, zone=clock))
        shown.out().print(_listed(happened, clock))


def behind(snapshot: Snapshot) -> int:
    """How many events the paths are behind; says so: "nobody" is no answer while events wait."""
    late = queries.behind(snapshot, PROJECTION.name)
    if late:
        click.echo(f"wardtrail: paths are {late} events behind (see: wardtrail lag)", err=True)
    return late


def drawn(admission_id: UUID, path: Sequence[Stay], *, zone: tzinfo = UTC) -> Group:
    """A path as lanes over time, and each stay in a table; `~` marks what was inferred."""
    title = Text(f"admission {admission_id}", style="bold")
    now = datetime.now(UTC)
    picture = Picture.of(path, now=now)
    if picture is None:
        return Group(title, Text("no stays: cancelled, or no place was ever said"))
    called = lanes.called(zone)
    table = Table(box=None, pad_edge=False)
    for column in ("track", "place", f"from ({called})", "until", "for"):
        table.add_column(column, no_wrap=True)
    for stay, tracks in _rows(path):
        lasted = (stay.ended_at or max(now, stay.effective_at)) - stay.effective_at
        until = _moment(stay.ended_at, zone) if stay.ended_at else "still there"
        table.add_row(
            tracks,
            Text(shown.safe(stay.location)),
            ("~" if stay.start_inferred else "") + _moment(stay.effective_at, zone),
            ("~" if stay.end_inferred else "") + until,
            shown.length(lasted),
        )
    width = shown.out().width
    return Group(title, *drawing.lines(picture, width=width, zone=zone), Text(""), table)


def _rows(path: Sequence[Stay]) -> list[tuple[Stay, str]]:
    """The stays in order of time with their tracks; one that is on several tracks is a row."""
    rows = dict[tuple[object, ...], list[Stay]]()
    for stay in sorted(path, key=lambda stay: (stay.effective_at, stay.track, stay.location)):
        bounds = (stay.effective_at, stay.ended_at, stay.start_inferred, stay.end_inferred)
        rows.setdefault((stay.location, *bounds), []).append(stay)
    return [(stays[0], ", ".join(stay.track for stay in stays)) for stays in rows.values()]


def _said(point: Seen, *, several: bool) -> str:
    """Where somebody is, in a line; `several` visits are told apart by their ids."""
    until = ""
    if point.ended_at:
        until = f" until {'~' if point.end_inferred else ''}{shown.moment(point.ended_at)}"
    since = f"since {'~' if point.start_inferred else ''}{shown.moment(point.effective_at)}"
    visit = f"  admission {point.admission_id}" if several else ""
    return f"{shown.safe(point.location)}  ({point.track}, {since}{until} UTC){visit}"


def _why(point: Seen) -> str:
    """Where that came from: the message, its field, the place taken apart, the revision."""
    parts = ("facility", "building", "floor", "point_of_care", "room", "bed")
    place = ", ".join(
        f"{part.replace('_', ' ')} {shown.safe(value)}"
        for part in parts
        if (value := getattr(point, part))
    )
    start = "inferred" if point.start_inferred else f"from {shown.safe(point.start_field)}"
    end = ", end inferred" if point.end_inferred else ""
    return "\n".join(
        f"    {line}"
        for line in (
            f"message {point.message_id or 'unknown'}, event {point.start_event_id}",
            f"start {start}{end}, reported {shown.moment(point.reported_at)} UTC",
            f"known since {shown.moment(point.known_from)} UTC",
            f"place: {place or 'not said'}",
        )
    )


def _clock(snapshot: Snapshot, tenant: Tenant) -> tzinfo:
    """The zone of the tenant's feeds, if they agree on one; else UTC."""
    feeds = tenancy.feeds(snapshot, [tenant.tenant_id])
    zones = {lanes.called(each.feed.zone): each.feed.zone for each in feeds}
    return next(iter(zones.values())) if len(zones) == 1 else UTC


def _write(file: Path, text: str) -> None:
    """The drawing, to a file or to standard output."""
    if str(file) == visits.STDIN:
        click.echo(text, nl=False)
        return
    file.write_text(text, encoding="utf-8")
    click.echo(f"drawn: {file}", err=True)


def _listed(happened: Sequence[Happened], zone: tzinfo) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(f"happened ({lanes.called(zone)})")
    table.add_column("event")
    for each in happened:
        table.add_row(_moment(each.occurred_at, zone), each.event_type)
    return table


def _moment(at: datetime, zone: tzinfo) -> str:
    return f"{lanes.clock(at, zone):%Y-%m-%d %H:%M:%S}"


def _nowhere(path: Sequence[Seen], at: datetime) -> str:
    said = f"nowhere at {shown.moment(at)} UTC"
    been = [point for point in path if point.track != lanes.PLANNED]
    before = [point for point in been if point.ended_at is not None and point.ended_at <= at]
    if not before:
        return said
    last = max(before, key=lambda point: point.ended_at or point.effective_at)
    return f"{said}; last in {shown.safe(last.location)} until {shown.moment(last.ended_at)} UTC"
