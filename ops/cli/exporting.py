"""The command that writes what is derived to standard output, for other programs."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import click
import orjson

from ops import openings
from ops.cli import shown, visits
from ops.cli.visits import Instant
from ops.settings import Settings
from schemas.sealing import EnvelopeInvalid, KeyDestroyed, Keys
from sinks import queries
from sinks.keyring import Keyring
from sinks.queries import Exported

PAGE = 1_000  # rows whose people's keys are asked for at once


@click.group()
def export() -> None:
    """Write what is derived, one JSON object per line, for other programs."""


@export.command()
@visits.tenant_option
@click.option(
    "--ndjson",
    is_flag=True,
    expose_value=False,
    help="One JSON object per line; there is no other form.",
)
@click.option(
    "--track", type=click.Choice(["census", "physical", "planned"]), help="Only this track."
)
@click.option("--known-at", type=Instant(), help="As it was known then; by default now.")
@visits.reason_option
def trajectory(called: str, track: str | None, known_at: datetime | None, why: str | None) -> None:
    """Write every stay of every visit, in the order of visit, track and time.

    Visit numbers are opened with the tenant's keys and stand in the output in clear: it is a
    patient's data, so mind where it goes. Who was erased has none. Who asked and why is kept in
    the home's logs/opened.log.
    """
    settings = Settings.load()
    tenant = visits.named(settings, called)
    openings.note(settings, what="export trajectory", tenant_id=tenant.tenant_id, why=why)
    output = sys.stdout.buffer
    with visits.reading(settings, tenant) as snapshot:
        held = visits.keys(settings, snapshot, tenant)
        stays = queries.trajectory(snapshot, track=track, known_at=known_at)
        with visits.keyring(settings) as keyring:
            while page := list(islice(stays, PAGE)):
                keys = _people(keyring, held, page)
                output.writelines(shown.line(_row(each, keys)) for each in page)
    output.flush()


def _people(keyring: Keyring, held: Keys, page: Sequence[Exported]) -> Keys:
    """The tenant's keys with those of whom a page is about."""
    named = {UUID(each.person_id) for each in page if each.person_id and each.visit_number}
    return visits.with_people(keyring, held, named)


def _row(exported: Exported, keys: Keys) -> Mapping[str, Any]:
    point = exported.point
    return {
        "visit_number": _visit_number(exported, keys),
        "admission_id": point.admission_id,
        "patient_id": point.patient_id,
        "track": point.track,
        "location": point.location,
        "effective_at": point.effective_at,
        "ended_at": point.ended_at,
        "start_inferred": point.start_inferred,
        "end_inferred": point.end_inferred,
        "point_id": point.point_id,
        "revision": [point.fold_version, point.partition_seq],
        "known_from": point.known_from,
    }


def _visit_number(exported: Exported, keys: Keys) -> str | None:
    """The number in clear; None where its event is gone, or its person was erased."""
    if exported.visit_number is None or exported.event_id is None:
        return None
    person = UUID(exported.person_id) if exported.person_id else None
    try:
        clear = keys.open(
            exported.visit_number,
            person=person,
            record=UUID(exported.event_id),
            field="visit_number",
        )
    except KeyDestroyed:
        return None
    number = orjson.loads(clear)
    if not isinstance(number, str):
        raise EnvelopeInvalid("a sealed visit number is no text")
    return number
