"""Commands over feeds: who sends, and how its messages are read."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID

import click
from rich.table import Table

from ops import access
from ops.cli import feed_options, shown, visits
from ops.cli.feed_options import ANY
from ops.settings import Settings
from producers import intake
from schemas.feeds import Feed
from schemas.sealing import KeyServiceAway
from sinks import feeds as bound
from sinks import queries, tenancy
from sinks.database import Database
from sinks.feeds import Instance
from sinks.queries import Snapshot, Tenant
from sinks.tables.intake import EMR_SYSTEMS

NAME_MAX = 100


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
        instances = bound.instances(snapshot, tenant.tenant_id)
        shut = _shut(settings, snapshot, tenant)
    rows = [
        {**_row(each.feed, instances), "port": each.port, "keys_open": shut is None}
        for each in listened
    ]
    if as_json:
        shown.json(rows)
        return
    table = Table(box=None, pad_edge=False)
    columns = (
        "name", "zone", "charset", "authority", "takes", "senders", "port", "EMR", "quotas",
        "active",
    )  # fmt: skip
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(
            shown.plain(row["name"]),
            row["zone"],
            row["charset"] or "as said",
            shown.plain(row["authority"]),
            ",".join(row["processing_ids"]) or ANY,
            shown.plain(_binding(row)) or ANY,
            str(row["port"] or settings.mllp_port or "default"),
            shown.plain(row["emr"] or shown.NONE),
            _quotas(row),
            shown.plain(_active(row)),
        )
    shown.out().print(table)
    if shut is not None:
        shown.err().print(f"nothing is taken: {shut}", markup=False)


def _shut(settings: Settings, snapshot: Snapshot, tenant: Tenant) -> str | None:
    """Why the tenant's keys stop its feeds; None also where that can't be told here."""
    try:
        return visits.shut(settings, snapshot, tenant)
    except (KeyServiceAway, access.NotConfigured):
        return None


def _active(row: Mapping[str, Any]) -> str:
    if row["fault"]:
        return f"no: {row['fault']}"
    if row["suspended"]:
        return "no: its tenant is suspended"
    if not row["keys_open"]:
        return "no: its tenant's keys don't open"
    return "yes" if row["active"] else "no"


@feeds.command()
@click.argument("name")
@visits.tenant_option
@feed_options.bound
def add(name: str, called: str, **said: Any) -> None:  # noqa: ANN401  click's options
    """Make a feed: who sends, by which port, and how its messages are read."""
    if not name.strip() or len(name) > NAME_MAX or not name.isprintable() or name == tenancy.APP:
        raise click.BadParameter(f"a feed's name has 1 to {NAME_MAX} printable characters")
    _apply(name, called, said, new=True)


@feeds.command("set")
@click.argument("name")
@visits.tenant_option
@feed_options.bound
def set_(name: str, called: str, **said: Any) -> None:  # noqa: ANN401  click's options
    """Change how a feed is recognised and read; holds for messages from now on."""
    if all(value is None for value in said.values()):
        raise click.UsageError("nothing to set (hint: --zone Europe/London)")
    _apply(name, called, said, new=False)


@feeds.command()
@click.argument("name")
@visits.tenant_option
def pause(name: str, called: str) -> None:
    """Take nothing more by a feed; what was taken is processed."""
    _switch(name, called, active=False)


@feeds.command()
@click.argument("name")
@visits.tenant_option
def resume(name: str, called: str) -> None:
    """Take messages by a paused feed again."""
    _switch(name, called, active=True)


@feeds.command()
@visits.tenant_option
@click.option("--hours", type=click.IntRange(1, bound.HOURS_KEPT), default=24, show_default=True)
@click.option("--unclaimed", is_flag=True, help="What fitted no tenant of a port of several.")
@click.option("--said", help="APPLICATION|FACILITY: show what was refused of this sender only.")
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def refusals(called: str, hours: int, unclaimed: bool, said: str | None, as_json: bool) -> None:
    """Show what was refused, by hour, feed and reason.

    Of senders only keyed hashes are kept; --said finds the one whose names you know.
    """
    settings = Settings.load()
    with queries.as_overseer(access.role_url(settings, "wt_worker")) as snapshot:
        tenant = queries.tenant(snapshot, called)
        found = bound.refusals(snapshot, None if unclaimed else tenant.tenant_id, hours)
        if said is not None:
            application, _, facility = said.partition("|")
            key = visits.keys(settings, snapshot, tenant).identity
            whose = intake.sender_hmac(key, application, facility)
            found = [each for each in found if each.sender_hmac == whose]
    if as_json:
        shown.json([asdict(each) for each in found])
        return
    if not found:
        click.echo("nothing was refused")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("hour", "port", "feed", "reason", "sender", "refused", "last"):
        table.add_column(column)
    for each in found:
        table.add_row(
            shown.moment(each.hour), str(each.port), shown.plain(each.feed or shown.NONE),
            each.reason, str(each.sender_hmac or shown.NONE)[:8], str(each.refused),
            shown.moment(each.last_at),
        )  # fmt: skip
    shown.out().print(table)


def _apply(name: str, called: str, said: dict[str, Any], *, new: bool) -> None:
    """Make a feed, or change one, as the options say."""
    settings = Settings.load()
    changed = feed_options.changed(said)
    tenant = visits.named(settings, called)
    with _database(settings) as database:
        if said["emr"] is not None:
            changed["emr_instance_id"] = _instance(database, tenant.tenant_id, said["emr"])
        if new:
            bound.add(database, tenant.tenant_id, name, changed)
        else:
            tenancy.set_feed(database, tenant.tenant_id, name, changed)
    told = ", ".join(f"{key} {value or ANY}" for key, value in changed.items())
    shown.err().print(f"{name}: {told or 'added'}", markup=False)


def _switch(name: str, called: str, *, active: bool) -> None:
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with _database(settings) as database:
        tenancy.set_feed(database, tenant.tenant_id, name, {"is_active": active})
    state = "takes messages again" if active else "takes nothing more"
    shown.err().print(f"{name}: {state}, in some seconds", markup=False)


def _instance(database: Database, tenant_id: UUID, said: str) -> UUID | None:
    """The EMR instance of this kind and name, made if it isn't there."""
    if not said.strip():
        return None
    kind, _, name = said.partition(":")
    if kind not in EMR_SYSTEMS or not 1 <= len(name.strip()) <= NAME_MAX:
        raise click.BadParameter(
            f"an EMR instance is KIND:NAME, of a kind of {', '.join(EMR_SYSTEMS)}: {said}"
        )
    return bound.instance(database, tenant_id, name.strip(), kind)


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = Database.open(access.role_url(settings, "wt_worker"), name="feeds", size=1)
    try:
        yield database
    finally:
        database.close()


def _binding(row: dict[str, Any]) -> str:
    """By what a feed is recognised, in one cell."""
    parts = [
        ("", row["senders"]), ("at ", row["facilities"]),
        ("to ", row["receiving_applications"]), ("of ", row["receiving_facilities"]),
        ("cert ", [each[:8] for each in row["certificates"]]),
    ]  # fmt: skip
    return "; ".join(said + ",".join(values) for said, values in parts if values)


def _quotas(row: dict[str, Any]) -> str:
    parts = [(row["messages_per_second"], "/s"), (row["connections_max"], " connections")]
    return ", ".join(f"{value}{unit}" for value, unit in parts if value) or shown.NONE


def _row(feed: Feed, instances: Mapping[UUID, Instance]) -> dict[str, Any]:
    emr = instances.get(feed.emr_instance_id) if feed.emr_instance_id else None
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
        "fault": feed.fault,
        "suspended": feed.suspended,
        "emr": emr and f"{emr.emr_system}:{emr.name}",
        "facilities": sorted(feed.facilities),
        "receiving_applications": sorted(feed.receiving_applications),
        "receiving_facilities": sorted(feed.receiving_facilities),
        "certificates": sorted(feed.certificates),
        "refusal_answer": feed.refusal_answer,
        "transient_answer": feed.transient_answer,
        "acknowledgement": feed.acknowledgement,
        "answer_when": feed.answer_when,
        "ignored_answer": feed.ignored_answer,
        "messages_per_second": feed.messages_per_second,
        "connections_max": feed.connections_max,
        "in_flight_bytes_max": feed.in_flight_bytes_max,
    }
