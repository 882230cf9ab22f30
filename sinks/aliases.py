"""Aliases: which patient is which other one, as it follows from all that was told of them.

Merges, and undone merges, are facts that name two patients (``patient_merges``); an alias
(``patient_aliases``) is what follows from the set of them. So neither the order of arrival nor
what came between matters (rule M3), a cycle can't come to be, and an undone merge leaves what
there would be without it.
"""

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from schemas.clock import instant
from sinks.changes import Append, Change, Put
from sinks.database import Database, Row, for_tenants
from sinks.tables import patient_aliases, patient_merges

UNDO = "undo"
TELLING = {"patient.merged": "into_patient_id", "patient.unmerged": "from_patient_id"}
"""The events that tell of two patients: the stream's, and the one in this field of the data."""
# Advisory, with a number of the tenant's: its merges and joins are serial.
LOCK = 0x616C6961
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """That one patient is another, or (``kind`` undo) is not after all; ids as text."""

    event_id: str
    patient_id: str
    into_patient_id: str
    kind: str
    said_at: datetime

    @property
    def place(self) -> tuple[datetime, bool, str]:
        """Its place among what was told: when it was said; an undoing comes after its merge."""
        return self.said_at, self.kind == UNDO, self.event_id

    def between(self, patients: Collection[str]) -> bool:
        """Whether it names these two and no others."""
        return {self.patient_id, self.into_patient_id} == set(patients)


@dataclass(slots=True)
class Forest:
    """Patients under their survivors: ``into`` has the next one up, ``by`` the merge of it."""

    into: dict[str, str] = field(default_factory=dict)
    by: dict[str, Told] = field(default_factory=dict)
    latest: tuple[datetime, bool, str] | None = None  # the place of what was told last

    def survivor(self, patient_id: str) -> str:
        """Who the patient is now; themselves where nothing else was told."""
        while patient_id in self.into:
            patient_id = self.into[patient_id]
        return patient_id

    def add(self, told: Told) -> set[str]:
        """The source's survivor becomes the target's: whose alias that is, if there is one new."""
        source, target = self.survivor(told.patient_id), self.survivor(told.into_patient_id)
        if source == target:
            return set()
        self.into[source], self.by[source] = target, told
        return {source}


def forest(told: Iterable[Told]) -> Forest:
    """What follows from all that was told, in the order in which it was said."""
    merges: list[Told] = []
    ordered = sorted(told, key=lambda one: one.place)
    for each in ordered:
        if each.kind == UNDO:
            merges = _without(merges, each)
        else:
            merges.append(each)
    grown = _grown(merges)
    grown.latest = ordered[-1].place if ordered else None
    return grown


def grow(grown: Forest, known: list[Told], told: Told) -> tuple[Forest, set[str]]:
    """The forest of what is known and one thing more, which is appended; whose aliases changed.

    What was said last only adds; all else makes the forest anew.
    """
    known.append(told)
    if told.kind != UNDO and (grown.latest is None or told.place > grown.latest):
        grown.latest = told.place
        return grown, grown.add(told)
    fresh = forest(known)
    return fresh, {
        patient
        for patient in grown.into.keys() | fresh.into.keys()
        if (grown.into.get(patient), grown.by.get(patient))
        != (fresh.into.get(patient), fresh.by.get(patient))
    }


def _grown(merges: Iterable[Told]) -> Forest:
    grown = Forest()
    for each in merges:
        grown.add(each)
    return grown


def _without(merges: list[Told], undo: Told) -> list[Told]:
    """The merges but for those of the two; where no merge named both, but for the one between.

    Of a chain A, B, C the undoing of A and C is that of A's own merge, as A is who is parted.
    """
    pair = (undo.patient_id, undo.into_patient_id)
    kept = [each for each in merges if not each.between(pair)]
    if len(kept) < len(merges):
        return kept
    grown = _grown(merges)
    if grown.survivor(pair[0]) != grown.survivor(pair[1]):
        return merges
    parted = grown.by.get(pair[0]) or grown.by[pair[1]]
    return [each for each in merges if each is not parted]


def told(database: Database, tenants: Collection[str], patients: Collection[str]) -> list[Told]:
    """All that was told of these patients and of whom it ties them to."""
    if not patients:
        return []
    with database.transaction() as connection:
        for_tenants(connection, tenants)
        return around(connection, patients)


def lock(connection: Connection[Row], tenants: Collection[str]) -> None:
    """Make merges and joins of these tenants serial until the transaction ends; locks only rise."""
    for number in sorted(map(_number, tenants)):
        connection.execute("SELECT pg_advisory_xact_lock(%s::int, %s::int)", (LOCK, number))


def follow(connection: Connection[Row], events: Sequence[Mapping[str, Any]]) -> list[Change]:
    """The rows that numbered events of :data:`TELLING` write, under :func:`lock`.

    An alias is known from its event's ``recorded_at`` on, until that of the event by which it
    is none, or another one; one that begins and ends in the same instant never was.
    """
    fresh = [(_said(event), event) for event in events]
    named = {each for one, _ in fresh for each in (one.patient_id, one.into_patient_id)}
    known = around(connection, named)
    patients = named | {each for one in known for each in (one.patient_id, one.into_patient_id)}
    rows = connection.execute(_ALIASES, (sorted(patients),)).fetchall()
    times = [row[name] for row in rows for name in ("recorded_at", "undone_at") if row[name]]
    standing = {row["patient_id"]: row for row in rows if row["undone_at"] is None}
    written: dict[tuple[str, datetime], dict[str, Any]] = {}
    changes: list[Change] = []
    grown = forest(known)
    for one, event in fresh:
        at = max(event["recorded_at"], max(times) + _TICK if times else event["recorded_at"])
        changes.append(Append(patient_merges, _merge(one, event)))
        grown, changed = grow(grown, known, one)
        for patient in sorted(changed):
            _turn(patient, grown, standing, written, one=one, event=event, at=at)
    return [*changes, *(Put(patient_aliases, row) for row in written.values())]


def _number(tenant: str) -> int:
    """The tenant's advisory lock; two that share one only wait for each other."""
    return zlib.crc32(tenant.encode()) - (1 << 31)


def _turn(
    patient: str,
    grown: Forest,
    standing: dict[str, dict[str, Any]],
    written: dict[tuple[str, datetime], dict[str, Any]],
    *,
    one: Told,
    event: Mapping[str, Any],
    at: datetime,
) -> None:
    """Close a patient's alias that no longer follows; open the one that does."""
    into, by, row = grown.into.get(patient), grown.by.get(patient), standing.get(patient)
    if row is not None:
        if (row["into_patient_id"], row["event_id"]) == (into, by and by.event_id):
            return
        del standing[patient]
        if written.pop((patient, row["recorded_at"]), None) is None or row["recorded_at"] < at:
            closed = {**row, "undone_at": at, "undone_event_id": one.event_id}
            written[patient, row["recorded_at"]] = closed
    if by is not None:
        standing[patient] = written[patient, at] = {
            "tenant_id": str(event["tenant_id"]),
            "patient_id": patient,
            "into_patient_id": into,
            "event_id": by.event_id,
            "kind": by.kind,
            "recorded_at": at,
            "undone_at": None,
            "undone_event_id": None,
        }


def _said(event: Mapping[str, Any]) -> Told:
    data = event["data"]
    reported = data["reported_at"]
    return Told(
        event_id=str(event["event_id"]),
        patient_id=str(event["stream_id"]),
        into_patient_id=data[TELLING[event["event_type"]]],
        kind=data.get("kind", UNDO),
        said_at=event["occurred_at"] if reported is None else instant(reported),
    )


def _merge(one: Told, event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "event_id": one.event_id,
        "tenant_id": str(event["tenant_id"]),
        "patient_id": one.patient_id,
        "into_patient_id": one.into_patient_id,
        "kind": one.kind,
        "said_at": one.said_at,
        "recorded_at": event["recorded_at"],
    }


def around(connection: Connection[Row], patients: Collection[str]) -> list[Told]:
    """All that was told of these patients and of whom it ties them to, in this transaction."""
    rows = connection.execute(_AROUND, (sorted(patients),)).fetchall()
    return [Told(**row) for row in rows]


_AROUND = """
WITH RECURSIVE around (patient_id) AS (
    SELECT unnest(%s::uuid[])
    UNION
    SELECT other.patient_id FROM around, LATERAL (
        SELECT into_patient_id FROM patient_merges WHERE patient_id = around.patient_id
        UNION ALL
        SELECT patient_id FROM patient_merges WHERE into_patient_id = around.patient_id
    ) AS other (patient_id)
)
SELECT event_id, patient_id, into_patient_id, kind, said_at FROM patient_merges
WHERE patient_id IN (SELECT patient_id FROM around)
"""
_ALIASES = """
SELECT tenant_id, patient_id, into_patient_id, event_id, kind, recorded_at, undone_at,
       undone_event_id
FROM patient_aliases WHERE patient_id = ANY (%s::uuid[])
ORDER BY patient_id, recorded_at
"""
