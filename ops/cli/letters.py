"""Commands over dead letters: records that couldn't be processed."""

import click
from rich.table import Table

from ops import access
from ops.cli import shown
from ops.settings import Settings
from sinks import queries

LETTERS = 100  # shown by default
LETTERS_MAX = 100_000


@click.group("dead-letters")
def dead_letters() -> None:
    """See the records that couldn't be processed; each is kept whole, sealed."""


@dead_letters.command("list")
@click.option("--tenant", "called", help="One tenant's; by default all, also those of nobody.")
@click.option(
    "--limit",
    type=click.IntRange(1, LETTERS_MAX),
    default=LETTERS,
    show_default=True,
    help="At most so many, the newest first.",
)
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def list_(called: str | None, limit: int, as_json: bool) -> None:
    """List dead letters: when, where, at which stage and why; nothing of a patient."""
    settings = Settings.load()
    with queries.as_overseer(access.role_url(settings, "wt_worker")) as snapshot:
        tenant_id = queries.tenant(snapshot, called).tenant_id if called else None
        letters = queries.dead_letters(snapshot, limit=limit, tenant_id=tenant_id)
    if as_json:
        shown.json(letters)
        return
    if not letters:
        click.echo("no dead letters")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("id", "when (UTC)", "subscription", "record", "stage", "cause", "reason"):
        table.add_column(column, overflow="fold")
    for each in letters:
        table.add_row(
            each.id,
            shown.moment(each.created_at),
            each.subscription_id,
            f"{each.topic}/{each.partition}@{each.offset}",
            each.stage,
            each.cause,
            shown.plain(each.reason),
        )
    shown.out().print(table)
