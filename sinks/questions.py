"""Questions that people ask of paths: where, the whole path, who is in a ward, who met whom.

Each is a function of the database (migrations 004, 006) that answers for one tenant, as of any
instant and as it was known at any instant; a patient's visits are those of everybody who was the
same patient then, and a visit is the one as which it went on by then. Known time is the ledger's
``recorded_at``; None means now, in either time.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypeVar
from uuid import UUID

from psycopg import Connection

from sinks.database import Row

# A ward has some dozen beds and a visit of a year some hundred stays; an answer of more rows
# than this is a ward or a visit number that a feed gives to everybody.
ANSWER_MAX = 10_000

Track: TypeAlias = Literal["census", "physical", "planned"]
Level: TypeAlias = Literal["room", "ward"]
_Answer = TypeVar("_Answer", "Seen", "Contact")


class AnswerTooLong(Exception):  # noqa: N818  named for what is wrong
    """More rows than a question's answer may have; none is given, since a part would mislead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A stay with where it came from; ids are UUID texts.

    ``location`` is the place as sent, the six columns after it the place taken apart (rule T20;
    empty: not said). ``start_field`` is the field that gave ``effective_at``, ``start_event_id``
    and ``message_id`` the fact that began the stay (no message where that isn't known), and
    ``reported_at`` when the sender recorded that. The revision is (``fold_version``,
    ``partition_seq``), known from ``known_from`` to before ``known_to``.
    """

    point_id: str
    admission_id: str
    patient_id: str
    track: str
    location: str
    facility: str
    building: str
    floor: str
    point_of_care: str
    room: str
    bed: str
    effective_at: datetime
    ended_at: datetime | None
    start_inferred: bool
    end_inferred: bool
    start_field: str
    reported_at: datetime | None
    start_event_id: str
    message_id: str | None
    known_from: datetime
    known_to: datetime | None
    fold_version: int
    partition_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """Another patient's visit that shared a room or a ward, from when to before when.

    ``ended_at`` and ``seconds`` are None while it goes on; ``room`` is empty at level ward.
    """

    admission_id: str
    patient_id: str
    level: str
    point_of_care: str
    room: str
    started_at: datetime
    ended_at: datetime | None
    seconds: int | None


def where(
    connection: Connection[Row],
    *,
    admission_id: UUID | None = None,
    patient_id: UUID | None = None,
    at: datetime | None = None,
    known_at: datetime | None = None,
) -> list[Seen]:
    """The stays of a visit, or of all visits of a patient, at an instant: census and physical.

    Two visits of a patient may both be somewhere (rule T14); all are given. Raises
    :class:`AnswerTooLong`, as the other questions do.
    """
    _require_one(admission_id, patient_id)
    values = (admission_id, patient_id, at, known_at)
    return _asked(Seen, connection, "wt_where(%s, %s, %s, %s)", values)


def path(
    connection: Connection[Row],
    *,
    admission_id: UUID | None = None,
    patient_id: UUID | None = None,
    known_at: datetime | None = None,
    track: Track | None = None,
) -> list[Seen]:
    """Every stay of a visit, or of all visits of a patient, by track and then by time."""
    _require_one(admission_id, patient_id)
    values = (admission_id, patient_id, known_at, track)
    return _asked(Seen, connection, "wt_path(%s, %s, %s, %s)", values)


def census(
    connection: Connection[Row],
    ward: str,
    *,
    at: datetime | None = None,
    known_at: datetime | None = None,
    track: Track = "census",
) -> list[Seen]:
    """Who is in a ward, by room and bed; ``ward`` is the point of care as the feed writes it."""
    return _asked(Seen, connection, "wt_census(%s, %s, %s, %s)", (ward, at, known_at, track))


def contacts(
    connection: Connection[Row],
    admission_id: UUID,
    *,
    level: Level = "room",
    known_at: datetime | None = None,
    track: Track = "physical",
) -> list[Contact]:
    """Who shared a room or a ward with a visit, in the order of when it began.

    A place is shared where facility, building, floor and point of care are the same, and the
    room at level ``room``; a place that names no room (no ward) is shared with nobody. A visit
    without physical stays counts as being where its census has it. Other visits of the same
    patient are no contacts.
    """
    values = (admission_id, level, known_at, track)
    return _asked(Contact, connection, "wt_contacts(%s, %s, %s, %s)", values)


def _require_one(admission_id: UUID | None, patient_id: UUID | None) -> None:
    assert admission_id is not None or patient_id is not None, "whose path is asked for"


def _asked(
    kind: type[_Answer], connection: Connection[Row], function: str, values: tuple[object, ...]
) -> list[_Answer]:
    # The function's name is one of the four above; its values are never part of the statement.
    statement = f"SELECT * FROM public.{function} LIMIT {ANSWER_MAX + 1}"  # noqa: S608  see above
    rows = connection.execute(statement, values).fetchall()
    if len(rows) > ANSWER_MAX:
        raise AnswerTooLong(f"more rows than an answer may have: {ANSWER_MAX}")
    return [_row(kind, row) for row in rows]


def _row(kind: type[_Answer], row: Mapping[str, Any]) -> _Answer:
    return kind(**{each.name: row[each.name] for each in fields(kind)})
