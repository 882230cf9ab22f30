"""Questions to a real database, as the roles that ask them, about rows of two tenants."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from schemas import sealing
from sinks import queries
from sinks.database import LoginRefused, as_role, connect
from sinks.queries import NotMigrated, TenantUnknown
from sinks.roles import provision

PASSWORDS = {"wt_migrate": "m", "wt_worker": "w", "wt_app": "a"}
OURS, THEIRS = UUID(int=1), UUID(int=2)
START = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Line:
    """A migrated database, the superuser's connection for making rows, and the roles' URLs."""

    connection: psycopg.Connection[Any]
    app: str
    worker: str


@pytest.fixture
def line(migrated) -> Iterator[Line]:
    provision(migrated.url, migrated.name, PASSWORDS)
    with psycopg.connect(migrated.url, autocommit=True) as connection:
        urls = {role: as_role(migrated.url, role, word) for role, word in PASSWORDS.items()}
        for tenant, name in ((OURS, "ours"), (THEIRS, "theirs")):
            connection.execute(
                "INSERT INTO tenants (id, name, subdomain) VALUES (%s, %s, %s)",
                (tenant, f"Hospital {name}", name),
            )
        yield Line(connection, urls["wt_app"], urls["wt_worker"])


def insert(line: Line, table: str, **row: object) -> None:
    names = ", ".join(f'"{name}"' for name in row)
    places = ", ".join(["%s"] * len(row))
    line.connection.execute(
        f"INSERT INTO {table} ({names}) VALUES ({places})",
        [psycopg.types.json.Jsonb(v) if isinstance(v, dict) else v for v in row.values()],
    )


def add_point(line: Line, admission: UUID, **changed: object) -> UUID:
    point = {
        "id": uuid4(), "point_id": uuid4(), "tenant_id": OURS, "admission_id": admission,
        "patient_id": UUID(int=7), "track": "census", "location": "ED^1^A",
        **dict.fromkeys(("facility", "building", "floor", "point_of_care", "room", "bed"), ""),
        "effective_at": START, "ended_at": None, "known_from": START, "known_to": None,
        "retracted_at": None, "start_inferred": False, "end_inferred": False,
        "start_field": "EVN-6", "start_event_id": uuid4(), "fold_version": 1,
        "partition": 0, "partition_seq": 1, "data": {}, **changed,
    }  # fmt: skip
    insert(line, "trajectory_points", **point)
    return point["point_id"]


def add_event(line: Line, stream: UUID, seq: int, **changed: object) -> UUID:
    event = {
        "event_id": uuid4(), "stream_id": stream, "stream_type": "admission",
        "event_type": "admission.created", "event_version": seq, "schema_version": 1,
        "tenant_id": OURS, "feed_id": UUID(int=3), "message_id": uuid4(),
        "person_id": UUID(int=7), "occurred_at": START, "occurred_precision": "second",
        "occurred_field": "EVN-6", "occurred_text": "20260302080000",
        "recorded_at": START + seq * HOUR, "partition": 0, "partition_seq": seq,
        "data": {}, "metadata": {}, "created_by": UUID(int=3), **changed,
    }  # fmt: skip
    insert(line, "events", **event)
    return event["event_id"]


def test_a_visit_is_where_the_newest_revision_says(line: Line) -> None:
    admission, point = UUID(int=10), uuid4()
    add_point(line, admission, point_id=point, known_to=START + HOUR)
    add_point(
        line, admission, point_id=point, ended_at=START + HOUR, known_from=START + HOUR,
    )  # fmt: skip
    add_point(
        line, admission, location="ICU^2^B",
        effective_at=START + HOUR, known_from=START + HOUR,
    )  # fmt: skip
    with queries.as_tenant(line.app, OURS) as snapshot:
        path = queries.path(snapshot, admission_id=admission)
        then = queries.where(snapshot, admission_id=admission, at=START + HOUR)
        known = queries.path(snapshot, admission_id=admission, known_at=START + HOUR / 2)

    assert [each.location for each in path] == ["ED^1^A", "ICU^2^B"]
    assert [each.location for each in then] == ["ICU^2^B"]
    assert [(each.location, each.ended_at) for each in known] == [("ED^1^A", None)]


def test_a_retracted_point_is_no_stay_but_was_one(line: Line) -> None:
    admission, point = UUID(int=10), uuid4()
    add_point(line, admission, point_id=point, known_to=START + HOUR)
    add_point(line, admission, point_id=point, known_from=START + HOUR, retracted_at=START + HOUR)
    with queries.as_tenant(line.app, OURS) as snapshot:
        assert queries.path(snapshot, admission_id=admission) == []
        assert len(queries.path(snapshot, admission_id=admission, known_at=START)) == 1


def test_a_tenant_sees_no_other_tenants_rows(line: Line) -> None:
    admission = UUID(int=10)
    add_point(line, admission, tenant_id=THEIRS)
    insert(
        line, "streams", stream_id=admission, stream_type="admission", tenant_id=THEIRS,
        partition=0, version=1, recorded_at=START,
    )  # fmt: skip
    with queries.as_tenant(line.app, OURS) as snapshot:
        assert queries.path(snapshot, admission_id=admission) == []
        assert list(queries.trajectory(snapshot)) == []
        assert queries.visits(snapshot, [admission]) == []
        assert queries.longest(snapshot, 5) == []
    with queries.as_tenant(line.app, THEIRS) as snapshot:
        assert queries.visits(snapshot, [admission, UUID(int=11)]) == [admission]
        assert queries.longest(snapshot, 5) == [admission]


def test_the_export_streams_in_order_with_the_envelope_of_the_event_that_began_each(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "EXPORT_ROWS", 2)  # several fetches
    first, second = UUID(int=10), UUID(int=11)
    event = add_event(line, first, 1, sealed={"visit_number": sealing.text(b"sealed")})
    for hour in (3, 1, 2):
        add_point(line, second, effective_at=START + hour * HOUR, start_event_id=event)
    add_point(line, first, start_event_id=event)
    add_point(line, first, track="physical")
    with queries.as_tenant(line.app, OURS) as snapshot:
        everything = list(queries.trajectory(snapshot))
        physical = list(queries.trajectory(snapshot, track="physical"))

    order = [(e.point.admission_id, e.point.track, e.point.effective_at) for e in everything]
    assert order == sorted(order)
    assert len(everything) == 5
    assert everything[0].visit_number == b"sealed"
    assert (everything[0].event_id, everything[0].person_id) == (str(event), str(UUID(int=7)))
    assert [each.visit_number for each in physical] == [None]


def test_a_tenant_is_found_by_id_subdomain_and_name(line: Line) -> None:
    with queries.as_overseer(line.worker) as snapshot:
        found = {queries.tenant(snapshot, called) for called in (str(OURS), "ours")}
        found.add(queries.tenant(snapshot, "Hospital ours"))
        assert {each.tenant_id for each in found} == {OURS}
        with pytest.raises(TenantUnknown, match=r"there are: ours, theirs\): nobody"):
            queries.tenant(snapshot, "nobody")


def test_two_tenants_of_one_name_are_not_guessed_between(line: Line) -> None:
    line.connection.execute("UPDATE tenants SET name = 'Same'")
    with queries.as_overseer(line.worker) as snapshot, pytest.raises(TenantUnknown):
        queries.tenant(snapshot, "Same")


def test_the_backlog_of_a_relay_is_what_stands_after_its_position(line: Line) -> None:
    for seq in (1, 2, 3):
        add_event(line, UUID(int=10), seq)
    insert(
        line, "subscriptions", subscription_id="relay", topic="clinical.events.v1",
        partition=0, last_position=1,
    )  # fmt: skip
    with queries.as_overseer(line.worker) as snapshot:
        backlog = queries.backlog(
            snapshot, "relay", table="events", time="recorded_at", partitions=[0, 1]
        )
        standing = queries.standings(snapshot)

    assert [(each.partition, each.rows, each.since) for each in backlog] == [
        (0, 2, START + 2 * HOUR),
        (1, 0, None),
    ]
    assert [(each.subscription_id, each.last_position) for each in standing] == [("relay", 1)]


def test_a_relay_that_never_ran_has_everything_before_it(line: Line) -> None:
    add_event(line, UUID(int=10), 1)
    with queries.as_overseer(line.worker) as snapshot:
        backlog = queries.backlog(
            snapshot, "relay", table="events", time="recorded_at", partitions=[0]
        )
    assert [each.rows for each in backlog] == [1]


def test_authorities_are_listed_once_each_and_within_their_bound(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        insert(
            line, "patient_identifiers", tenant_id=OURS, authority=f"A{number % 3}",
            value_hmac=uuid4(), type="MR", patient_id=uuid4(),
        )  # fmt: skip
    with queries.as_tenant(line.app, OURS) as snapshot:
        assert queries.authorities(snapshot) == ["A0", "A1", "A2"]
        monkeypatch.setattr(queries, "AUTHORITIES_MAX", 2)
        assert queries.authorities(snapshot) == ["A0", "A1"]


def test_a_timeline_is_in_the_order_of_what_happened(line: Line) -> None:
    for seq, kind in ((1, "admission.discharged"), (2, "admission.created")):
        insert(
            line, "timeline_events", id=uuid4(), tenant_id=OURS, admission_id=UUID(int=10),
            event_type=kind, occurred_at=START - seq * HOUR, data={}, partition=0,
            partition_seq=seq,
        )  # fmt: skip
    with queries.as_tenant(line.app, OURS) as snapshot:
        happened = queries.timeline(snapshot, UUID(int=10))
    assert [each.event_type for each in happened] == ["admission.created", "admission.discharged"]


def test_a_snapshot_writes_nothing(line: Line) -> None:
    with (
        queries.as_overseer(line.worker) as snapshot,
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
    ):
        snapshot.execute("DELETE FROM subscriptions")


def test_a_database_without_our_tables_says_so(database) -> None:
    with pytest.raises(NotMigrated), queries.as_overseer(database.url):
        pass


def test_a_projection_is_behind_by_what_the_ledger_has_and_it_has_not_folded(line: Line) -> None:
    insert(line, "partitions", topic="clinical.events.v1", partition=0, next_seq=11)
    insert(line, "partitions", topic="clinical.events.v1", partition=1, next_seq=6)
    with queries.as_tenant(line.app, OURS) as snapshot:
        assert queries.behind(snapshot, "trajectory") == 15
    insert(
        line, "subscriptions", subscription_id="trajectory", topic="clinical.events.v1",
        partition=0, last_position=10,
    )  # fmt: skip
    with queries.as_tenant(line.app, OURS) as snapshot:
        assert queries.behind(snapshot, "trajectory") == 5


@pytest.mark.parametrize("wrong", ["password", "login", "database"])
def test_a_login_that_is_refused_is_told_as_such_and_not_as_absence(line: Line, wrong) -> None:
    url = {
        "password": as_role(line.app, "wt_app", "not-the-one"),
        "login": as_role(line.app, "wt_nobody", "x"),
        "database": line.app.rpartition("/")[0] + "/no_such_database",
    }[wrong]
    with pytest.raises(LoginRefused, match="wardtrail migrate"), connect(url, name="test"):
        pass
