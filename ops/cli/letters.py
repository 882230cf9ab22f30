"""Commands over dead letters: records that couldn't be processed, and what waits behind them."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from uuid import UUID

import click
from rich.table import Table

from ops import access, account
from ops.cli import shown
from ops.cli.errors import Failed
from ops.settings import Settings
from sinks import letters, queries, requests
from sinks.database import Database
from sinks.letters import Count, Letter, Which
from sinks.requests import Action, Chosen, Head, Whole
from streams.read_models import PROJECTIONS
from streams.trajectory import PROJECTION as TRAJECTORY
from streams.verification.projection import PROJECTION as VERIFICATION

LETTERS = 100  # shown by default
LETTERS_MAX = 100_000
STATES = ("dead", "parked", "retried", "discarded")
READERS = ("ledger", *(each.name for each in (*PROJECTIONS, TRAJECTORY, VERIFICATION)))


@click.group("dead-letters")
def dead_letters() -> None:
    """See the records that couldn't be processed, each kept whole, sealed; release what waits."""


@dead_letters.command("list")
@click.option("--tenant", "called", help="One tenant's; by default all, also those of nobody.")
@click.option(
    "--state",
    type=click.Choice(STATES),
    help="dead: others may wait for it; parked: it waits. By default all.",
)
@click.option("--subscription", help="Those of one: ledger, or a projection such as patients.")
@click.option("--cause", help="Those of one cause.")
@click.option("--feed", help="Those of one feed's messages.")
@click.option(
    "--limit",
    type=click.IntRange(1, LETTERS_MAX),
    default=LETTERS,
    show_default=True,
    help="At most so many, the newest first.",
)
@click.option("--counts", "only_counts", is_flag=True, help="Only how many, by class and feed.")
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def list_(
    called: str | None,
    state: str | None,
    subscription: str | None,
    cause: str | None,
    feed: str | None,
    limit: int,
    only_counts: bool,
    as_json: bool,
) -> None:
    """List dead letters: how many of each class, then when, where and why each one is.

    Nothing of a patient is shown. As data it is the letters, or with --counts the classes.
    """
    settings = Settings.load()
    with queries.as_overseer(access.role_url(settings, "wt_worker")) as snapshot:
        which = Which(
            tenant_id=queries.tenant(snapshot, called).tenant_id if called else None,
            state=state, subscription_id=subscription, cause=cause, feed=feed,
        )  # fmt: skip
        counts = letters.counted(snapshot, which)
        found = [] if only_counts else letters.newest(snapshot, which, limit=limit)
    if as_json:
        shown.json(counts if only_counts else found)
        return
    if not counts:
        click.echo("no dead letters")
        return
    shown.out().print(_classes(counts))
    if only_counts:
        return
    click.echo()
    shown.out().print(_newest(found))


def _classes(counts: Sequence[Count]) -> Table:
    columns = ("letters", "subscription", "feed", "stage", "cause", "state", "first", "last (UTC)")
    table = _table(columns)
    for each in counts:
        table.add_row(
            str(each.letters),
            each.subscription_id,
            shown.plain(each.feed or shown.NONE),
            each.stage,
            each.cause,
            each.state,
            shown.moment(each.oldest_at),
            shown.moment(each.newest_at),
        )
    return table


def _newest(found: Sequence[Letter]) -> Table:
    columns = (
        "id", "when (UTC)", "state", "subscription", "family", "record", "stage", "cause", "reason",
    )  # fmt: skip
    table = _table(columns)
    for each in found:
        table.add_row(
            each.id,
            shown.moment(each.created_at),
            each.state,
            each.subscription_id,
            each.family or shown.NONE,
            f"{each.topic}/{each.partition}@{each.offset}",
            each.stage,
            each.cause,
            shown.plain(each.reason),
        )
    return table


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


@dead_letters.command()
@click.argument("letter", type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def show(letter: UUID, as_json: bool) -> None:
    """Show one dead letter: its place, why, what waits behind it, and what was asked about it.

    Its content stays sealed. Ids and keys are pseudonyms.
    """
    settings = Settings.load()
    with queries.as_overseer(access.role_url(settings, "wt_worker")) as snapshot:
        found = requests.whole(snapshot, letter)
    if found is None:
        raise Failed(f"no such dead letter: {letter}", "wardtrail dead-letters list")
    if as_json:
        shown.json(asdict(found))
        return
    for name, value in _lines(found):
        click.echo(f"{name + ':':<13} {shown.safe(value)}")


def choosing(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say which letters, for whom and why."""
    options = (
        click.argument("letter", type=click.UUID, required=False),
        click.option("--cause", help="Those of one cause, as the list shows it."),
        click.option("--feed", help="Those of one feed's messages."),
        click.option(
            "--subscription",
            "--projection",
            "projection",
            type=click.Choice(READERS),
            metavar="NAME",
            help="Those of the ledger, or of one projection, such as patients.",
        ),
        click.option("--tenant", "called", help="One tenant's only."),
        click.option("--reason", required=True, help="Why; it is kept. Nothing of a patient."),
        click.option("--dry-run", is_flag=True, help="Only count."),
        click.option("--yes", is_flag=True, help="Don't ask."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dead_letters.command()
@choosing
def retry(**given: object) -> None:
    """Have dead letters processed again, each with what waits behind it, in order.

    LETTER is one's id; else the options choose. What fails again stays, with what comes after it.
    The owner of the partition does it within seconds: see `dead-letters show`.
    """
    _ask("retry", **given)  # type: ignore[arg-type]  # click gives them by their names


@dead_letters.command()
@choosing
def discard(**given: object) -> None:
    """Give dead letters up for good, and have what waits behind each processed, in order.

    A discarded record stays kept and sealed, and a rebuild leaves it out too.
    """
    _ask("discard", **given)  # type: ignore[arg-type]  # click gives them by their names


def _ask(
    action: Action,
    *,
    letter: UUID | None,
    cause: str | None,
    feed: str | None,
    projection: str | None,
    called: str | None,
    reason: str,
    dry_run: bool,
    yes: bool,
) -> None:
    if not any((letter, cause, feed, projection)):
        raise click.UsageError("which? give an id, or --cause, --feed or --projection")
    settings = Settings.load()
    url = access.role_url(settings, "wt_worker")
    with queries.as_overseer(url) as snapshot:
        tenant_id = queries.tenant(snapshot, called).tenant_id if called else None
        chosen = Chosen(
            letter_id=letter, subscription_id=projection, cause=cause, feed=feed,
            tenant_id=tenant_id,
        )  # fmt: skip
        found = requests.heads(snapshot, chosen)
    heads = [each for each in found if each.subscription_id in READERS]
    if not heads:
        hint = "one that is parked waits for another; wardtrail dead-letters list --state dead"
        raise Failed("no dead letter fits", hint)
    for line in _counted(heads):
        click.echo(line, err=True)
    if len(found) >= requests.ASKED_MAX:
        click.echo(f"wardtrail: at once at most {requests.ASKED_MAX} (hint: then again)", err=True)
    if dry_run:
        return
    if not yes:
        click.confirm(f"{action} them?", abort=True, err=True)
    database = Database.open(url, name="dead-letters", size=1)
    try:
        asked = requests.ask(database, heads, action, requested_by=account.name(), purpose=reason)
    finally:
        database.close()
    click.echo(f"asked for: {asked}, asked for before: {len(heads) - asked}")


def _counted(heads: Sequence[Head]) -> list[str]:
    """How many there are of each reader, feed and cause, and how many wait behind them."""
    letters: Counter[tuple[str, str, str]] = Counter()
    waiting: Counter[tuple[str, str, str]] = Counter()
    for each in heads:
        kind = (each.subscription_id, each.feed or "no feed", each.cause)
        letters[kind] += 1
        waiting[kind] += each.waiting
    return [
        shown.safe(f"{': '.join(kind)}: {letters[kind]} dead, {waiting[kind]} behind them")
        for kind in sorted(letters)
    ]


def _lines(found: Whole) -> list[tuple[str, str]]:
    lines = [
        ("letter", found.id),
        ("state", found.state),
        ("when (UTC)", shown.moment(found.created_at)),
        ("subscription", found.subscription_id),
        ("record", f"{found.topic}/{found.partition}@{found.offset}"),
        ("position", shown.NONE if found.position is None else str(found.position)),
        ("family", found.family or shown.NONE),
        ("stage", found.stage),
        ("cause", found.cause),
        ("reason", found.reason),
        ("keys", ", ".join(found.keys) or shown.NONE),
        ("behind it", str(found.waiting)),
        ("tenant", found.tenant_id or shown.NONE),
        ("feed", found.feed_id or shown.NONE),
        ("message", found.message_id or shown.NONE),
        ("event", found.event_id or shown.NONE),
    ]
    for each in found.requests:
        ended = f"{each.ended} ({each.said}; released: {each.released})" if each.ended else "open"
        lines.append(
            (
                each.action,
                f"{shown.moment(each.requested_at)} by {each.requested_by}: {each.purpose}; {ended}"
                + (f" {shown.moment(each.executed_at)}" if each.executed_at else ""),
            )
        )
    return lines
