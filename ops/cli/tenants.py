"""Commands over tenants: who they are, whether they go on, and their end."""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import click
from rich.table import Table

from ops import access, account, feed_copy, openings, tenant_export, tenant_fields
from ops.cli import shown, visits
from ops.cli.errors import Failed
from ops.opening import nobodys
from ops.settings import Settings
from schemas.topics import FOREVER_MS, TOPICS
from sinks import lifecycle, tenancy
from sinks.database import Database
from sinks.keyring import Keyring
from sinks.queries import TenantUnknown

_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group()
def tenants() -> None:
    """Create, list, suspend, write out and delete tenants."""


def _described(command: _Command) -> _Command:
    """The options that describe a tenant."""
    for decorate in (
        click.option(
            "--erased-people",
            type=click.Choice(["dark", "anew"]),
            help="What is reported of them later: stays dark, or comes anew.",
        ),
        click.option("--messages-per-second", type=click.IntRange(min=1), help="Of all its feeds."),
        click.option("--integrations", help="Settings of outside systems: a JSON object."),
        click.option("--branding", help="Logo, colours: a JSON object."),
        click.option("--enabled-specialties", help='Such as ["cardiac", "ortho"].'),
        click.option("--features", help='Feature flags, such as {"analytics": true}.'),
        click.option("--plan", help="The plan it is on, such as enterprise."),
    ):
        command = decorate(command)
    return command


@tenants.command()
@click.argument("name")
@click.option("--subdomain", required=True, help="The first label of its host name.")
@_described
def create(name: str, subdomain: str, **said: Any) -> None:  # noqa: ANN401  click's options
    """Create a tenant with its keys and its feed of commands; again does no harm."""
    settings = Settings.load()
    name, subdomain = tenant_fields.name(name), tenant_fields.subdomain(subdomain)
    described = _checked(said)
    with _database(settings) as database:
        there = lifecycle.named_alike(database, name, subdomain)
        tenant_id = there.tenant_id if there else uuid4()
        secret = tenancy.Secrets(secrets.token_bytes(32), secrets.token_bytes(32))
        tenancy.create_tenant(
            database, access.root(settings), tenant_id=tenant_id, name=name,
            subdomain=subdomain, secret=secret,
        )  # fmt: skip
        if lifecycle.named_alike(database, name, subdomain) is None:
            raise Failed(f"another process made a tenant of this subdomain: {subdomain}")
        if described:
            lifecycle.describe(database, tenant_id, described)
    shown.err().print(f"{name}: {'there already' if there else 'created'}", markup=False)
    click.echo(str(tenant_id))


@tenants.command("set")
@click.argument("called")
@_described
def set_(called: str, **said: Any) -> None:  # noqa: ANN401  click's options
    """Change what is said of a tenant."""
    settings = Settings.load()
    described = _checked(said)
    if not described:
        raise click.UsageError("nothing to set (hint: --plan enterprise)")
    tenant = visits.named(settings, called)
    with _database(settings) as database:
        lifecycle.describe(database, tenant.tenant_id, described)
    shown.err().print(f"{tenant.name}: {', '.join(described)}", markup=False)


@tenants.command("list")
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def list_(as_json: bool) -> None:
    """List all tenants."""
    with _database(Settings.load()) as database:
        every = lifecycle.tenants(database)
    if as_json:
        shown.json([asdict(each) for each in every])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "subdomain", "plan", "state", "since", "specialties", "id"):
        table.add_column(column)
    for each in every:
        table.add_row(
            shown.plain(each.name), each.subdomain or shown.NONE, each.plan or shown.NONE,
            "active" if each.active else "suspended",
            shown.moment(each.suspended_at or each.created_at),
            ", ".join(each.enabled_specialties) or shown.NONE, str(each.tenant_id),
        )  # fmt: skip
    shown.out().print(table)


@tenants.command()
@click.argument("called")
def suspend(called: str) -> None:
    """Take nothing more for a tenant and answer nothing; what was taken is processed."""
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with _database(settings) as database:
        changed = lifecycle.suspend(database, tenant.tenant_id)
    shown.err().print(
        f"{tenant.name}: {'suspended, everywhere in some seconds' if changed else 'was suspended'}",
        markup=False,
    )


@tenants.command()
@click.argument("called")
def resume(called: str) -> None:
    """Take messages and answer questions of a suspended tenant again."""
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with _database(settings) as database:
        changed = lifecycle.resume(database, tenant.tenant_id)
    said = "active again, everywhere in some seconds" if changed else "was active"
    shown.err().print(f"{tenant.name}: {said}", markup=False)


@tenants.command()
@click.argument("called")
@click.option("--to", "file", type=click.Path(dir_okay=False, path_type=Path), required=True)
@click.option("--open", "opened", is_flag=True, help="Open what is sealed: a patient's data.")
@click.option("--reason", help="Why it is opened; kept in the manifest and in logs/opened.log.")
def export(called: str, file: Path, opened: bool, reason: str | None) -> None:
    """Write everything of a tenant to a file, one JSON object per line, with a manifest."""
    reason = (reason or "").strip()[: openings.WHY_MAX]
    if opened != bool(reason):
        raise click.UsageError("--open and --reason go together")
    settings = Settings.load()
    url = access.role_url(settings, "wt_worker")
    tenant = visits.named(settings, called)
    keys = None
    if opened:
        with visits.reading(settings, tenant) as snapshot:
            keys = visits.keys(settings, snapshot, tenant)
        openings.note(
            settings, what="tenants export --open", tenant_id=tenant.tenant_id, why=reason
        )  # fmt: skip
    ring: AbstractContextManager[Keyring | None]
    ring = visits.keyring(settings) if opened else nullcontext()
    with shown.err().status("writing") as status, ring as keyring:
        written = tenant_export.write(
            url, tenant.tenant_id, file, keys=keys,
            people=keyring.reading if keyring else nobodys,
            tell=lambda table, rows: status.update(f"{table}: {rows}"),
        )  # fmt: skip
    beside = tenant_export.manifest(
        file, written, tenant_id=str(tenant.tenant_id), tenant=tenant.name, opened=opened,
        reason=reason or None, by=account.name(),
    )  # fmt: skip
    with _database(settings) as database:
        lifecycle.exported(database, tenant.tenant_id, written.as_of)
    shown.err().print(f"{sum(written.tables.values())} rows: {file}, {beside.name}", markup=False)


@tenants.command()
@click.argument("called")
@click.option("--confirm", required=True, help="The tenant's name, typed out.")
@click.option("--force", is_flag=True, help="Though it is active, or not written out.")
def delete(called: str, confirm: str, force: bool) -> None:
    """Destroy a tenant's keys and delete its rows everywhere; nothing brings them back.

    After a kill, the same again goes on. Kafka's topics keep its sealed records until their
    retention is over; nothing can open them.
    """
    settings = Settings.load()
    with _database(settings) as database:
        tenant_id = _to_delete(settings, database, called, confirm)
        if force:
            lifecycle.suspend(database, tenant_id)
        if lifecycle.tombstone(database, tenant_id) is None:
            lifecycle.deletable(database, tenant_id, force=force)
        with shown.err().status("deleting") as status:
            counted = lifecycle.delete(
                access.role_url(settings, "wt_migrate"), tenant_id, confirm,
                ready=lambda: lifecycle.drained(database, tenant_id),
                tell=lambda table, rows: status.update(f"{table}: {rows}"),
            )  # fmt: skip
    feed_copy.forget(settings.home / feed_copy.NAME, tenant_id)
    shown.err().print(f"deleted: {sum(counted.values())} rows, keys first", markup=False)
    for name, until in held_until(datetime.now(UTC)).items():
        said = "until it is deleted" if until is None else f"until {shown.moment(until)} UTC"
        shown.err().print(f"records (ids, sealed texts) stay in {name} {said}", markup=False)


def held_until(now: datetime) -> Mapping[str, datetime | None]:
    """Until when each topic holds what was published now, at the latest; None: for ever."""
    return {
        topic.name: None if topic.retention_ms == FOREVER_MS
        else now + timedelta(milliseconds=topic.retention_ms)
        for topic in TOPICS.values()
    }  # fmt: skip


def _to_delete(settings: Settings, database: Database, called: str, confirm: str) -> UUID:
    """The tenant that is meant, also one that is half deleted; its name must be typed out."""
    try:
        tenant = visits.named(settings, called)
    except TenantUnknown:
        try:
            tenant_id = UUID(called)
        except ValueError:
            raise
        stone = lifecycle.tombstone(database, tenant_id)
        if stone is None:
            raise
        if stone.name_sha256 != hashlib.sha256(confirm.encode()).digest():
            raise Failed("--confirm isn't the tenant's name") from None
        return tenant_id
    if confirm != tenant.name:
        raise Failed("--confirm isn't the tenant's name", "wardtrail tenants list")
    return tenant.tenant_id


def _checked(said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of a tenant, each value as its column takes it."""
    return {
        name: tenant_fields.CHECKED[name](value) if name in tenant_fields.CHECKED else value
        for name, value in said.items()
        if value is not None
    }


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = Database.open(access.role_url(settings, "wt_worker"), name="tenants", size=1)
    try:
        yield database
    finally:
        database.close()
