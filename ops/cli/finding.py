"""The command that finds patients by what it reads on standard input."""

from dataclasses import replace
from uuid import UUID

import click
import orjson

from ops import finding, openings
from ops.cli import shown, visits
from ops.cli.errors import Failed
from ops.parameters import Misasked
from ops.settings import Settings
from schemas import sealing
from schemas.sealing import EnvelopeInvalid, KeyMissing, Keys
from sinks import lookups, queries
from sinks.lookups import Patient
from streams.read_models import PATIENTS

QUERY_BYTES_MAX = 4_096


@click.command()
@visits.tenant_option
@visits.reason_option
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def find(called: str, why: str | None, as_json: bool) -> None:
    """Find patients by name, birth date or MRN: a query as JSON on standard input.

    Such as {"name": "...", "birth_date": "1970-01-31"}; name_prefix has the beginnings of names,
    mrn is {"value": "...", "authority": "..."}. All that is given must fit. It never stands in
    the command line, where every account of the machine can read it. Who asked and why is kept in
    the home's logs/opened.log, and not what.
    """
    query = _query()
    settings = Settings.load()
    tenant = visits.named(settings, called)
    openings.note(settings, what="find", tenant_id=tenant.tenant_id, why=why)
    with visits.keyring(settings) as keyring, visits.reading(settings, tenant) as snapshot:
        held = visits.keys(settings, snapshot, tenant)
        try:
            asked = finding.read(query, held)
        except Misasked as misasked:
            raise Failed(str(misasked), misasked.hint) from None
        found, more = lookups.find(snapshot, asked["sought"])
        late = queries.behind(snapshot, PATIENTS.name)
        keys = visits.with_people(keyring, held, [UUID(each.id) for each in found])
    opened = [replace(each, demographics=_opened(each, keys)) for each in found]
    if as_json:
        shown.json({"patients": opened, "cut": more, "behind": late})
        return
    if late:
        click.echo(f"wardtrail: patients are {late} events behind (see: wardtrail lag)", err=True)
    for each in opened:
        click.echo(_line(each.id, each.demographics))
    if more:
        click.echo("wardtrail: there are more (hint: say more of whom you mean)", err=True)
    if not opened:
        click.echo("nobody is all that")


def _query() -> object:
    text = click.get_binary_stream("stdin").read(QUERY_BYTES_MAX + 1)
    if len(text) > QUERY_BYTES_MAX:
        raise Failed(f"a query has at most so many bytes: {QUERY_BYTES_MAX}")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # its text quotes the query
        raise Failed("the query on standard input is not JSON", "wardtrail find < FILE") from None


def _opened(patient: Patient, held: Keys) -> dict[str, object] | None:
    """What is sealed of the patient; none where nothing is, or its key is destroyed."""
    if patient.demographics is None:
        return None
    try:
        envelope = sealing.untext(patient.demographics)
        record = sealing.header(envelope).record
        clear = held.open(envelope, person=UUID(patient.id), record=record, field="demographics")
    except (EnvelopeInvalid, KeyMissing):
        return None
    opened: dict[str, object] = orjson.loads(clear)
    return opened


def _line(patient_id: str, demographics: dict[str, object] | None) -> str:
    if demographics is None:
        return f"{patient_id}  (nothing is known, or may be seen)"
    names = demographics.get("names")
    first = names[0] if isinstance(names, list) and names else {}
    called = " ".join(first[part] for part in ("given", "middle", "family") if first.get(part))
    said = (called, str(demographics.get("birth_date") or ""))
    return "  ".join([patient_id, *(shown.safe(each) for each in said if each)])
