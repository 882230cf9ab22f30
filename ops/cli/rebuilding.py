"""The command that drops what projections hold and folds it anew out of the ledger."""

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops import access
from ops.cli import shown
from ops.settings import Settings
from schemas.codec import Codec
from sinks.database import Database
from sinks.projection import Projection
from sinks.rebuild import Rebuilding
from sinks.stored import as_read
from streams import publications
from streams.read_models import PROJECTIONS
from streams.trajectory import PROJECTION as TRAJECTORY
from streams.verification.projection import PROJECTION as VERIFICATION

NAMED = {each.name: each for each in (*PROJECTIONS, TRAJECTORY, VERIFICATION)}


@click.command()
@click.argument(
    "names", nargs=-1, required=True, type=click.Choice(sorted(NAMED)), metavar="PROJECTION..."
)
@click.option("--yes", is_flag=True, help="Don't ask before rows are dropped.")
@click.option("--json", "as_json", is_flag=True, help="What was folded, for programs.")
def rebuild(names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Drop what projections hold and fold every event of the ledger again.

    PROJECTION is one of the read models (patients, admissions, timeline, work, flightplans),
    trajectory or verification. Workers may run: they wait for the partitions, and go on where
    they stood. A rebuild that was broken off leaves its projection closed to them: run it again.

    Questions about what is being rebuilt find too little until it ends, and tell that events
    wait.
    """
    chosen = [NAMED[name] for name in dict.fromkeys(names)]
    if not yes:
        asked = ", ".join(each.name for each in chosen)
        click.confirm(f"drop all rows of {asked} and fold them anew?", abort=True, err=True)
    settings = Settings.load()
    codec = Codec(access.schema_ids(settings))
    database = Database.open(access.role_url(settings, "wt_worker"), name="rebuild", size=2)
    try:
        folded = {each.name: _rebuild(settings, database, codec, each) for each in chosen}
    finally:
        database.close()
    if as_json:
        shown.json([{"projection": name, "events": count} for name, count in folded.items()])
        return
    for name, count in folded.items():
        click.echo(f"{name}: rebuilt from {count} events")


def _rebuild(settings: Settings, database: Database, codec: Codec, projection: Projection) -> int:
    """One projection, with a bar on standard error where that is a terminal."""
    clinical = publications.clinical_events(codec)
    points = publications.trajectory_points(codec).source
    rebuilding = Rebuilding(
        database=database,
        owner_url=access.role_url(settings, "wt_migrate"),
        events=clinical.source,
        decode=as_read(codec),
        published=points if projection.name == TRAJECTORY.name else None,
    )
    console = shown.err()
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task(projection.name, total=None)
        return rebuilding.run(
            projection, lambda done, of: progress.update(task, completed=done, total=of)
        )
