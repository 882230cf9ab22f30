"""Results of judging, in rows: what is known of each task now, and every revision, numbered."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import Connection

from schemas.topics import VERIFICATIONS
from sinks.changes import Append, Change, Put
from sinks.database import Row
from sinks.tables import emr_verifications, verification_results, verification_tasks
from sinks.write import write

# What a result has beside its content: a rebuild gives it the same content, later.
NUMBERED = frozenset({"revision", "partition_seq", "judged_at"})


def record(connection: Connection[Row], results: Sequence[tuple[Row, Row]]) -> int:
    """Write what differs from the last result of its task; return how many did.

    A row that is missing, as in a rebuild, is written with the last result's own numbers.
    """
    tasks = [row["task_id"] for row, _ in results]
    last = {row["task_id"]: row for row in connection.execute(_LAST, (tasks,))}
    stands = {row["task_id"]: row for row in connection.execute(_STANDING, (tasks,))}
    now = connection.execute("SELECT now() AS now").fetchone()
    assert now is not None, "there is a time"
    changed: dict[int, list[tuple[Row, Row]]] = {}
    changes: list[Change] = []
    for row, told in results:
        known = last.get(row["task_id"])
        if known is None or _content(known["result"]) != _content(told):
            changed.setdefault(row["partition"], []).append((row, told))
        elif stands.get(row["task_id"], {}).get("revision") != known["revision"]:
            numbers = {"revision": known["revision"], "judged_at": known["judged_at"]}
            changes.append(Put(emr_verifications, {**row, **numbers}))
    for partition in sorted(changed):
        seq = _numbers(connection, partition, len(changed[partition]))
        for row, told in changed[partition]:
            known = last.get(row["task_id"])
            revision = known["revision"] + 1 if known else 1
            changes += _numbered(row, told, revision, partition, seq, now["now"])
            seq += 1
    write(connection, changes)
    if changed:
        connection.execute("SELECT pg_notify('wardtrail_verifications', '')")
    return sum(map(len, changed.values()))


def ask(
    connection: Connection[Row], asked: Sequence[tuple[Row, bool]], tasks: Sequence[Row]
) -> bool:
    """Write the tasks that orders ask for and that aren't so yet; return whether any was.

    One that no longer stands is written where it was told of: then it is to be taken back.
    """
    known = {row["task_id"]: row for row in tasks}
    changed = [
        (row, stands)
        for row, stands in asked
        if any(known.get(row["task_id"], {}).get(name) != row[name] for name in _TASK_COLUMNS)
    ]
    gone = [row["task_id"] for row, stands in changed if not stands]
    found = connection.execute(_LAST, (gone,)).fetchall() if gone else []
    told = known.keys() | {row["task_id"] for row in found}
    fresh = [row for row, stands in changed if stands or row["task_id"] in told]
    write(connection, [Put(verification_tasks, row) for row in fresh])
    return bool(fresh)


def _numbered(
    row: Row, told: Mapping[str, Any], revision: int, partition: int, seq: int, now: datetime
) -> list[Change]:
    result = {
        "partition": partition, "partition_seq": seq, "tenant_id": row["tenant_id"],
        "task_id": row["task_id"], "revision": revision, "result_id": row["result_id"],
        "result": told, "judged_at": now,
    }  # fmt: skip
    return [
        Put(emr_verifications, {**row, "revision": revision, "judged_at": now}),
        Append(verification_results, result),
    ]


def current(connection: Connection[Row], task_id: str) -> Row | None:
    """What is known of a task now: its row of ``emr_verifications``."""
    return connection.execute(_CURRENT, (task_id,)).fetchone()


def _numbers(connection: Connection[Row], partition: int, count: int) -> int:
    """The first of so many positions; the partition is locked, so that they commit in order."""
    place = {"topic": VERIFICATIONS.name, "partition": partition, "count": count}
    connection.execute(_PARTITION, place)
    row = connection.execute(_TAKEN, place).fetchone()
    assert row is not None, "the partition's row is there"
    return int(row["next_seq"]) - count


def _content(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if name not in NUMBERED}


_TASK_COLUMNS = (
    "version", "recorded_at", "patient_id", "admission_id", "rule_id", "order_id",
    "window_starts_at", "window_ends_at", "due_at", "cancelled", "partition",
)  # fmt: skip
_LAST = """
SELECT DISTINCT ON (task_id) task_id, revision, result, judged_at FROM verification_results
WHERE task_id = ANY (%s::uuid[]) ORDER BY task_id, revision DESC
"""
_STANDING = "SELECT task_id, revision FROM emr_verifications WHERE task_id = ANY (%s::uuid[])"
_PARTITION = """
INSERT INTO partitions (topic, partition) VALUES (%(topic)s, %(partition)s) ON CONFLICT DO NOTHING
"""
_TAKEN = """
UPDATE partitions SET next_seq = next_seq + %(count)s
WHERE topic = %(topic)s AND partition = %(partition)s RETURNING next_seq
"""
_CURRENT = "SELECT * FROM emr_verifications WHERE task_id = %s"
