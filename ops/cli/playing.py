"""The command that shows everything at work: a simulated hospital's day, from HL7 to paths."""

import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

import click
from rich.live import Live

from ops import access, certificates, lanes
from ops.behind import Lag
from ops.certificates import NOTHING_NAMED
from ops.cli import shown, visits
from ops.cli.errors import Failed
from ops.cli.lagging import totals_table
from ops.cli.lifecycle import brought_up
from ops.cli.paths import drawn
from ops.cli.sending import counted, deliver
from ops.deploy import DEMO
from ops.lag import Gauge
from ops.settings import Settings
from ops.simulator import Day, Scenario, simulate
from schemas import identity
from schemas.feeds import UTC, Feed
from schemas.identity import Identifier
from sinks import queries, tenancy

PATIENTS_MAX = 20_000
WINDOW = 64
PATHS = 3
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0  # without any progress

_Stay = tuple[str, str, datetime, datetime | None]  # track, place, from, until


@click.command()
@click.option(
    "--patients",
    type=click.IntRange(1, PATIENTS_MAX),
    default=120,
    show_default=True,
    help="How many people come on that day.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed, another day.")
def demo(patients: int, seed: int) -> None:
    """Bring the line up and send it a simulated hospital's day.

    Ends with some patients' paths and the lag of every processor, and leaves the line up. The
    same seed again sends the same messages, which are all dropped as duplicates.
    """
    err = shown.err()
    settings = brought_up(Settings.load())
    scenario = Scenario.busy(seed=seed, patients=patients, zone=_feed(settings).zone)
    day = simulate(scenario)
    wards = ", ".join(ward.code for ward in scenario.wards)
    err.print(f"a simulated hospital ({wards}) sends its day: {len(day.messages)} messages")
    with Gauge.open(settings) as gauge:
        before = gauge.measure()
        results = deliver(
            (settings.mllp_host, settings.mllp_port),
            [message.body for message in day.messages],
            window=WINDOW,
            said="over MLLP",
            context=certificates.to_send(settings, NOTHING_NAMED, own=True),
        )
        answers = counted(results)
        if answers["none"]:
            raise Failed(f"messages without an answer: {answers['none']}", "wardtrail status")
        after = _caught_up(gauge)
    _tell(settings, before, after, answers, _true_paths(settings, scenario, day), seed)


def _caught_up(gauge: Gauge) -> Lag:
    """Wait until nobody is behind, shown live; only standing still is bounded."""
    measured = gauge.measure()
    moved, reached = time.monotonic(), measured.reached
    with Live(totals_table(measured.totals()), console=shown.err(), transient=True) as live:
        while measured.records or not _mirrored(measured):
            if time.monotonic() - moved > PATIENCE_SECONDS:
                late = [
                    each for each in measured.totals() if each.records or each.mirrored is False
                ]
                said = ", ".join(f"{each.subscription} {each.records}" for each in late)
                raise Failed(
                    f"nothing moves and records still wait: {said}",
                    "wardtrail status names the workers' log",
                )
            time.sleep(POLL_SECONDS)
            measured = gauge.measure()
            live.update(totals_table(measured.totals()))
            if measured.reached > reached:
                moved, reached = time.monotonic(), measured.reached
    return measured


def _mirrored(measured: Lag) -> bool:
    return all(each.mirrored is not False for each in measured.totals())


def _tell(
    settings: Settings,
    before: Lag,
    after: Lag,
    answers: Mapping[str, int],
    true_paths: tuple[int, int],
    seed: int,
) -> None:
    tenant = visits.named(settings, DEMO)
    with visits.reading(settings, tenant) as snapshot:
        paths = {
            admission: queries.path(snapshot, admission_id=admission)
            for admission in queries.longest(snapshot, PATHS)
        }
    out = shown.out()
    for admission, path in paths.items():
        out.print()
        out.print(drawn(admission, path))
    out.print()
    out.print("every processor's lag, and what became of its records", style="bold")
    out.print(totals_table(after.totals()))
    out.print()
    new = _ledger(after, "applied") - _ledger(before, "applied")
    same = _ledger(after, "duplicate") - _ledger(before, "duplicate")
    out.print(
        f"{answers['AA']} messages taken into custody: {new} became events, "
        f"{same} were known already and dropped",
        style="bold",
    )
    same_paths, visited = true_paths
    out.print(f"{same_paths} of {visited} visits have exactly the path that the simulator walked")
    out.print()
    out.print(_next(next(iter(paths), None), seed), markup=False)


def _true_paths(settings: Settings, scenario: Scenario, day: Day) -> tuple[int, int]:
    """How many visits' paths are what the simulator knows to be true, of how many."""
    tenant = visits.named(settings, DEMO)
    with visits.reading(settings, tenant) as snapshot:
        key = visits.keys(settings, snapshot, tenant).identity
        found: dict[str, set[_Stay]] = defaultdict(set)
        for each in queries.trajectory(snapshot):
            point = each.point
            if point.track != lanes.PLANNED:  # of plans the simulator keeps no truth
                found[point.admission_id].add(
                    (point.track, point.location, point.effective_at, point.ended_at)
                )
    true: dict[str, set[_Stay]] = defaultdict(set)
    for stay in (*day.stays, *day.physical):
        number = Identifier(value=stay.visit_number, authority=scenario.authority)
        admission_id = str(identity.admission(key, number))
        true[admission_id].add((stay.track, stay.location, stay.effective_at, stay.ended_at))
    return sum(found[admission] == stays for admission, stays in true.items()), len(true)


def _ledger(measured: Lag, outcome: str) -> int:
    return next(
        each.outcomes[outcome] for each in measured.totals() if each.subscription == "ledger"
    )


def _next(admission: UUID | None, seed: int) -> str:
    """What to try next, as commands that work as they stand."""
    some = admission or "ADMISSION"
    commands = (
        (f"wardtrail timeline {some}", "a path, and what happened"),
        (f"wardtrail where {some} --at 2026-03-02T12:00:00Z", "a place at a time"),
        ("wardtrail demo", "the same messages again: all dropped"),
        (f"wardtrail demo --seed {seed + 1}", "another day"),
        ("wardtrail lag --watch", "while you send more"),
        ("wardtrail export trajectory --tenant demo --ndjson", "every stay, for programs"),
        ("wardtrail status --json", "addresses for your own programs"),
        ("wardtrail send FILE...", "your own HL7 v2 files"),
        ("wardtrail down", "end it; the data stay"),
    )
    width = max(len(command) for command, _ in commands)
    lines = [f"  {command:<{width}}  {what}" for command, what in commands]
    return "\n".join(("what to try next:", *lines))


def _feed(settings: Settings) -> Feed:
    """The demo's feed: its zone is the one that the simulator writes times in."""
    with queries.as_overseer(access.role_url(settings, "wt_worker")) as snapshot:
        tenant = queries.tenant(snapshot, DEMO)
        listed = tenancy.feeds(snapshot, [tenant.tenant_id])
    found = [each.feed for each in listed if each.port is None]
    return (
        found[0]
        if found
        else Feed(feed_id=tenant.tenant_id, tenant_id=tenant.tenant_id, name=DEMO, zone=UTC)
    )
