"""The questions that HTTP takes: one table of routes, which the router and OpenAPI come from."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from ops import drawing
from ops.lanes import Picture
from sinks import tenancy
from sinks.queries import Contact, Happened, Seen, Snapshot
from sinks.questions import ANSWER_MAX, Level, Track
from sinks.tenancy import ZoneUnknown

WARD_CHARACTERS_MAX = 200  # of a point of care; HL7 allows 20, feeds write more
JSON, SVG = "application/json", "image/svg+xml"
Given = Mapping[str, Any]  # a question's parameters by name, read; those not given aren't in it
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# A plus that was not written as %2B arrives as a blank.
_BLANK_PLUS = re.compile(r"(T.*) (\d\d:?\d\d)$")


class Misasked(Exception):  # noqa: N818  named for what is wrong
    """The question can't be read; neither line nor hint repeats anything of it."""

    def __init__(self, line: str, hint: str) -> None:
        super().__init__(line)
        self.hint = hint


class NotFound(Exception):  # noqa: N818  named for what is wrong
    """The tenant has no such visit."""


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


# --- parameters ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a parameter may be: how it is read, its JSON schema, and what to write instead."""

    read: Callable[[str], Any]  # raises ValueError
    schema: Mapping[str, Any]
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a question, in the path or the query."""

    name: str
    kind: Kind
    about: str
    place: str = "query"
    default: Any = None


def _id(text: str) -> UUID:
    if not _UUID.fullmatch(text):
        raise ValueError
    return UUID(text)


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(_BLANK_PLUS.sub(r"\1+\2", text))
    if at.tzinfo is None:
        raise ValueError
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError from None


def _ward(text: str) -> str:
    if not text.strip() or len(text) > WARD_CHARACTERS_MAX or not text.isprintable():
        raise ValueError
    return text


def _rows(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= ANSWER_MAX:
        raise ValueError
    return int(text)


def _one_of(*choices: str) -> Kind:
    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    schema = {"type": "string", "enum": list(choices)}
    return Kind(read=read, schema=schema, hint=f"one of: {', '.join(choices)}")


ID = Kind(
    read=_id,
    schema={"type": "string", "format": "uuid"},
    hint="ids are UUIDs; a visit number or MRN never stands in a URL",
)
INSTANT = Kind(
    read=_instant,
    schema={"type": "string", "format": "date-time"},
    hint="ISO 8601 with its zone, such as 2026-03-02T10:00:00Z",
)
WARD = Kind(
    read=_ward,
    schema={"type": "string", "minLength": 1, "maxLength": WARD_CHARACTERS_MAX},
    hint=f"a point of care as the feed writes it, at most {WARD_CHARACTERS_MAX} characters",
)
LIMIT = Kind(
    read=_rows,
    schema={"type": "integer", "minimum": 1, "maximum": ANSWER_MAX},
    hint=f"a whole number from 1 to {ANSWER_MAX}",
)
ZONE = Kind(
    read=tenancy.zone,
    schema={"type": "string"},
    hint="a zone of the IANA database, such as Europe/London",
)
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
        name="track", kind=_one_of(*tracks), default=default,
        about="The bed that is the patient's (census), or where the patient is (physical).",
    )  # fmt: skip


# --- questions -----------------------------------------------------------------------------------

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A question: its path under ``/v1``, what it takes, who answers, which lists it gives.

    ``drawn`` makes an SVG of an answer, for those that can be looked at.
    """

    path: str
    operation: str
    about: str
    parameters: tuple[Parameter, ...]
    answer: Callable[[Archive, Snapshot, Given], Answer]
    rows: Mapping[str, type]
    drawn: Callable[[Answer, Given], str] | None = None

    def read(self, path: Mapping[str, str], query: Sequence[tuple[str, str]]) -> Given:
        """The parameters of a request; raises :class:`Misasked`."""
        known = {each.name: each for each in self.parameters}
        queried = [each.name for each in self.parameters if each.place == "query"]
        given = {name: each.default for name, each in known.items() if each.default is not None}
        texts = dict(path)
        for name, text in query:
            if name not in queried:
                raise Misasked(
                    "a query parameter isn't known here", f"there are: {', '.join(queried)}"
                )
            if name in texts:
                raise Misasked(f"a parameter stands twice: {name}", "give each once")
            texts[name] = text
        for name, text in texts.items():
            kind = known[name].kind
            try:
                given[name] = kind.read(text)
            except (ValueError, ZoneUnknown):
                raise Misasked(f"a parameter can't be read: {name}", kind.hint) from None
        return given


def cut(answer: Answer, route: Route, given: Given) -> Answer:
    """The answer with no more rows than asked for, and whether that left any out."""
    limit = given["limit"]
    kept = {name: answer[name][:limit] for name in route.rows}
    return {**answer, **kept, "cut": any(len(answer[name]) > limit for name in route.rows)}


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
                name="level", kind=_one_of("room", "ward"), default="room",
                about="What has to be shared.",
            ),
            _KNOWN_AT, _track("census", "physical", default="physical"), _LIMIT,
        ),
    ),
    Route(
        path="/timeline/{admission}", operation="timeline", answer=_timeline,
        rows={"points": Seen, "events": Happened}, drawn=_drawn,
        about="A visit's stays and what happened; as a drawing where SVG is preferred.",
        parameters=(
            _VISIT, _KNOWN_AT, _LIMIT,
            Parameter(name="zone", kind=ZONE, about="Whose clock a drawing shows; UTC if none."),
        ),
    ),
)  # fmt: skip
