"""Which tenant and which visit a command means, out of what the user wrote."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import click

from ops import access, obeying
from ops.cli.errors import Failed
from ops.deploy import DEMO
from ops.settings import Settings
from schemas import identity
from schemas.identity import Identifier
from schemas.sealing import EnvelopeInvalid, Keys
from sinks import queries, tenancy
from sinks.database import Database
from sinks.keyring import Keyring
from sinks.queries import Snapshot, Tenant
from streams.log import BrokerAway

NUMBER_CHARACTERS_MAX = 1_000  # HL7's longest identifier has 250
STDIN = "-"
Meant: TypeAlias = UUID | None  # None: a visit number on standard input
_Command = TypeVar("_Command", bound=Callable[..., Any])

tenant_option = click.option(
    "--tenant", "called", default=DEMO, show_default=True, help="A tenant's subdomain, name or id."
)
reason_option = click.option(
    "--reason", "why", help="Why a patient's data is opened; it is kept. Nothing of a patient."
)


class Instant(click.ParamType):
    """An instant in ISO 8601 with its zone, such as 2026-03-02T10:00:00Z."""

    name = "instant"

    def convert(
        self,
        value: Any,  # noqa: ANN401  as click declares it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> datetime:
        """Read it; a local time is refused, since nobody says whose."""
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"not an instant (such as 2026-03-02T10:00:00Z): {value}", param, ctx)
        if at.tzinfo is None:
            self.fail(f"an instant needs its zone (such as Z or +01:00): {value}", param, ctx)
        try:
            at.astimezone(UTC)
        except OverflowError:
            self.fail(f"not an instant in the years 1 to 9999 of UTC: {value}", param, ctx)
        return at


class Id(click.ParamType):
    """The id of a visit or a patient; also `-`, where their number may come by standard input."""

    def __init__(self, name: str, refusal: str, *, numbered: bool = True) -> None:
        self.name, self._refusal, self._numbered = name, refusal, numbered

    def convert(
        self,
        value: Any,  # noqa: ANN401  as click declares it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> UUID | str:
        """The id or `-`; anything else is refused and not repeated: it may be a number."""
        if isinstance(value, UUID):
            return value
        try:
            return STDIN if self._numbered and value == STDIN else UUID(value)
        except ValueError:
            self.fail(self._refusal, param, ctx)


NUMBER_HINT = "put - here and the number on standard input"
VISIT = Id(
    "admission",
    "an admission's id is a UUID; a visit number never stands in a command line, where others can"
    f" read it (hint: {NUMBER_HINT})",
)


def patient_id(hint: str, *, numbered: bool) -> Id:
    """The id of a patient, whose MRN is refused with a hint."""
    return Id(
        "patient",
        "a patient's id is a UUID; an MRN never stands in a command line, where others can read it"
        f" (hint: {hint})",
        numbered=numbered,
    )


def visit_options(command: _Command) -> _Command:
    """The argument and options that name a visit."""
    for decorate in (
        tenant_option,
        click.option(
            "--authority",
            help="Who assigned the visit number; by default every authority that is known.",
        ),
        click.option("--visit-number-stdin", is_flag=True, help="The same as - for ADMISSION."),
        click.argument("admission", type=VISIT, required=False),
    ):
        command = decorate(command)
    return command


def meant(admission: UUID | str | None, *, visit_number_stdin: bool) -> Meant:
    """What the argument and the flag say together; both or neither is misuse."""
    if isinstance(admission, UUID) and visit_number_stdin:
        raise click.UsageError("either an admission's id or a visit number, not both")
    if isinstance(admission, UUID):
        return admission
    if admission is None and not visit_number_stdin:
        raise click.UsageError("which visit? An admission's id, or - for a visit number")
    return None


def named(settings: Settings, called: str) -> Tenant:
    """The tenant of this name."""
    with queries.as_overseer(access.role_url(settings, "wt_worker")) as connection:
        return queries.tenant(connection, called)


@contextmanager
def reading(settings: Settings, tenant: Tenant) -> Iterator[Snapshot]:
    """A snapshot that shows this tenant's rows."""
    with queries.as_tenant(access.role_url(settings, "wt_app"), tenant.tenant_id) as connection:
        yield connection


def visit(
    settings: Settings,
    connection: Snapshot,
    tenant: Tenant,
    admission: Meant,
    *,
    authority: str | None,
) -> UUID:
    """The visit that is meant, which we must have heard of; without an id from standard input."""
    if isinstance(admission, UUID):
        if not queries.visits(connection, [admission]):
            raise Failed(f"no visit of this tenant has this id: {admission}")
        return admission
    number, said = number_on_stdin("visit number", "wardtrail where - < FILE")
    held = keys(settings, connection, tenant)
    tried = [authority or said] if authority or said else _authorities(connection, tenant)
    ids = {
        identity.admission(held.identity, Identifier(value=number, authority=each)): each
        for each in tried
    }
    found = queries.visits(connection, list(ids))
    if len(found) > 1:
        several = ", ".join(sorted(ids[each] for each in found))
        raise Failed(f"several visits have this number, assigned by: {several}", "--authority")
    if not found:
        raise Failed(
            f"no visit has this number, assigned by any of: {', '.join(sorted(set(tried)))}",
            "--authority NAME, or NUMBER^^^NAME on standard input",
        )
    return found[0]


def keys(settings: Settings, connection: Snapshot, tenant: Tenant) -> Keys:
    """The tenant's keys; `EnvelopeInvalid` under another root key."""
    wrapped = tenancy.wrapped_keys(connection, [tenant.tenant_id])
    held = tenancy.unwrap(wrapped, access.root(settings)).get(tenant.tenant_id)
    if held is None:
        raise Failed(f"the tenant has no keys: {tenant.name}", "wardtrail migrate")
    return held


def shut(settings: Settings, connection: Snapshot, tenant: Tenant) -> str | None:
    """Why the root key that is set here doesn't open the tenant's keys; None where it does."""
    wrapped = tenancy.wrapped_keys(connection, [tenant.tenant_id])
    try:
        tenancy.unwrap(wrapped, access.root(settings))
    except EnvelopeInvalid as invalid:
        return str(invalid)
    return None


@contextmanager
def keyring(settings: Settings) -> Iterator[Keyring]:
    """People's keys, as processes have them that may open what is sealed.

    Erasures are obeyed first: of a database that was restored nothing is opened before that.
    """
    database = Database.open(access.role_url(settings, "wt_worker"), name="keys", size=2)
    try:
        try:
            obeying.replay(settings, database)
        except BrokerAway as away:
            raise Failed(
                f"nothing is opened before the log of erasures is read: {away}",
                "is it up? see: wardtrail status",
            ) from None
        yield Keyring(database, access.root(settings), held_seconds=settings.held_seconds)
    finally:
        database.close()


def with_people(keyring: Keyring, held: Keys, people: Iterable[UUID]) -> Keys:
    """The tenant's keys with those of these people; nobody is given a key by it."""
    found = keyring.reading({(held.tenant_id, each) for each in people})
    keys = held.apart()
    keys.subjects.update({name[1]: subject for name, subject in found.items()})
    return keys


def number_on_stdin(what: str, usage: str) -> tuple[str, str]:
    """The first line of standard input: the number, and its authority if it names one."""
    text = click.get_text_stream("stdin").readline(NUMBER_CHARACTERS_MAX + 1)
    if len(text) > NUMBER_CHARACTERS_MAX:
        raise Failed(f"the {what} on standard input is too long")
    parts = text.strip().split("^")
    number = parts[0].strip()
    if not number:
        raise Failed(f"no {what} on standard input", usage)
    authority = parts[3].partition("&")[0].strip() if len(parts) > 3 else ""
    return number, authority


def _authorities(connection: Snapshot, tenant: Tenant) -> list[str]:
    """Whose numbers we know: the feeds' default authorities, and those that named people."""
    own = [each.feed.authority for each in tenancy.feeds(connection, [tenant.tenant_id])]
    return list(dict.fromkeys([*own, *queries.authorities(connection)]))
