"""The command that shows how well each feed tells paths, and what became of its messages."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

import click
from rich.table import Table

from ops.cli import shown, visits
from ops.cli.paths import behind
from ops.cli.visits import Instant
from ops.settings import Settings
from sinks import quality as scores
from sinks.outcomes import Outcomes, outcomes
from sinks.quality import BedConflict, Scorecard
from sinks.tenancy import FeedUnknown

CONFLICTS_SHOWN = 20  # for people; --json has CONFLICTS_GIVEN
CONFLICTS_GIVEN = 1_000


@click.command()
@visits.tenant_option
@click.option("--feed", help="One feed, by its name; by default all.")
@click.option("--since", type=Instant(), help="Only what was recorded, or began, since then.")
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def quality(called: str, feed: str | None, since: datetime | None, as_json: bool) -> None:
    """Show how well each feed tells where patients are.

    Times that are missing or late, prior places that aren't where we had the patient, updates
    and cancellations that fit nothing, and beds that two patients have at once. Then, for each
    feed and type of message, what became of them and why. It looks at each feed's newest 100,000
    facts, and at the newest million messages at most.
    """
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with visits.reading(settings, tenant) as snapshot:
        conflicts = scores.bed_conflicts(snapshot, since=since)
        cards = scores.scorecards(snapshot, conflicts, feed=feed, since=since)
        late = behind(snapshot)
        became = outcomes(snapshot, feed=feed, since=since)
    if feed is not None and not cards:
        raise FeedUnknown(f"no such feed: {feed}")
    mine = {each.feed_id for each in cards}
    listed = [each for each in conflicts if feed is None or mine & set(each.feed_ids)]
    if as_json:
        shown.json(
            {
                "since": since,
                "behind": late,
                "feeds": [{**asdict(each), "shares": each.shares} for each in cards],
                "bed_conflicts": listed[:CONFLICTS_GIVEN],
                "types": [asdict(each) for each in became],
            }
        )
        return
    shown.out().print(_cards(cards))
    beds = [each for each in listed if not each.same_patient]
    if beds:
        shown.out().print(_conflicts(beds[:CONFLICTS_SHOWN]))
    if became:
        shown.out().print(_types(became))


def _cards(cards: Sequence[Scorecard]) -> Table:
    """A column for each feed, so that many lines fit and a line reads across the feeds."""
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for each in cards:
        table.add_column(shown.plain(each.feed), justify="right")
    lines: list[tuple[str, list[str]]] = [
        (name, [_said(each, value) for each in cards]) for name, value in _LINES
    ]
    for name, values in lines:
        table.add_row(name, *values)
    return table


def _said(card: Scorecard, value: str) -> str:
    """One number of a scorecard, with its share where it has one."""
    if value.startswith("late_"):
        seconds = getattr(card.late, value.removeprefix("late_"))
        return shown.NONE if seconds is None else _span(seconds)
    count: int = card.late.count if value == "late" else getattr(card, value)
    share = card.shares.get(value)
    return f"{count:,}" if share is None else f"{count:,} ({share:.1%})"


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else shown.length(timedelta(seconds=seconds))


def _conflicts(conflicts: Sequence[BedConflict]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("bed of two", "admission", "and", "from (UTC)", "until"):
        table.add_column(column, no_wrap=True)
    for each in conflicts:
        table.add_row(
            shown.plain(each.location),
            each.admission_id,
            each.other_admission_id,
            shown.moment(each.started_at),
            shown.moment(each.ended_at) if each.ended_at else "goes on",
        )
    return table


def _types(became: Sequence[Outcomes]) -> Table:
    """A line for each feed and type, and beside it one for each reason."""
    table = Table(box=None, pad_edge=False)
    for column in ("feed", "type"):
        table.add_column(column, no_wrap=True)
    for column in ("messages", "applied", "ignored", "dead", "parked", "duplicates"):
        table.add_column(column, justify="right")
    table.add_column("why", overflow="fold")
    for each in became:
        counts = (
            each.messages, each.applied, each.ignored, each.dead, each.parked, each.duplicates,
        )  # fmt: skip
        why = (f"{one.count:,} {one.outcome}: {shown.plain(one.reason)}" for one in each.reasons)
        table.add_row(
            shown.plain(each.feed),
            shown.plain(each.message_type),
            *(f"{count:,}" for count in counts),
            "\n".join(why),
        )
    return table


_LINES = (
    ("messages", "messages"),
    ("  ignored", "ignored"),
    ("  dead", "dead"),
    ("  with a reused MSH-10", "reused_control_ids"),
    ("facts", "facts"),
    ("messages that told them", "told"),
    ("  without EVN-6", "without_evn6"),
    ("facts out of order", "late"),
    ("  by, median", "late_median_s"),
    ("  by, 95 of 100", "late_p95_s"),
    ("  by, at most", "late_max_s"),
    ("moves that name a prior place", "with_prior"),
    ("  not where we had the patient", "prior_mismatched"),
    ("  we had the patient nowhere", "prior_unknown"),
    ("updates that name a place", "updates"),
    ("  another than the census had", "discrepancies"),
    ("cancellations of nothing", "unresolved_cancels"),
    ("beds of two patients", "bed_conflicts"),
    ("  that still are", "bed_conflicts_now"),
    ("beds of one patient's two visits", "visit_overlaps"),
)
