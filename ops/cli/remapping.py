"""The command that maps stored messages anew, and shows or appends what differs."""

from datetime import datetime
from uuid import UUID

import click
from rich.table import Table

from ops import access
from ops.cli import shown, visits
from ops.cli.visits import Instant
from ops.settings import Settings
from schemas.codec import Codec
from sinks import tenancy
from sinks.database import Database
from sinks.queries import Snapshot
from sinks.tenancy import FeedUnknown
from streams.ledger.mapping.hl7v2 import MAPPER_VERSION
from streams.ledger.processor import Ledger
from streams.ledger.remapping import Remapping, Report, counted, which_of
from streams.ownership import Ownership


@click.command()
@visits.tenant_option
@click.option(
    "--diff/--apply",
    "only_diff",
    default=True,
    help="Show what differs (as without either), or append it.",
)
@click.option("--feed", help="One feed's messages, by its name; by default all.")
@click.option("--type", "kind", help="Only messages of this type, such as ADT or ADT^A02.")
@click.option("--message", "message_id", type=click.UUID, help="Only this one, by its id.")
@click.option("--since", type=Instant(), help="Only what was received since then.")
@click.option("--until", type=Instant(), help="Only what was received before then.")
@click.option("--limit", type=click.IntRange(1), help="Look at no more messages than so many.")
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Also messages that this release's mapper read: after a feed was set otherwise.",
)
@click.option("--yes", is_flag=True, help="Don't ask before events are appended.")
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def remap(
    called: str,
    only_diff: bool,
    feed: str | None,
    kind: str | None,
    message_id: UUID | None,
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
    everything: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Map stored messages by this release's mapper; show what differs, or append it.

    Messages are kept, sealed, so what a better mapper reads in them can still be told. Where it
    differs, an event says of the old one that it counts no more, and a new one takes its place.
    Nothing is rewritten: as known then, everything is as it was. Workers may run.

    What is shown are types of events and names of fields, nothing of what they hold. Dead
    messages aren't looked at: see `wardtrail dead-letters retry`.
    """
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with visits.reading(settings, tenant) as snapshot:
        feed_id = None if feed is None else _feed(snapshot, tenant.tenant_id, feed)
    which = which_of(
        tenant.tenant_id, everything=everything, feed_id=feed_id, message_id=message_id,
        message_type=kind, since=since, until=until,
    )  # fmt: skip
    if not (only_diff or yes):
        click.confirm(
            f"append what {tenant.name}'s stored messages say otherwise by mapper"
            f" {MAPPER_VERSION}?",
            abort=True, err=True,
        )  # fmt: skip
    database = Database.open(access.role_url(settings, "wt_worker"), name="remap", size=2)
    try:
        remapping = Remapping(door=_door(settings, database), database=database)
        with shown.err().status("looking at messages") as status:
            report = remapping.run(
                which, apply=not only_diff, most=limit,
                tell=lambda looked: status.update(f"looking at messages: {looked}"),
            )  # fmt: skip
    finally:
        database.close()
    _show(report, applied=not only_diff, as_json=as_json)


def _door(settings: Settings, database: Database) -> Ledger:
    """The ledger's own way to map, name people and append; it owns no partition here."""
    ownership = Ownership(
        database=database, url=access.role_url(settings, "wt_worker"),
        bootstrap_servers=access.bootstrap_servers(settings), subscriptions=("ledger",),
        owner="remap",
    )  # fmt: skip
    return Ledger(
        database=database, ownership=ownership, codec=Codec(access.schema_ids(settings)),
        root=access.root(settings), held_seconds=settings.held_seconds,
    )  # fmt: skip


def _feed(snapshot: Snapshot, tenant_id: UUID, name: str) -> UUID:
    for each in tenancy.feeds(snapshot, [tenant_id]):
        if each.feed.name == name:
            return each.feed.feed_id
    raise FeedUnknown(f"no such feed: {name}")


def _show(report: Report, *, applied: bool, as_json: bool) -> None:
    rows = list(counted(report))
    if as_json:
        shown.json(
            {
                "mapper_version": MAPPER_VERSION,
                "messages": report.looked,
                "differing": report.differing,
                "appended": report.appended,
                "differences": [
                    {"event_type": kind, "what": what, "messages": count, "message_id": one}
                    for kind, what, count, one in rows
                ],
                "left": dict(sorted(report.left.items())),
            }
        )
        return
    click.echo(
        f"{report.looked} messages, {report.differing} say something else by mapper"
        f" {MAPPER_VERSION}; {report.appended} events appended"
    )
    if rows:
        table = Table(box=None, pad_edge=False)
        for name in ("event", "what", "times", "such as message"):
            table.add_column(name)
        for kind, what, count, one in rows:
            table.add_row(kind, what, str(count), one)
        shown.out().print(table)
    for why, count in sorted(report.left.items()):
        click.echo(f"left as they are: {count}: {why}")
    if report.differing and not applied:
        click.echo("(hint: --apply appends it)")
