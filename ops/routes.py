"""The questions about paths that HTTP takes: where, path, census, contacts, timeline."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from ops import drawing
from ops.lanes import Picture
from ops.parameters import (
    ID,
    INSTANT,
    LIMIT,
    WARD,
    ZONE,
    Given,
    Misasked,
    NotFound,
    Parameter,
    one_of,
)
from ops.route import Answer, Route
from sinks.queries import Contact, Happened, Seen, Snapshot
from sinks.questions import ANSWER_MAX, Level, Track
from streams.read_models import TIMELINE
from streams.trajectory import PROJECTION as TRAJECTORY


class Archive(Protocol):
    """Who knows the answers, asked in a snapshot of one tenant; :mod:`sinks.queries` is one."""

    def where(
        self,
        connection: Snapshot,
        *,
        admission_id: UUID | None,
        patient_id: UUID | None,
        at: datetime | None,
        known_at: datetime | None,
    ) -> list[Seen]:
        """Where a visit or a patient is at an instant, on both tracks."""

    def path(
        self,
        connection: Snapshot,
        *,
        admission_id: UUID | None,
        patient_id: UUID | None,
        known_at: datetime | None,
        track: Track | None,
    ) -> list[Seen]:
        """Every stay in order."""

    def census(
        self,
        connection: Snapshot,
        ward: str,
        *,
        at: datetime | None,
        known_at: datetime | None,
        track: Track,
    ) -> list[Seen]:
        """Who is in a point of care."""

    def contacts(
        self,
        connection: Snapshot,
        admission_id: UUID,
        *,
        level: Level,
        known_at: datetime | None,
        track: Track,
    ) -> list[Contact]:
        """Who shared a room or a ward with a visit's patient, when and how long."""

    def timeline(self, connection: Snapshot, admission_id: UUID) -> list[Happened]:
        """What happened to a visit."""

    def visits(self, connection: Snapshot, among: Sequence[UUID]) -> list[UUID]:
        """Those of these ids that are visits of the tenant."""

    def behind(self, connection: Snapshot, subscription_id: str) -> int:
        """How many events wait to be folded."""


_AT = Parameter(name="at", kind=INSTANT, about="The instant asked about; by default now.")
_KNOWN_AT = Parameter(
    name="known_at", kind=INSTANT, about="As it was known then; by default as known now."
)
_LIMIT = Parameter(
    name="limit", kind=LIMIT, default=ANSWER_MAX, about="The most rows of the answer."
)
_ADMISSION = Parameter(name="admission", kind=ID, about="The visit's id.")
_PATIENT = Parameter(
    name="patient", kind=ID, about="A patient's id, for all visits of that patient, instead."
)
_VISIT = Parameter(name="admission", kind=ID, place="path", about="The visit's id.")


def _track(*tracks: str, default: str | None) -> Parameter:
    return Parameter(
        name="track", kind=one_of(*tracks), default=default,
        about="The bed that is the patient's (census), or where the patient is (physical).",
    )  # fmt: skip


def _where(archive: Archive, snapshot: Snapshot, given: Given) -> Answer:
    whose = _whose(archive, snapshot, given)
    at = given.get("at", datetime.now(UTC))
    known_at = given.get("known_at")
    found = archive.where(snapshot, **whose, at=at, known_at=known_at)
    return {**whose, "at": at, "known_at": known_at, "points": found}


def _path(archive: Archive, snapshot: Snapshot, given: Given) -> Answer:
    whose = _whose(archive, snapshot, given)
    known_at = given.get("known_at")
    found = archive.path(snapshot, **whose, known_at=known_at, track=given.get("track"))
    return {**whose, "known_at": known_at, "points": found}


def _census(archive: Archive, snapshot: Snapshot, given: Given) -> Answer:
    at = given.get("at", datetime.now(UTC))
    asked = {"at": at, "known_at": given.get("known_at"), "track": given["track"]}
    found = archive.census(snapshot, given["ward"], **asked)
    return {"ward": given["ward"], **asked, "points": found}


def _contacts(archive: Archive, snapshot: Snapshot, given: Given) -> Answer:
    admission = _visited(archive, snapshot, given["admission"])
    asked = {
        "level": given["level"], "known_at": given.get("known_at"), "track": given["track"],
    }  # fmt: skip
    found = archive.contacts(snapshot, admission, **asked)
    return {"admission_id": admission, **asked, "contacts": found}


def _timeline(archive: Archive, snapshot: Snapshot, given: Given) -> Answer:
    admission = _visited(archive, snapshot, given["admission"])
    known_at = given.get("known_at")
    path = archive.path(
        snapshot, admission_id=admission, patient_id=None, known_at=known_at, track=None
    )
    happened = archive.timeline(snapshot, admission)
    return {"admission_id": admission, "known_at": known_at, "points": path, "events": happened}


def _drawn(answer: Answer, given: Given) -> str:
    """A timeline as SVG; what is cut off the list of stays isn't drawn either."""
    picture = Picture.of(answer["points"], now=datetime.now(UTC))
    title = f"admission {answer['admission_id']}"
    return drawing.svg(picture, title=title, zone=given.get("zone", UTC))


def _whose(archive: Archive, snapshot: Snapshot, given: Given) -> dict[str, UUID | None]:
    """The one visit or the one patient that is meant."""
    admission, patient = given.get("admission"), given.get("patient")
    if (admission is None) == (patient is None):
        raise Misasked("whose?", "either admission=UUID or patient=UUID")
    if admission is not None:
        _visited(archive, snapshot, admission)
    return {"admission_id": admission, "patient_id": patient}


def _visited(archive: Archive, snapshot: Snapshot, admission: UUID) -> UUID:
    if not archive.visits(snapshot, [admission]):
        raise NotFound("this tenant has no visit of this id")
    return admission


ROUTES = (
    Route(
        path="/where", operation="where", answer=_where, rows={"points": Seen},
        about="Where a visit's or a patient's bed is and where the patient is.",
        parameters=(_ADMISSION, _PATIENT, _AT, _KNOWN_AT, _LIMIT),
    ),
    Route(
        path="/path", operation="path", answer=_path, rows={"points": Seen},
        about="Every stay of a visit or a patient, in order.",
        parameters=(
            _ADMISSION, _PATIENT, _KNOWN_AT,
            _track("census", "physical", "planned", default=None), _LIMIT,
        ),
    ),
    Route(
        path="/census/{ward}", operation="census", answer=_census, rows={"points": Seen},
        about="Who is in a point of care.",
        parameters=(
            Parameter(name="ward", kind=WARD, place="path", about="The point of care."),
            _AT, _KNOWN_AT, _track("census", "physical", default="census"), _LIMIT,
        ),
    ),
    Route(
        path="/contacts/{admission}", operation="contacts", answer=_contacts,
        rows={"contacts": Contact},
        about="Who shared a room or a ward with a visit's patient, when and how long.",
        parameters=(
            _VISIT,
            Parameter(
                name="level", kind=one_of("room", "ward"), default="room",
                about="What has to be shared.",
            ),
            _KNOWN_AT, _track("census", "physical", default="physical"), _LIMIT,
        ),
    ),
    Route(
        path="/timeline/{admission}", operation="timeline", answer=_timeline,
        rows={"points": Seen, "events": Happened}, drawn=_drawn,
        projections=(TRAJECTORY.name, TIMELINE.name),
        about="A visit's stays and what happened; as a drawing where SVG is preferred.",
        parameters=(
            _VISIT, _KNOWN_AT, _LIMIT,
            Parameter(name="zone", kind=ZONE, about="Whose clock a drawing shows; UTC if none."),
        ),
    ),
)  # fmt: skip
