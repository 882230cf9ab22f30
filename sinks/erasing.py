"""Requests to erase a person in their rows: asked for, held up, brought on step by step."""

import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import orjson
from psycopg import Connection

from sinks import aliases
from sinks.database import Database, Row, for_tenants

KIND = "erasure"
CATEGORIES = ("all",)  # a person's key opens everything of theirs, so there is no part of it
LOCK = 0x65726173  # advisory, with a number of the tenant's: a hold and an erasure don't cross
PEOPLE_MAX = 1_000  # aliases of one person; a patient of more is a number that a feed reuses
OPEN_MAX = 10_000  # requests of one command


class PatientUnknown(Exception):  # noqa: N818  named for what is wrong
    """The tenant has no such patient, or more than one."""


class Unconfirmed(Exception):  # noqa: N818  named for what is wrong
    """Nobody has confirmed how many ids the person has, or not as many as there are now."""


class OnHold(Exception):  # noqa: N818  named for what is wrong
    """A legal hold stands: the person is not erased."""


class RequestUnfit(Exception):  # noqa: N818  named for what is wrong
    """There is no such request, or it stands where this can't be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One id of a person; ``key_version`` is the newest to be destroyed (None: not decided)."""

    patient_id: UUID
    key_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it stands."""

    id: UUID
    tenant_id: UUID
    patient_id: UUID
    status: str
    people: tuple[Subject, ...]
    requested_at: datetime
    requested_by: str
    purpose: str
    verification_method: str
    erased_at: datetime | None
    announced_at: datetime | None
    destroyed_at: datetime | None
    completed_at: datetime | None
    said: str | None
    receipt: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who asks for whom, why, how they were known; ``confirmed`` is how many ids they have."""

    tenant_id: UUID
    patient_id: UUID
    confirmed: int | None
    verification_method: str
    requested_by: str
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold."""

    id: UUID
    patient_id: UUID
    reason: str
    placed_by: str
    placed_at: datetime


def request(database: Database, asked: Asked) -> Request:
    """Write a request that waits to be carried out; `refused` is written down too.

    Raises :class:`PatientUnknown`, :class:`Unconfirmed`, :class:`OnHold`, :class:`RequestUnfit`.
    """
    with _alone(database, asked.tenant_id) as connection:
        survivor, people = person(connection, asked.patient_id)
        if asked.confirmed != len(people):
            raise Unconfirmed(
                f"the person has so many ids, each of which is erased: {len(people)}"
                f" ({', '.join(map(str, people))}); confirmed: {asked.confirmed or 'none'}"
                f" (hint: --confirm {len(people)})"
            )
        held = _holds(connection, people)
        status, said = ("refused", _held(held)) if held else ("pending", None)
        values = (
            asked.tenant_id, survivor, KIND, status, _json(CATEGORIES), asked.verification_method,
            _json({"confirmed": asked.confirmed}), asked.requested_by, asked.purpose,
            _json([{"patient_id": str(each)} for each in people]), said,
        )  # fmt: skip
        row = connection.execute(_REQUEST, values).fetchone()
        if row is None:
            raise RequestUnfit(f"a request for this person is open (hint: wardtrail erase status):"
                               f" {survivor}")  # fmt: skip
        made = _request(row)
    if held:
        raise OnHold(f"{said}, request: {made.id}")
    return made


def begin(database: Database, tenant_id: UUID, request_id: UUID) -> Request:
    """Take up a request, once: from now on it is carried out, and nothing calls it back.

    The hold is looked at again, and who the person is: by then somebody may have been merged.
    Raises as :func:`request`; a hold ends the request.
    """
    with _alone(database, tenant_id) as connection:
        found = _locked(connection, request_id)
        if found.status == "processing":
            return found
        if found.status != "pending":
            raise RequestUnfit(f"the request is {found.status}: {request_id}")
        _, people = person(connection, found.patient_id)
        if {each.patient_id for each in found.people} != set(people):
            raise Unconfirmed(
                "merges have changed who the person is since it was confirmed (hint: wardtrail"
                f" erase cancel {request_id}, and request it anew), ids: {len(people)}"
            )
        other = connection.execute(_BEGUN, (people,)).fetchone()
        if other is not None:  # the keys that it is to destroy would be ours, and neither ends
            raise RequestUnfit("an erasure of the same person isn't done yet (hint: wardtrail erase"
                               f" run {other['id']}), waiting: {request_id}")  # fmt: skip
        held = _holds(connection, people)
        if held:
            _change(connection, _END, "refused", _held(held), request_id)
        else:
            tokens = connection.execute(_TOKENS, (people,)).fetchone()
            keys = {row["subject_id"]: row["version"] for row in connection.execute(_NEWEST, (
                tenant_id, people,
            ))}  # fmt: skip
            named = [{"patient_id": str(one), "key_version": keys.get(str(one), 0)}
                     for one in people]  # fmt: skip
            begun = _json({"tokens": tokens["tokens"] if tokens else 0})
            found = _change(connection, _BEGIN, _json(named), begun, request_id)
    if held:
        raise OnHold(f"{_held(held)}, request: {request_id}")
    return found


def cancel(database: Database, tenant_id: UUID, request_id: UUID, said: str) -> Request:
    """Give up a request that nobody has taken up yet; raises :class:`RequestUnfit`."""
    with _alone(database, tenant_id) as connection:
        found = _locked(connection, request_id)
        if found.status != "pending":
            raise RequestUnfit(f"only what waits is cancelled; the request is {found.status}")
        return _change(connection, _END, "cancelled", said, request_id)


def destroyed(database: Database, tenant_id: UUID, request_id: UUID) -> Request:
    """Note that the log holds the announcements and that the keys are destroyed."""
    with _alone(database, tenant_id) as connection:
        return _change(connection, _DESTROYED, request_id)


def complete(
    database: Database, tenant_id: UUID, request_id: UUID, receipt: Mapping[str, Any]
) -> Request:
    """Note that nothing more is to be done, with what was."""
    with _alone(database, tenant_id) as connection:
        _locked(connection, request_id)
        return _change(connection, _COMPLETE, _json(receipt), request_id)


def alive(connection: Connection[Row], found: Request) -> list[UUID]:
    """Those of the person's ids whose key this request hasn't destroyed yet."""
    people = [each.patient_id for each in found.people]
    rows = connection.execute(_STONES, (found.tenant_id, people)).fetchall()
    stones = {UUID(row["subject_id"]): row["version"] for row in rows}
    return [
        each.patient_id for each in found.people
        if stones.get(each.patient_id, 0) < max(each.key_version or 0, 1)
    ]  # fmt: skip


def requests(
    connection: Connection[Row], tenant_id: UUID, *,
    request_id: UUID | None = None, unfinished: bool = False,
) -> list[Request]:  # fmt: skip
    """A tenant's requests, the newest first: all, one, or those that wait or were begun."""
    for_tenants(connection, [tenant_id])
    asked = {"id": request_id, "unfinished": unfinished, "most": OPEN_MAX}
    rows = connection.execute(_REQUESTS, asked).fetchall()
    if request_id is not None and not rows:
        raise RequestUnfit(f"the tenant has no such request: {request_id}")
    return [_request(row) for row in rows]


def hold(
    database: Database, tenant_id: UUID, patient_id: UUID, *, reason: str, placed_by: str
) -> Hold:
    """Place a legal hold on a person; :class:`RequestUnfit` if the erasure was taken up before."""
    with _alone(database, tenant_id) as connection:
        _, people = person(connection, patient_id)
        begun = connection.execute(_BEGUN, (people,)).fetchone()
        if begun is not None:
            raise RequestUnfit(f"too late, the erasure was taken up, by request: {begun['id']}")
        row = connection.execute(_HOLD, (tenant_id, patient_id, reason, placed_by)).fetchone()
        assert row is not None, "an insert gives its row"
        return _hold(row)


def release(database: Database, tenant_id: UUID, patient_id: UUID, *, released_by: str) -> int:
    """Release every legal hold on a person; how many there were."""
    with _alone(database, tenant_id) as connection:
        _, people = person(connection, patient_id)
        return connection.execute(_RELEASE, (released_by, people)).rowcount


def holds(connection: Connection[Row], tenant_id: UUID) -> list[Hold]:
    """The legal holds of a tenant that stand, oldest first."""
    for_tenants(connection, [tenant_id])
    return [_hold(row) for row in connection.execute(_HOLDS, {"people": None}).fetchall()]


def now(connection: Connection[Row]) -> datetime:
    """The database's clock."""
    row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
    assert row is not None, "a clock answers"
    at: datetime = row["now"]
    return at


def person(connection: Connection[Row], patient_id: UUID) -> tuple[UUID, list[UUID]]:
    """Who a patient is now, and every id of that person, theirs first.

    Raises :class:`PatientUnknown`.
    """
    told = aliases.around(connection, [str(patient_id)])
    grown = aliases.forest(told)
    survivor = grown.survivor(str(patient_id))
    named = {each for one in told for each in (one.patient_id, one.into_patient_id)}
    others = sorted(each for each in named if grown.survivor(each) == survivor)
    people = list(dict.fromkeys([survivor, str(patient_id), *others]))
    if len(people) > PEOPLE_MAX:
        raise PatientUnknown(f"the patient is too many at once, ids: {len(people)}")
    if connection.execute(_KNOWN, (people, people)).fetchone() is None:
        raise PatientUnknown(f"the tenant has no such patient: {patient_id}")
    return UUID(survivor), [UUID(each) for each in people]


def patients_of(
    connection: Connection[Row], value_hmac: UUID, authority: str | None
) -> Collection[UUID]:
    """The patients of an identifier, by its keyed hash; of any authority, if none is said."""
    rows = connection.execute(_OF_NUMBER, {"value": value_hmac, "authority": authority}).fetchall()
    return {UUID(row["patient_id"]) for row in rows}


@contextmanager
def _alone(database: Database, tenant_id: UUID) -> Iterator[Connection[Row]]:
    """A transaction in which neither holds, requests nor merges of the tenant change."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        number = zlib.crc32(str(tenant_id).encode()) - (1 << 31)
        connection.execute("SELECT pg_advisory_xact_lock(%s::int, %s::int)", (LOCK, number))
        aliases.lock(connection, [str(tenant_id)])
        yield connection


def _locked(connection: Connection[Row], request_id: UUID) -> Request:
    row = connection.execute(_LOCKED, (request_id,)).fetchone()
    if row is None:
        raise RequestUnfit(f"the tenant has no such request: {request_id}")
    return _request(row)


def _change(connection: Connection[Row], statement: LiteralString, *values: object) -> Request:
    row = connection.execute(statement, values).fetchone()
    if row is None:
        raise RequestUnfit("the request isn't being carried out")
    return _request(row)


def _holds(connection: Connection[Row], people: Collection[UUID]) -> list[Hold]:
    return [_hold(row) for row in connection.execute(_HOLDS, {"people": list(people)}).fetchall()]


def _held(held: Collection[Hold]) -> str:
    first = next(iter(held))
    return f"a legal hold stands, since {first.placed_at:%Y-%m-%d}, by {first.placed_by}"


def _hold(row: Row) -> Hold:
    return Hold(
        id=UUID(row["id"]), patient_id=UUID(row["patient_id"]), reason=row["reason"],
        placed_by=row["placed_by"], placed_at=row["placed_at"],
    )  # fmt: skip


def _request(row: Row) -> Request:
    names = (
        "status", "requested_at", "requested_by", "purpose", "verification_method", "erased_at",
        "announced_at", "destroyed_at", "completed_at", "said", "receipt",
    )  # fmt: skip
    return Request(
        id=UUID(row["id"]), tenant_id=UUID(row["tenant_id"]), patient_id=UUID(row["patient_id"]),
        people=tuple(
            Subject(patient_id=UUID(each["patient_id"]), key_version=each.get("key_version"))
            for each in row["people"]
        ),
        **{name: row[name] for name in names},
    )  # fmt: skip


def _json(value: object) -> str:
    return orjson.dumps(value, default=str).decode()


_REQUEST = """
INSERT INTO data_deletion_requests
    (tenant_id, patient_id, request_type, status, data_categories, verification_method,
     verification_details, requested_by, purpose, people, said)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (tenant_id, patient_id) WHERE status IN ('pending', 'processing') DO NOTHING
RETURNING *
"""
_LOCKED = "SELECT * FROM data_deletion_requests WHERE id = %s FOR UPDATE"
_REQUESTS = """
SELECT * FROM data_deletion_requests WHERE (%(id)s::uuid IS NULL OR id = %(id)s)
  AND (NOT %(unfinished)s OR status IN ('pending', 'processing'))
ORDER BY requested_at DESC, id LIMIT %(most)s
"""
_END = """
UPDATE data_deletion_requests SET status = %s, said = %s, updated_at = now()
WHERE id = %s RETURNING *
"""
_BEGIN = """
UPDATE data_deletion_requests
SET status = 'processing', people = %s, receipt = %s, erased_at = now(), updated_at = now()
WHERE id = %s RETURNING *
"""
_DESTROYED = """
UPDATE data_deletion_requests SET announced_at = coalesce(announced_at, clock_timestamp()),
    destroyed_at = coalesce(destroyed_at, clock_timestamp()), updated_at = now()
WHERE id = %s AND status = 'processing' RETURNING *
"""
_COMPLETE = """
UPDATE data_deletion_requests
SET status = 'completed', receipt = %s, completed_at = now(), updated_at = now()
WHERE id = %s AND status = 'processing' RETURNING *
"""
_TOKENS = "SELECT count(*) AS tokens FROM patient_tokens WHERE patient_id = ANY (%s)"
# Of whom was erased before, a version that isn't there: its tombstone tells the two apart.
_NEWEST = """
SELECT DISTINCT ON (subject_id) subject_id, version + (destroyed_at IS NOT NULL)::int AS version
FROM subject_keys WHERE tenant_id = %s AND subject_id = ANY (%s)
ORDER BY subject_id, version DESC
"""
_STONES = """
SELECT subject_id, max(version) AS version FROM subject_keys
WHERE tenant_id = %s AND subject_id = ANY (%s) AND destroyed_at IS NOT NULL GROUP BY 1
"""
_KNOWN = """
SELECT FROM patient_identifiers WHERE patient_id = ANY (%s::uuid[])
UNION ALL SELECT FROM streams WHERE stream_id = ANY (%s::uuid[]) AND stream_type = 'patient'
LIMIT 1
"""
_OF_NUMBER = """
SELECT DISTINCT patient_id FROM patient_identifiers
WHERE value_hmac = %(value)s AND authority = coalesce(%(authority)s, authority)
"""
_BEGUN = """
SELECT request.id FROM data_deletion_requests AS request, jsonb_array_elements(people) AS person
WHERE status = 'processing' AND (person ->> 'patient_id')::uuid = ANY (%s) LIMIT 1
"""
_HOLD = """
INSERT INTO legal_holds (tenant_id, patient_id, reason, placed_by) VALUES (%s, %s, %s, %s)
RETURNING *
"""
_HOLDS = """
SELECT * FROM legal_holds WHERE released_at IS NULL
  AND (%(people)s::uuid[] IS NULL OR patient_id = ANY (%(people)s::uuid[]))
ORDER BY placed_at, id
"""
_RELEASE = """
UPDATE legal_holds SET released_at = now(), released_by = %s
WHERE released_at IS NULL AND patient_id = ANY (%s)
"""
