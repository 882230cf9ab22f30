"""The trajectory's fold: facts in, revisions of points out."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from schemas.clock import instant
from schemas.events import Event
from schemas.place import Place
from sinks.changes import Append, Change, Put, Remove, Row
from sinks.projection import Load, Projection, Rows
from sinks.tables import trajectory_facts, trajectory_points
from streams.trajectory.facts import (
    PATH_KINDS,
    READS,
    SUPERSEDED,
    Fact,
    Identity,
    identity,
    iso,
    row,
)
from streams.trajectory.path import path
from streams.trajectory.stays import Stay

FOLD_VERSION = 3
POINTS = UUID("0d8b5a52-3f0e-5a64-9a3e-5a7c1f6f0c21")  # namespace of point ids; never changes

_COMPONENTS = ("point_of_care", "room", "bed", "facility", "building", "floor")
_POINTS_CACHED = 16_384  # a batch's points: each is named again at every later event of its visit
_PLACES_CACHED = 65_536  # more beds than a hospital group has

Points = dict[str, Row]  # the current revision by point id


def fold(events: Sequence[Event], rows: Rows) -> list[Change]:
    """Add one visit's new facts in order; each changed point gets a new revision.

    A point is the claim that the patient came to a place at a time; its id says both, so that
    the same facts have the same points whatever their order. Its earlier revision is closed
    at the event's ``recorded_at``, where the new one begins. A point that is no stay any more
    stays as a revision with ``retracted_at``. A fact that changes nothing writes only itself.
    One that counts no more is a fact no longer; what was known by it is what it was.
    """
    told = {loaded["event_id"]: loaded for loaded in rows[trajectory_facts.name]}
    facts = [Fact.of_row(loaded) for loaded in told.values()]
    points: Points = {point["point_id"]: point for point in rows[trajectory_points.name]}
    known = max((loaded["recorded_at"] for loaded in rows[trajectory_facts.name]), default=None)
    changes: list[Change] = []
    for event in events:
        recorded = instant(event["recorded_at"])
        assert known is None or recorded > known, "known time rises within a visit"
        known = recorded
        if event["event_type"] == SUPERSEDED:
            gone = event["data"]["event_id"]
            changes.append(_superseded(gone, told.get(gone), recorded))
            facts = [fact for fact in facts if fact.event_id != gone]
        else:
            fact = row(event)
            changes.append(Append(trajectory_facts, fact))
            if event["event_type"] not in PATH_KINDS:
                continue
            told[event["event_id"]] = fact
            facts.append(Fact.of_event(event))
        for revision in revisions(facts, points, event, recorded):
            before = points.get(revision["point_id"])
            if before is not None:
                changes.append(Put(trajectory_points, {**before, "known_to": recorded}))
            changes.append(Put(trajectory_points, revision))
            points[revision["point_id"]] = revision
    return changes


def _superseded(event_id: str, fact: Row | None, recorded: datetime) -> Change:
    """That a fact counts no more; what was never loaded makes no stay, and goes."""
    if fact is None:
        return Remove(trajectory_facts, {"event_id": event_id})
    return Put(trajectory_facts, {**fact, "superseded_at": recorded})


def revisions(facts: Sequence[Fact], points: Points, event: Event, recorded: datetime) -> list[Row]:
    """The points that differ from what was known before ``event``, as new revisions.

    A point's patient is whose visit it became (rule M5), else the one of the fact that began
    it, so that a visit number given to many changes no point but its own.
    """
    admission_id = event["stream_id"]
    told = {fact.event_id: fact for fact in facts}
    found = set()
    changed = []
    known = path(facts)
    for track, stays in known.tracks:
        for stay in stays:
            point_id = _point(admission_id, track, stay.start, identity(stay.place) or ())
            found.add(point_id)
            began = told[stay.start_event_id]
            patient_id = known.patient_id or began.patient_id
            before = points.get(point_id)
            if before is None or not _stands(before, stay, patient_id, began.reported_at):
                content = _content(track, stay, patient_id, began.reported_at)
                changed.append(_revision(point_id, content, event, recorded))
    # Sorted: rows are loaded in no order that means anything.
    for point_id in sorted(points.keys() - found):
        before = points[point_id]
        if before["retracted_at"] is None:
            content = {name: before[name] for name in _CONTENT} | {"retracted_at": recorded}
            changed.append(_revision(point_id, content, event, recorded))
    return changed


@lru_cache(maxsize=_POINTS_CACHED)
def _point(admission_id: str, track: str, start: datetime, place: Identity) -> str:
    """The id of a stay's point: who came where, when, on which track."""
    # Texts of other places never meet: what parts the components is escaped in them.
    where = "^".join(part.replace("\\", "\\\\").replace("^", "\\^") for part in place)
    return str(uuid5(POINTS, f"{admission_id}/{track}/{iso(start)}/{where}"))


def _stands(row: Row, stay: Stay, patient_id: str, reported_at: datetime | None) -> bool:
    """Whether a point's row says all that :func:`_content` would; id and track are the same."""
    return bool(
        row["ended_at"] == stay.end
        and row["end_event_id"] == stay.end_event_id
        and row["start_event_id"] == stay.start_event_id
        and row["patient_id"] == patient_id
        and row["retracted_at"] is None
        and row["location"] == stay.place
        and row["reported_at"] == reported_at
        and row["start_field"] == stay.start_field
        and row["start_inferred"] == stay.start_inferred
        and row["end_inferred"] == stay.end_inferred
        and row["effective_at"] == stay.start
    )


def _content(
    track: str, stay: Stay, patient_id: str, reported_at: datetime | None
) -> dict[str, Any]:
    """The columns of a point that the facts decide."""
    return {
        "patient_id": patient_id,
        "track": track,
        "location": stay.place,
        **_components(stay.place),
        "effective_at": stay.start,
        "ended_at": stay.end,
        "start_inferred": stay.start_inferred,
        "end_inferred": stay.end_inferred,
        "start_field": stay.start_field,
        "reported_at": reported_at,
        "start_event_id": stay.start_event_id,
        "end_event_id": stay.end_event_id,
        "retracted_at": None,
    }


_CONTENT = (
    "patient_id", "track", "location", *_COMPONENTS, "effective_at", "ended_at", "start_inferred",
    "end_inferred", "start_field", "reported_at", "start_event_id", "end_event_id", "retracted_at",
)  # fmt: skip


def _revision(point_id: str, content: Row, event: Event, recorded: datetime) -> Row:
    """A point's whole row as known from ``event`` on."""
    return {
        "id": str(uuid5(POINTS, f"{point_id}/{FOLD_VERSION}/{event['partition_seq']}")),
        "point_id": point_id,
        "tenant_id": event["tenant_id"],
        "admission_id": event["stream_id"],
        **content,
        "known_from": recorded,
        "known_to": None,
        "fold_version": FOLD_VERSION,
        "partition": event["partition"],
        "partition_seq": event["partition_seq"],
        "data": _data(content),
    }


def _data(content: Row) -> dict[str, Any]:
    """Document 000's fields of a point, with the place taken apart (rule T20)."""
    return {
        "location": content["location"],
        **{name: content[name] or None for name in _COMPONENTS},
        "effective_at": iso(content["effective_at"]),
        "ended_at": iso(content["ended_at"]),
        "start_inferred": content["start_inferred"],
        "end_inferred": content["end_inferred"],
    }


@lru_cache(maxsize=_PLACES_CACHED)
def _components(location: str) -> dict[str, str]:
    place = Place.parse(location)
    return {name: getattr(place, name) for name in _COMPONENTS}


PROJECTION = Projection(
    name="trajectory",
    reads=READS,
    owns=(trajectory_facts, trajectory_points),
    loads=(
        # Updates are kept as facts, yet never make a stay (rule T8).
        Load(
            table=trajectory_facts,
            by="admission_id",
            where="event_type <> 'admission.updated' AND superseded_at IS NULL",
        ),
        Load(table=trajectory_points, by="admission_id", where="known_to IS NULL"),
    ),
    fold=fold,
    fold_version=FOLD_VERSION,
    notify="wardtrail_points",
    relay="relay:points",
    unknown="park",  # a path without one of its facts would be wrong, and nobody would see it
)
