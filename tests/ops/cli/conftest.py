"""A command line over a database of its own: tenant `demo`, its feed, one visit of two stays."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg.types.json import Jsonb

from ops import access, deploy
from ops.cli import main
from ops.settings import Settings
from schemas import identity, sealing
from schemas.identity import Identifier
from schemas.place import Place
from schemas.registry import Registry
from sinks import tenancy
from sinks.database import Database
from sinks.roles import provision
from tests.sinks.provisioned import migrated
from tests.topics import make_erasures

__all__ = ["migrated"]

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
VISIT_NUMBER = "V-CANARY-1"
PATIENT = UUID(int=7)
SECRETS = tenancy.Secrets(b"d" * 32, b"i" * 32)


@dataclass(frozen=True, slots=True)
class Desk:
    """Runs commands with the environment of a home and, where there is one, of a database."""

    environ: dict[str, str]
    superuser: str | None = None

    def run(self, *arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner(env=self.environ).invoke(main, list(arguments), input=stdin)

    def settings(self) -> Settings:
        return Settings.load(self.environ)

    def insert(self, table: str, **row: object) -> None:
        assert self.superuser is not None
        names = ", ".join(f'"{name}"' for name in row)
        places = ", ".join(["%s"] * len(row))
        values = [Jsonb(v) if isinstance(v, dict) else v for v in row.values()]
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", values)

    @property
    def admission(self) -> UUID:
        """The visit's id: its number, assigned by the feed itself."""
        return identity.admission(
            SECRETS.identity, Identifier(value=VISIT_NUMBER, authority=deploy.DEMO)
        )


@pytest.fixture
def bare(tmp_path: Path) -> Desk:
    """Nothing is up and nothing named."""
    cleared = {name: None for name in os.environ if name.startswith("WARDTRAIL_")}
    addresses = dict.fromkeys(("KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_URL", "DATABASE_URL"))
    home = {"WARDTRAIL_HOME": str(tmp_path / "home")}
    return Desk({**cleared, **addresses, **home})  # type: ignore[arg-type]  # None unsets


@cache
def registered(url: str) -> None:
    """Our schemas are known to the registry; it is asked once."""
    Registry(url).register_all()


@pytest.fixture
def desk(tmp_path: Path, migrated: Any, stack: Any) -> Desk:
    """The database is migrated and has the tenant demo with one visit."""
    environ = {
        "WARDTRAIL_HOME": str(tmp_path / "home"),
        "DATABASE_URL": f"postgresql://{migrated.host}:{migrated.port}/{migrated.name}",
        "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "SCHEMA_REGISTRY_URL": stack.registry_url,
    }
    desk = Desk(environ, migrated.url)
    settings = desk.settings()
    access.write_private(settings.root_key, "ab" * 32)
    provision(migrated.url, migrated.name, access.passwords(settings))
    make_erasures(stack.bootstrap_servers)
    registered(stack.registry_url)  # other tests' erasures stand in the log, to be read
    worker = Database.open(access.role_url(settings, "wt_worker"), name="test", size=1)
    try:
        tenancy.create_tenant(
            worker, access.root(settings), tenant_id=deploy.DEMO_TENANT,
            name="Demo hospital", subdomain=deploy.DEMO, secret=SECRETS,
        )  # fmt: skip
        tenancy.create_feed(worker, deploy.DEMO_TENANT, deploy.DEMO, feed_id=uuid4(), settings={})
    finally:
        worker.close()
    return desk


@pytest.fixture
def visited(desk: Desk) -> Desk:
    """A visit: in the emergency department from 8 to 9, in intensive care since then."""
    keys = sealing.Keys(
        tenant_id=deploy.DEMO_TENANT,
        data={1: sealing.Key.of(SECRETS.data, version=1, scope=sealing.Scope.TENANT)},
        identity=SECRETS.identity,
    )
    desk.insert(
        "streams", stream_id=desk.admission, stream_type="admission",
        tenant_id=deploy.DEMO_TENANT, partition=0, version=2, recorded_at=START,
    )  # fmt: skip
    stays = (("ED^1^A", START, START + HOUR), ("ICU^[b]2^B\x1b", START + HOUR, None))
    for seq, (place, start, end) in enumerate(stays, start=1):
        event_id = uuid4()
        clear = orjson.dumps(VISIT_NUMBER)
        envelope = sealing.seal(  # as before people had keys of their own
            clear, keys.data[1], tenant=deploy.DEMO_TENANT, person=PATIENT,
            record=event_id, field="visit_number",
        )  # fmt: skip
        desk.insert(
            "events", event_id=event_id, stream_id=desk.admission, stream_type="admission",
            event_type="admission.created", event_version=seq, schema_version=1,
            tenant_id=deploy.DEMO_TENANT, feed_id=uuid4(), message_id=uuid4(),
            person_id=PATIENT, occurred_at=start, occurred_precision="second",
            occurred_field="EVN-6", occurred_text="", recorded_at=start, partition=0,
            partition_seq=seq, data={}, sealed={"visit_number": sealing.text(envelope)},
            metadata={}, created_by=uuid4(),
        )  # fmt: skip
        desk.insert(
            "trajectory_points", id=uuid4(), point_id=uuid4(), tenant_id=deploy.DEMO_TENANT,
            admission_id=desk.admission, patient_id=PATIENT, track="census", location=place,
            **taken_apart(place),
            effective_at=start, ended_at=end, known_from=start, known_to=None,
            retracted_at=None, start_inferred=False, end_inferred=False, start_field="EVN-6",
            start_event_id=event_id, fold_version=1, partition=0, partition_seq=seq, data={},
        )  # fmt: skip
    desk.insert(
        "timeline_events", id=uuid4(), tenant_id=deploy.DEMO_TENANT,
        admission_id=desk.admission, event_type="admission.created", occurred_at=START,
        data={}, partition=0, partition_seq=1,
    )  # fmt: skip
    return desk


def taken_apart(location: str) -> dict[str, str]:
    """The columns beside a place's text."""
    place = Place.parse(location)
    columns = ("facility", "building", "floor", "point_of_care", "room", "bed")
    return dict(zip(columns, place.identity, strict=True))


@pytest.fixture
def loaded() -> Callable[[Result], Any]:
    """Reads what a command printed as JSON."""
    return lambda result: json.loads(result.stdout)
