"""Commands over keys: how they stand, new ones, and another root key."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ops import access
from ops.cli import shown, visits
from ops.settings import Settings
from schemas.sealing import SEALS_MAX, EnvelopeInvalid, KeyService, KeyServiceAway
from sinks import queries, rotation
from sinks.database import Database
from sinks.queries import Snapshot, Tenant
from sinks.rotation import Status

_JSON = click.option("--json", "as_json", is_flag=True, help="Data for programs.")
_KINDS = "file:PATH, env:NAME (base64), or vault:KEY"


@click.group()
def keys() -> None:
    """See and change the keys that seal patients' data."""


@keys.command("status")
@visits.tenant_option
@_JSON
def status_(called: str, as_json: bool) -> None:
    """Show a tenant's keys: versions, what each wraps and sealed, who was erased.

    Also whether the root key that is set here opens them.
    """
    settings = Settings.load()
    with _database(settings) as database, database.connection() as connection:
        tenant = _tenant(settings, called)
        with connection.transaction():
            found = rotation.status(connection, tenant.tenant_id)
        with visits.reading(settings, tenant) as snapshot:
            opens, why = _opens(settings, snapshot, tenant)
    if as_json:
        data = {"tenant": tenant.tenant_id, **asdict(found), "seals_max": SEALS_MAX}
        shown.json({**data, "opens": opens, "why": why})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("version", "made at", "seals counted", "people's keys wrapped"):
        table.add_column(column, justify="left" if column == "made at" else "right")
    for each in found.versions:
        at = shown.moment(each.created_at)
        table.add_row(str(each.version), at, f"{each.sealed:,}", f"{each.wraps:,}")
    shown.out().print(table)
    click.echo(_summary(found))
    if opens is not True:
        said = "don't open, nothing is taken for the tenant" if opens is False else "can't be told"
        shown.err().print(f"its keys {said}: {why}", markup=False)


@keys.command()
@visits.tenant_option
@_JSON
def rotate(called: str, as_json: bool) -> None:
    """Make a new data key of a tenant, and wrap its people's keys by it.

    Workers go on meanwhile, and seal by the new key within a minute; what older ones sealed
    stays readable. A rotation that was broken off is brought to its end by the same command,
    without a further key.
    """
    settings = Settings.load()
    tenant = _tenant(settings, called)
    with _database(settings) as database, _bar("people's keys") as progress:
        done = rotation.rotate(database, access.root(settings), tenant.tenant_id, progress)
    if as_json:
        shown.json({"tenant": tenant.tenant_id, **asdict(done)})
        return
    said = "new version" if done.made else "brought to its end, version"
    click.echo(f"{said}: {done.version}, people's keys wrapped by it: {done.rewrapped:,}")


@keys.command()
@click.option("--from", "old", required=True, help=f"The root key until now: {_KINDS}.")
@click.option("--to", "new", help=f"The root key from now on: {_KINDS}; by default as is set.")
@_JSON
def rewrap(old: str, new: str | None, as_json: bool) -> None:
    """Wrap every tenant's keys by another root key, and seal dead letters anew under it.

    Processes that run with the old root key halt within a minute, without losing anything, and
    go on when they are started with the new one; then run this once more, for the dead letters
    that they left. It takes the login wt_migrate. What is done already is passed over.
    """
    settings = Settings.load()
    before = _service(settings, old)
    after = access.root(settings) if new is None else _service(settings, new)
    url = access.role_url(settings, "wt_migrate")
    with _database(settings) as database, _bar("tenants' keys") as progress:
        try:
            changed = rotation.change_root(database, url, before, after, progress)
        except EnvelopeInvalid:  # of one tenant: the letters are everybody's
            rotation.reseal_letters(database, before, after)
            raise
        letters = rotation.reseal_letters(database, before, after)
    if as_json:
        shown.json({"tenant_keys": changed, "dead_letters": letters})
        return
    click.echo(f"tenants' keys wrapped anew: {changed:,}, dead letters sealed anew: {letters:,}")


def _service(settings: Settings, named: str) -> KeyService:
    """The key service that an option names; the key itself never stands in a command line."""
    kind, _, value = named.partition(":")
    if kind == "file" and value:
        return access.root_of_file(Path(value).expanduser())
    if kind == "env" and value:
        return access.root_of_text(os.environ.get(value, ""), value)
    if kind == "vault" and value:
        return access.vault(settings, value)
    raise click.UsageError(f"a root key is named by {_KINDS}")


def _opens(
    settings: Settings, snapshot: Snapshot, tenant: Tenant
) -> tuple[bool | None, str | None]:
    """Whether the root key opens the tenant's keys, and why not; None where nobody answers."""
    try:
        why = visits.shut(settings, snapshot, tenant)
    except (KeyServiceAway, access.NotConfigured) as away:
        return None, str(away)
    return why is None, why


def _summary(found: Status) -> str:
    progress = "none waits"
    if found.waiting:
        progress = f"{found.waiting:,} wait for: wardtrail keys rotate"
    return (
        f"people: {found.subjects:,}, erased: {found.destroyed:,}, "
        f"most sealed by one key: {found.most_sealed:,} of {SEALS_MAX:,}, rotation: {progress}"
    )


def _tenant(settings: Settings, called: str) -> Tenant:
    with queries.as_overseer(access.role_url(settings, "wt_worker")) as snapshot:
        return queries.tenant(snapshot, called)


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = Database.open(access.role_url(settings, "wt_worker"), name="keys", size=2)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _bar(said: str) -> Iterator[Callable[[int, int], Any]]:
    """Progress on standard error, where that is a terminal."""
    console = shown.err()
    with Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task(said, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
