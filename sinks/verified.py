"""Questions to verification: the outcomes of tasks, and those that changed since.

Each is asked on a snapshot that shows one tenant's rows, and of outcomes those of tasks that the
reader may see (:class:`~sinks.reading.Readers`): the row policies say so.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.sql import SQL, Identifier

from sinks.pages import LIMIT_MAX, CursorInvalid, Page
from sinks.queries import Snapshot

STATUSES = (
    "pending", "verified", "verified_late", "refuted", "unknown_stale", "conflict", "void",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What is known of a task: its outcome, for which reasons, by which evidence.

    ``order_id`` is the order that makes the task, None where a command created it. When it is
    due stands in ``due_at``, ``window_starts_at`` and ``window_ends_at``, as far as its order
    says; a decision on it repeats them.
    ``revision`` rises with each changed outcome; ``awaits_at`` is the instant that the feeds
    have to pass before absence says more. Ids are UUID texts.
    """

    task_id: str
    order_id: str | None
    due_at: datetime | None
    window_starts_at: datetime | None
    window_ends_at: datetime | None
    patient_id: str | None
    rule_id: str | None
    rule_version: int | None
    status: str
    reasons: list[Any]
    evidence: list[Any]
    discrepancies: list[Any]
    verified_by: str | None
    verified_at: datetime | None
    vector_clock: dict[str, int]
    absence: str | None
    awaits_at: datetime | None
    revision: int
    judged_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """Outcomes as they are now that changed after some positions, and where to ask from next."""

    verifications: tuple[Verification, ...]
    positions: Mapping[int, int]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Undecided:
    """Patients of a partition's events who wait for the judge, since when, and those set aside."""

    partition: int
    patients: int
    since: datetime | None
    failed: int


def verifications(
    connection: Snapshot,
    *,
    status: str | None = None,
    patient: UUID | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Verification]:
    """The outcomes by their task's id; a patient's are those of all aliases.

    Raises :class:`~sinks.pages.CursorInvalid`.
    """
    assert 0 < limit <= LIMIT_MAX, "a page has a bound"
    asked = {
        "status": status, "patient": patient, "limit": limit + 1,
        "after": None if cursor is None else _read(cursor),
    }  # fmt: skip
    found = connection.execute(SQL(_PAGE).format(columns=_COLUMNS), asked).fetchall()
    more, rows = len(found) > limit, found[:limit]
    return Page(
        rows=tuple(Verification(**row) for row in rows),
        cursor=_write(rows[-1]["task_id"]) if more else None,
    )


def verification(connection: Snapshot, task_id: UUID) -> Verification | None:
    """The outcome of one task; None where there is none, or none that this reader may see."""
    row = connection.execute(SQL(_ONE).format(columns=_COLUMNS), (task_id,)).fetchone()
    return None if row is None else Verification(**row)


def changes_since(
    connection: Snapshot, positions: Mapping[int, int], *, beside: Collection[str], limit: int
) -> Changed:
    """The outcomes that changed after these positions of ``verification_results``.

    And those of the tasks ``beside``: a task may come to be seen after it was judged.
    """
    assert 0 < limit <= LIMIT_MAX, "a page has a bound"
    asked = {
        "partitions": list(positions), "since": list(positions.values()), "limit": limit + 1,
    }  # fmt: skip
    found = connection.execute(_CHANGED, asked).fetchall()
    more, rows = len(found) > limit, found[:limit]
    reached = {**positions, **{row["partition"]: row["partition_seq"] for row in rows}}
    ids = sorted({row["task_id"] for row in rows} | set(beside))
    shown = connection.execute(SQL(_MANY).format(columns=_COLUMNS), (ids,)).fetchall()
    return Changed(
        verifications=tuple(Verification(**row) for row in shown), positions=reached, more=more
    )


def undecided(connection: Snapshot, *, partitions: Sequence[int]) -> list[Undecided]:
    """Who waits for the judge, by partition, for an overseer.

    A task, a rule or a visit that is due counts as a patient until it is known who they are.
    """
    rows = connection.execute(_UNDECIDED, {"partitions": list(partitions)})
    return [Undecided(**row) for row in rows]


def _write(task_id: str) -> str:
    return urlsafe_b64encode(UUID(task_id).bytes).decode("ascii")


def _read(cursor: str) -> UUID:
    try:
        return UUID(bytes=urlsafe_b64decode(cursor))
    except ValueError:
        raise CursorInvalid("not a cursor of ours") from None


# A task that commands create has said how it stands; one that an order makes has no status.
_OF_ORDER = SQL("""(
    SELECT {0} FROM verification_tasks AS asked
    WHERE asked.task_id = emr_verifications.task_id AND asked.status_said = '[]'
) AS {0}""")
_ASKED = frozenset({"order_id", "due_at", "window_starts_at", "window_ends_at"})
_COLUMNS = SQL(", ").join(
    (_OF_ORDER if each.name in _ASKED else SQL("{0}")).format(Identifier(each.name))
    for each in fields(Verification)
)
_PAGE = """
SELECT {columns} FROM emr_verifications
WHERE (%(after)s::uuid IS NULL OR task_id > %(after)s::uuid)
  AND (%(status)s::text IS NULL OR status::text = %(status)s::text)
  AND (%(patient)s::uuid IS NULL
       OR patient_id = ANY (ARRAY(SELECT same_patients(%(patient)s::uuid))))
ORDER BY task_id
LIMIT %(limit)s
"""
_ONE = "SELECT {columns} FROM emr_verifications WHERE task_id = %s"
_MANY = "SELECT {columns} FROM emr_verifications WHERE task_id = ANY (%s::uuid[]) ORDER BY task_id"
_CHANGED = """
SELECT told.partition, told.partition_seq, told.task_id
FROM verification_results AS told
LEFT JOIN unnest(%(partitions)s::smallint[], %(since)s::bigint[]) AS asked (partition, since)
       ON asked.partition = told.partition
WHERE told.partition_seq > coalesce(asked.since, 0)
ORDER BY told.partition, told.partition_seq
LIMIT %(limit)s
"""
_UNDECIDED = """
SELECT due.partition, due.patients, due.failed, event.recorded_at AS since
FROM (
    SELECT place.partition,
        count(DISTINCT mark.due_id) FILTER (WHERE mark.failed IS NULL)::int AS patients,
        count(DISTINCT mark.due_id) FILTER (WHERE mark.failed IS NOT NULL)::int AS failed,
        min(mark.partition_seq) FILTER (WHERE mark.failed IS NULL AND partition_seq > 0) AS first
    FROM unnest(%(partitions)s::smallint[]) AS place (partition)
    LEFT JOIN verification_due AS mark USING (partition)
    GROUP BY place.partition
) AS due
LEFT JOIN events AS event ON (event.partition, event.partition_seq) = (due.partition, due.first)
ORDER BY due.partition
"""
