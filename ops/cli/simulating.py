"""The command that writes a simulated hospital's messages and the truth about them to files."""

from collections.abc import Iterable
from pathlib import Path

import click

from ops.cli import shown
from ops.simulator import Day, Message, Scenario, Stay, days_for, disordered, simulate
from sinks import tenancy

PATIENTS_MAX = 20_000
DAYS_MAX = 366
WINDOW_MAX = 1_000_000

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command("simulate")
@click.option(
    "--messages", "sent", type=FILE, required=True, help="Where the HL7 v2 messages are written."
)
@click.option("--truth", type=FILE, required=True, help="Where the true stays are written.")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Another seed, other messages."
)
@click.option(
    "--patients",
    type=click.IntRange(1, PATIENTS_MAX),
    default=120,
    show_default=True,
    help="How many people come.",
)
@click.option(
    "--days",
    type=click.IntRange(1, DAYS_MAX),
    help="In how many days; by default enough that there is a bed for everybody.",
)
@click.option(
    "--zone",
    default="UTC",
    show_default=True,
    help="IANA time zone of the times in the messages, which are written without an offset.",
)
@click.option(
    "--shuffle",
    type=click.IntRange(1, WINDOW_MAX),
    metavar="WINDOW",
    help="Carry each message up to so many places from its own.",
)
@click.option(
    "--duplicates",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    default=0.0,
    help="So many of the messages are there twice, 0 to 1.",
)
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def simulating(
    sent: Path,
    truth: Path,
    seed: int,
    patients: int,
    days: int | None,
    zone: str,
    shuffle: int | None,
    duplicates: float,
    as_json: bool,
) -> None:
    """Write the messages of a simulated hospital, and where every patient truly was.

    Nothing has to be up. The messages are a file for `wardtrail send`; the truth is one JSON
    object per line: mrn, visit_number, track (census is the bed that is the patient's, physical
    where the patient is), location, effective_at and ended_at. The same options give the same
    files. All people in them are made up.
    """
    if sent.absolute() == truth.absolute():
        raise click.UsageError(f"--messages and --truth name the same file: {sent}")
    scenario = Scenario.busy(
        seed=seed, patients=patients, days=days or days_for(patients), zone=tenancy.zone(zone)
    )
    day = simulate(scenario)
    messages = _delivered(day, seed, shuffle, duplicates)
    stays = (*day.stays, *day.physical)
    _write(sent, (message.body + b"\r" for message in messages))
    _write(truth, (shown.line(_row(stay)) for stay in stays))
    written = {
        "seed": seed,
        "patients": patients,
        "days": scenario.days,
        "zone": scenario.zone.key,
        "messages": len(messages),
        "visits": len({stay.visit_number for stay in stays}),
        "stays": {"census": len(day.stays), "physical": len(day.physical)},
    }
    if as_json:
        shown.json(written)
        return
    click.echo(
        f"{len(messages)} messages to {sent}, {len(day.stays)} census and "
        f"{len(day.physical)} physical stays of {written['visits']} visits to {truth}"
    )


def _delivered(day: Day, seed: int, shuffle: int | None, duplicates: float) -> tuple[Message, ...]:
    if shuffle is None and not duplicates:
        return day.messages
    # A window of one place keeps the order, and each copy comes right after its original.
    return disordered(day.messages, seed, duplicates=duplicates, window=shuffle or 1)


def _row(stay: Stay) -> dict[str, object]:
    return {
        "mrn": stay.mrn,
        "visit_number": stay.visit_number,
        "track": stay.track,
        "location": stay.location,
        "effective_at": stay.effective_at,
        "ended_at": stay.ended_at,
    }


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(pieces)
