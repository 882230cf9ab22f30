"""Commands that erase a person, or hold it up: asked for, carried out, and what is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any
from uuid import UUID

import click
from rich.table import Table

from ops import access, account
from ops.cli import shown, visits
from ops.cli.errors import Failed
from ops.erasing import WAIT_SECONDS, Eraser
from ops.settings import Settings
from schemas import identity
from schemas.identity import Identifier
from sinks import erasing
from sinks.database import Database
from sinks.erasing import Asked, Request
from sinks.keyring import HELD_SECONDS
from sinks.queries import Tenant

TEXT_MAX = 1_000  # as the columns hold it
METHODS = ("in-person", "document", "letter", "court-order", "other")
_JSON = click.option("--json", "as_json", is_flag=True, help="Data for programs.")


def _text(_: click.Context, __: click.Parameter, value: str) -> str:
    said = value.strip()
    if not 1 <= len(said) <= TEXT_MAX or not said.isprintable():
        raise click.BadParameter(f"a line of 1 to {TEXT_MAX} characters")
    return said


_PATIENT = click.argument(
    "patient", type=visits.patient_id(visits.NUMBER_HINT, numbered=True), metavar="PATIENT"
)
_REASON = click.option(
    "--reason", required=True, callback=_text, help="Why; it is kept. Nothing of a patient."
)


@click.group()
def erase() -> None:
    """Erase a person: destroy their key, so that nothing of theirs opens again.

    PATIENT is an id, or - for an MRN on standard input, as NUMBER or NUMBER^^^AUTHORITY.
    """


@erase.command()
@_PATIENT
@visits.tenant_option
@_REASON
@click.option(
    "--verified-by", "method", type=click.Choice(METHODS), required=True,
    help="How it was made sure who asks.",
)  # fmt: skip
@click.option("--confirm", type=click.IntRange(min=1), help="How many ids the person has.")
@_JSON
def request(
    patient: UUID | str, called: str, reason: str, method: str, confirm: int | None, as_json: bool
) -> None:
    """Ask for a person's erasure; nothing is destroyed until `erase run`.

    Every id of the person is erased, also those that were merged: they are listed, and --confirm
    says how many there are. A legal hold refuses.
    """
    settings = Settings.load()
    tenant = visits.named(settings, called)
    asked = Asked(
        tenant_id=tenant.tenant_id, patient_id=_patient(settings, tenant, patient),
        confirmed=confirm, verification_method=method, requested_by=account.name(),
        purpose=reason,
    )  # fmt: skip
    with _database(settings) as database:
        made = erasing.request(database, asked)
    if as_json:
        shown.json(asdict(made))
        return
    shown.err().print(f"ids that will be erased: {len(made.people)}; next: wardtrail erase run")
    click.echo(str(made.id))


@erase.command()
@click.argument("request_id", type=click.UUID, required=False, metavar="[REQUEST]")
@visits.tenant_option
@click.option(
    "--wait", type=click.IntRange(min=1), default=int(WAIT_SECONDS), show_default=True,
    help="Seconds at most for the ledger to tell of it.",
)  # fmt: skip
@click.option(
    "--held", type=click.IntRange(1, int(HELD_SECONDS)), default=int(HELD_SECONDS),
    show_default=True, help="The longest held_seconds of any process.",
)  # fmt: skip
@click.option(
    "--old-texts-stay", is_flag=True,
    help="End though texts of theirs are under the tenant's key.",
)  # fmt: skip
@_JSON
def run(
    request_id: UUID | None, called: str, wait: int, held: int, old_texts_stay: bool, as_json: bool
) -> None:
    """Carry out a request, or all of a tenant that are open; broken off, it goes on.

    It is announced, the keys are destroyed, raw bodies taken out of rows; then it waits until no
    process holds a key (a minute, or --held), and the database has let go of what was. Run it with
    the line up. It takes the login wt_migrate, and one that may switch the write-ahead log.

    Texts of before people had keys of their own are under the tenant's key, and stay: with
    --old-texts-stay it ends all the same, and the receipt counts them.
    """
    settings = Settings.load()
    if held < settings.held_seconds:
        raise Failed(f"held_seconds is longer here: {settings.held_seconds}", "a longer --held")
    tenant = visits.named(settings, called)
    with _database(settings) as database, shown.err().status("erasing") as status:
        eraser = Eraser.of(
            settings, database, wait_seconds=wait, held_seconds=held, tell=status.update,
            old_texts_stay=old_texts_stay,
        )  # fmt: skip
        wanted = [request_id] if request_id else _open(database, tenant.tenant_id)
        done = eraser.run(tenant.tenant_id, wanted)
    if as_json:
        shown.json([asdict(each) for each in done])
        return
    if not done:
        click.echo("no request is open")
    for each in done:
        click.echo(f"{each.status}: {each.id}")


@erase.command()
@click.argument("request_id", type=click.UUID, required=False, metavar="[REQUEST]")
@visits.tenant_option
@_JSON
def status(request_id: UUID | None, called: str, as_json: bool) -> None:
    """Show a tenant's requests, or one: where each stands, who asked, why."""
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with _database(settings) as database:
        found = _requests(database, tenant.tenant_id, request_id)
    if as_json:
        shown.json([asdict(each) for each in found])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("request", "status", "patient", "ids", "asked (UTC)", "by", "why", "said"):
        table.add_column(column, overflow="fold")
    for each in found:
        table.add_row(
            str(each.id), each.status, str(each.patient_id), str(len(each.people)),
            shown.moment(each.requested_at), shown.plain(each.requested_by),
            shown.plain(each.purpose), shown.plain(each.said or shown.NONE),
        )  # fmt: skip
    shown.out().print(table)


@erase.command()
@click.argument("request_id", type=click.UUID, metavar="REQUEST")
@visits.tenant_option
@_JSON
def receipt(request_id: UUID, called: str, as_json: bool) -> None:
    """Show what was destroyed, and until when raw bodies stay in Kafka's topics."""
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with _database(settings) as database:
        [found] = _requests(database, tenant.tenant_id, request_id)
    if found.status != "completed":
        raise Failed(f"the request is {found.status}, not completed", "wardtrail erase run")
    told = {
        "request": str(found.id), "erased_at": found.erased_at,
        "destroyed_at": found.destroyed_at, "completed_at": found.completed_at, **found.receipt,
    }  # fmt: skip
    if as_json:
        shown.json(told)
        return
    for name, value in told.items():
        for line in _lines(name, value):
            click.echo(line)


@erase.command()
@click.argument("request_id", type=click.UUID, metavar="REQUEST")
@visits.tenant_option
@_REASON
def cancel(request_id: UUID, called: str, reason: str) -> None:
    """Give up a request that wasn't taken up yet."""
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with _database(settings) as database:
        done = erasing.cancel(database, tenant.tenant_id, request_id, reason)
    click.echo(f"{done.status}: {done.id}")


@erase.command()
@_PATIENT
@visits.tenant_option
@_REASON
def hold(patient: UUID | str, called: str, reason: str) -> None:
    """Place a legal hold: the person, under every id, is not erased until it is released."""
    settings = Settings.load()
    tenant = visits.named(settings, called)
    whom = _patient(settings, tenant, patient)
    with _database(settings) as database:
        placed = erasing.hold(
            database, tenant.tenant_id, whom, reason=reason, placed_by=account.name()
        )
    click.echo(f"on hold: {placed.patient_id}")


@erase.command()
@_PATIENT
@visits.tenant_option
def release(patient: UUID | str, called: str) -> None:
    """Release every legal hold on a person."""
    settings = Settings.load()
    tenant = visits.named(settings, called)
    whom = _patient(settings, tenant, patient)
    with _database(settings) as database:
        released = erasing.release(
            database, tenant.tenant_id, whom, released_by=account.name()
        )  # fmt: skip
    click.echo(f"released: {released}")


@erase.command()
@visits.tenant_option
@_JSON
def holds(called: str, as_json: bool) -> None:
    """List the legal holds of a tenant that stand."""
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with (
        _database(settings) as database, database.connection() as connection,
        connection.transaction(),
    ):  # fmt: skip
        found = erasing.holds(connection, tenant.tenant_id)
    if as_json:
        shown.json([asdict(each) for each in found])
        return
    for each in found:
        click.echo(
            f"{each.patient_id}  since {shown.moment(each.placed_at)} by"
            f" {shown.safe(each.placed_by)}: {shown.safe(each.reason)}"
        )


def _open(database: Database, tenant_id: UUID) -> list[UUID]:
    """The requests that wait or were begun, oldest first."""
    with database.connection() as connection, connection.transaction():
        found = erasing.requests(connection, tenant_id, unfinished=True)
    return [each.id for each in reversed(found)]


def _requests(database: Database, tenant_id: UUID, request_id: UUID | None) -> list[Request]:
    with database.connection() as connection, connection.transaction():
        return erasing.requests(connection, tenant_id, request_id=request_id)


def _patient(settings: Settings, tenant: Tenant, patient: UUID | str) -> UUID:
    """The patient who is meant; without an id by the number on standard input."""
    if isinstance(patient, UUID):
        return patient
    number, authority = visits.number_on_stdin("number", "wardtrail erase request - < FILE")
    with visits.reading(settings, tenant) as snapshot:
        held = visits.keys(settings, snapshot, tenant)
        hashed = identity.lookup(held.identity, Identifier(value=number, authority=authority))
        found = erasing.patients_of(snapshot, UUID(bytes=hashed), authority or None)
    if len(found) != 1:
        said = "several patients have" if found else "no patient has"
        hint = "NUMBER^^^AUTHORITY on standard input" if found or not authority else ""
        raise Failed(f"{said} this number", hint)
    return next(iter(found))


def _lines(name: str, value: Any) -> Iterator[str]:  # noqa: ANN401  any JSON
    called = name.replace("_", " ")
    if isinstance(value, dict):
        for each, one in value.items():
            yield f"{called}: {each}: {one or 'for ever'}"
    elif isinstance(value, list):
        for each in value:
            yield f"{called}: " + ", ".join(f"{part} {one}" for part, one in each.items())
    else:
        yield f"{called}: {value}"


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    database = Database.open(access.role_url(settings, "wt_worker"), name="erase", size=2)
    try:
        yield database
    finally:
        database.close()
