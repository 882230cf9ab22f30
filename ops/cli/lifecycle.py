"""Commands that bring the line up and down, say how it is, and run its parts."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import click
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ops import access, deploy, keys, line
from ops.cli import shown
from ops.settings import Settings
from ops.stack import stack
from sinks import queries
from sinks.database import Database, DatabaseAway
from sinks.queries import NotMigrated, TenantUnknown

PROCESSORS = ("ledger", "read-models", "trajectory", "verification")


@click.command()
def up() -> None:
    """Start everything: servers, intake, workers.

    Fetches Kafka, the schema registry and PostgreSQL the first time. What runs already is left
    alone, what has died is started again.
    """
    settings = brought_up(Settings.load())
    shown.err().print(
        f"the line is up: MLLP on {settings.mllp_host}:{settings.mllp_port}, "
        f"HTTP on {settings.http_host}:{settings.http_port} (see: wardtrail status)"
    )


@click.command()
def down() -> None:
    """End what `up` started; the data stay."""
    settings = Settings.load()
    with stepping() as step:
        line.down(settings, progress=step)
    shown.err().print("the line is down; its data stay: ", str(settings.home), sep="")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Addresses and processes, for programs.")
def status(as_json: bool) -> None:
    """Say where everything is and how it is.

    With --json also the database's login for other programs: it shows the rows of the tenant
    demo and no others.
    """
    settings = Settings.load()
    if as_json:
        shown.json(_status(settings))
        return
    table = Table(title=None, box=None, pad_edge=False)
    for column in ("part", "state", "pid", "address", "log"):
        table.add_column(column, overflow="fold")
    addresses = {
        "serve": f"mllp {settings.mllp_host}:{settings.mllp_port}, "
        f"http {settings.http_host}:{settings.http_port}"
    }
    found = stack.status(settings)
    for each in found:
        address = each.address or (addresses.get(each.name) if each.state == "up" else None)
        table.add_row(
            each.name, each.state, str(each.pid or ""), address or "", str(each.log or "")
        )
    shown.out().print(table)
    key_file = _key_file(settings)
    if key_file is not None:
        shown.err().print(f"the key for questions over HTTP is in: {key_file}", markup=False)
    if any(each.state == "down" for each in found):
        shown.err().print("something is down (hint: wardtrail up)")


@click.command()
@click.option("--demo", is_flag=True, help="Also the tenant demo and its feed, as `up` does.")
def migrate(demo: bool) -> None:
    """Create or update roles, tables, topics and schemas.

    The deploy step: run it before workers of a new version. Runs again without harm.
    """
    settings = Settings.load()
    with stepping() as step:
        deploy.migrate(settings, progress=step)
        if demo:
            step("tenant demo")
            database = Database.open(access.role_url(settings, "wt_worker"), name="demo", size=1)
            try:
                deploy.make_demo(settings, database)
            finally:
                database.close()
    shown.err().print("database, topics and registry are as this version declares them")


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(PROCESSORS), metavar="[NAME]...")
@click.option("--in-one", is_flag=True, help="All in this process, without a supervisor.")
def worker(names: tuple[str, ...], in_one: bool) -> None:
    """Run stream processors: ledger, read-models, trajectory, verification; all if none is named.

    Each in a process of its own that is started again when it crashes. Several workers of the
    same processor share its partitions.
    """
    from ops import worker as workers  # Faust takes a second to import

    sys.exit(workers.run(Settings.load(), names, in_one=in_one))


@click.command()
def serve() -> None:
    """Take messages over MLLP; tell health and counters over HTTP."""
    from ops import serve as server  # aiohttp takes a while to import

    sys.exit(server.run(Settings.load()))


def brought_up(settings: Settings) -> Settings:
    """Bring the line up with its steps shown; the settings with every address."""
    with stepping() as step:
        return line.up(settings, progress=step)


@contextmanager
def stepping() -> Iterator[deploy.Progress]:
    """Show the step under way, with the time that all have taken, on standard error."""
    console = shown.err()
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("looking", total=None)

        def step(said: str) -> None:
            progress.update(task, description=said)
            if not console.is_terminal:
                console.print(said, markup=False)

        yield step


def _status(settings: Settings) -> dict[str, Any]:
    """What `status --json` prints; an address that isn't there is null."""
    tenant = _demo(settings)
    parts = stack.status(settings)
    states = {each.name: each.state for each in parts}
    return {
        "home": str(settings.home),
        "postgres": {
            "dsn": tenant and app_dsn(settings, tenant["id"]),
            "state": states["postgres"],
        },
        "kafka": {
            "bootstrap_servers": settings.kafka_bootstrap_servers,
            "state": states["kafka"],
        },
        "registry": {"url": settings.schema_registry_url, "state": states["registry"]},
        "mllp": {"host": settings.mllp_host, "port": settings.mllp_port or None},
        "http": {
            "host": settings.http_host,
            "port": settings.http_port or None,
            "key_file": _key_file(settings),
        },
        "tenant": tenant,
        "feed": tenant and {"name": deploy.DEMO},
        "processes": [
            {
                "name": each.name,
                "state": each.state,
                "pid": each.pid,
                "log": each.log and str(each.log),
            }
            for each in parts
        ],
    }


def app_dsn(settings: Settings, tenant_id: str) -> str:
    """The database as ``wt_app``, seeing one tenant: the setting is part of the address."""
    url = access.role_url(settings, "wt_app")
    options = quote(f"-c wt.tenant={tenant_id}", safe="")
    return f"{url}{'&' if '?' in url else '?'}options={options}"


def _key_file(settings: Settings) -> str | None:
    """The file with the generated access key, once `serve` has made it."""
    file = keys.clear_file(settings)
    return str(file) if file.exists() else None


def _demo(settings: Settings) -> dict[str, str] | None:
    """The tenant that the embedded line comes with, if the database has it."""
    if settings.database_url is None:
        return None
    try:
        with queries.as_overseer(access.role_url(settings, "wt_worker")) as connection:
            found = queries.tenant(connection, deploy.DEMO)
    except (DatabaseAway, NotMigrated, TenantUnknown):
        return None
    return {"id": str(found.tenant_id), "name": deploy.DEMO}
