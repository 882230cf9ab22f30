"""Commands over feeds: who sends, and how its messages are read."""

from typing import Any

import click
from rich.table import Table

from ops import access
from ops.cli import shown, visits
from ops.settings import Settings
from schemas.feeds import Feed
from sinks import queries, tenancy
from sinks.database import Database
from streams.ledger.mapping import charsets
from streams.ledger.mapping.facts import Unmappable

ANY = "any"


@click.group()
def feeds() -> None:
    """See and change how feeds are read."""


@feeds.command("list")
@visits.tenant_option
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def list_(called: str, as_json: bool) -> None:
    """List a tenant's feeds."""
    settings = Settings.load()
    with queries.as_overseer(access.role_url(settings, "wt_worker")) as snapshot:
        tenant = queries.tenant(snapshot, called)
        listened = tenancy.feeds(snapshot, [tenant.tenant_id])
    rows = [{**_row(each.feed), "port": each.port} for each in listened]
    if as_json:
        shown.json(rows)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "zone", "charset", "authority", "takes", "senders", "port", "active"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            shown.plain(row["name"]),
            row["zone"],
            row["charset"] or "as said",
            shown.plain(row["authority"]),
            ",".join(row["processing_ids"]) or ANY,
            shown.plain(",".join(row["senders"])) or ANY,
            str(row["port"] or settings.mllp_port or "default"),
            "yes" if row["active"] else "no",
        )
    shown.out().print(table)


@feeds.command("set")
@click.argument("name")
@visits.tenant_option
@click.option("--zone", help="IANA time zone for times without an offset: Europe/London.")
@click.option("--charset", help="Charset that wins over MSH-18; empty: what MSH-18 says.")
@click.option("--authority", help="Stands in where an identifier names no assigning authority.")
@click.option("--processing-ids", help="MSH-11 values that are taken, such as P or P,T; or any.")
def set_(
    name: str,
    called: str,
    zone: str | None,
    charset: str | None,
    authority: str | None,
    processing_ids: str | None,
) -> None:
    """Change how a feed is read; holds for messages from now on."""
    changed: dict[str, Any] = {}
    if zone is not None:
        changed["zone"] = tenancy.zone(zone).key
    if charset is not None:
        changed["charset"] = _charset(charset)
    if authority is not None:
        changed["authority"] = authority.strip()
    if processing_ids is not None:
        changed["processing_ids"] = _processing_ids(processing_ids)
    if not changed:
        raise click.UsageError("nothing to set (hint: --zone Europe/London)")
    settings = Settings.load()
    tenant = visits.named(settings, called)
    database = Database.open(access.role_url(settings, "wt_worker"), name="feeds", size=1)
    try:
        tenancy.set_feed(database, tenant.tenant_id, name, changed)
    finally:
        database.close()
    said = ", ".join(f"{key} {value or ANY}" for key, value in changed.items())
    shown.err().print(f"{name}: {said}", markup=False)


def _charset(name: str) -> str | None:
    """A charset that the mapping can read, by any of its names."""
    if not name.strip():
        return None
    try:
        charsets.decode(b"MSH|", name.strip())
    except Unmappable:
        raise click.BadParameter(f"no such charset (such as 8859/1 or UTF-8): {name}") from None
    return name.strip()


def _processing_ids(listed: str) -> list[str]:
    """The values of MSH-11; an empty list takes any."""
    values = sorted({value.strip() for value in listed.split(",") if value.strip()})
    if [value.lower() for value in values] == [ANY]:
        return []
    if not values or any(len(value) > 3 or not value.isalnum() for value in values):
        raise click.BadParameter(f"processing ids are such as P,T,D; or any: {listed}")
    return values


def _row(feed: Feed) -> dict[str, Any]:
    return {
        "id": feed.feed_id,
        "tenant_id": feed.tenant_id,
        "name": feed.name,
        "protocol": feed.protocol,
        "zone": feed.zone.key,
        "charset": feed.charset,
        "authority": feed.authority,
        "identifier_types": feed.identifier_types,
        "processing_ids": sorted(feed.processing_ids),
        "senders": sorted(feed.senders),
        "active": feed.active,
    }
