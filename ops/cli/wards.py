"""Commands that look across visits: who is in a ward, and who met whom."""

from datetime import UTC, datetime
from uuid import UUID

import click
from rich.table import Table

from ops.cli import shown, visits
from ops.cli.paths import behind
from ops.cli.visits import Instant
from ops.settings import Settings
from sinks import queries
from sinks.questions import Contact, Level, Seen, Track


@click.command()
@click.argument("ward")
@visits.tenant_option
@click.option("--at", type=Instant(), help="An instant with its zone; by default now.")
@click.option("--known-at", type=Instant(), help="As it was known then; by default now.")
@click.option(
    "--track",
    type=click.Choice(["census", "physical"]),
    default="census",
    show_default=True,
    help="Whose bed it is, or who is there in the flesh.",
)
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def census(
    ward: str,
    called: str,
    at: datetime | None,
    known_at: datetime | None,
    track: Track,
    as_json: bool,
) -> None:
    """Say who is in a ward, or was.

    WARD is the point of care as the feed writes it. A ~ stands before what was inferred.
    """
    settings = Settings.load()
    tenant = visits.named(settings, called)
    at = at or datetime.now(UTC)
    with visits.reading(settings, tenant) as snapshot:
        found = queries.census(snapshot, ward, at=at, known_at=known_at, track=track)
        late = behind(snapshot)
    if as_json:
        told = {"ward": ward, "at": at, "known_at": known_at, "track": track, "behind": late}
        shown.json({**told, "points": found})
        return
    if not found:
        click.echo(f"nobody in {shown.safe(ward)} at {shown.moment(at)} UTC ({track})")
        return
    shown.out().print(_ward(found))


@click.command()
@visits.visit_options
@click.option(
    "--level",
    type=click.Choice(["room", "ward"]),
    default="room",
    show_default=True,
    help="Who shared a room, or a ward.",
)
@click.option("--known-at", type=Instant(), help="As it was known then; by default now.")
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def contacts(
    admission: UUID | str | None,
    visit_number_stdin: bool,
    called: str,
    authority: str | None,
    level: Level,
    known_at: datetime | None,
    as_json: bool,
) -> None:
    """Say who shared a room or a ward with a visit, when and how long.

    ADMISSION is an admission's id, or - for a visit number on standard input (NUMBER, or
    NUMBER^^^AUTHORITY). Counted is where patients were in the flesh; other visits of the same
    patient are no contacts.
    """
    meant = visits.meant(admission, visit_number_stdin=visit_number_stdin)
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with visits.reading(settings, tenant) as snapshot:
        visit = visits.visit(settings, snapshot, tenant, meant, authority=authority)
        found = queries.contacts(snapshot, visit, level=level, known_at=known_at)
        late = behind(snapshot)
    if as_json:
        told = {"admission_id": visit, "level": level, "known_at": known_at, "behind": late}
        shown.json({**told, "contacts": found})
        return
    if not found:
        click.echo(f"nobody shared a {level} with admission {visit}")
        return
    shown.out().print(_met(found, datetime.now(UTC)))


def _ward(found: list[Seen]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("place", "admission", "patient", "since (UTC)", "until"):
        table.add_column(column, no_wrap=True)
    for each in found:
        table.add_row(
            shown.plain(each.location),
            each.admission_id,
            each.patient_id,
            ("~" if each.start_inferred else "") + shown.moment(each.effective_at),
            ("~" if each.end_inferred else "") + shown.moment(each.ended_at),
        )
    return table


def _met(found: list[Contact], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("ward", "room", "admission", "patient", "from (UTC)", "until", "for"):
        table.add_column(column, no_wrap=True)
    for each in found:
        lasted = (each.ended_at or max(now, each.started_at)) - each.started_at
        table.add_row(
            shown.plain(each.point_of_care),
            shown.plain(each.room) or shown.NONE,
            each.admission_id,
            each.patient_id,
            shown.moment(each.started_at),
            shown.moment(each.ended_at) if each.ended_at else "goes on",
            shown.length(lasted),
        )
    return table
