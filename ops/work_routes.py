"""The questions about people and work that HTTP takes, and what changed for devices to pull."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import orjson

from ops.parameters import (
    ID,
    INSTANT,
    PARTITION_MAX,
    SEQ_MAX,
    Given,
    Kind,
    Misasked,
    NotFound,
    Parameter,
    one_of,
    page,
    yes,
)
from ops.route import Answer, Route, Sealed
from sinks import flightplans, verified, work
from sinks.flightplans import Flightplan
from sinks.pages import CursorInvalid, Page
from sinks.queries import Snapshot
from sinks.verified import Verification
from sinks.work import Department, Handover, Shift, Summary, Task, User
from streams.read_models.flightplans import PROJECTION as FLIGHTPLANS
from streams.read_models.work import PROJECTION as WORK
from streams.verification.projection import PROJECTION as VERIFICATION

CURSOR_CHARACTERS_MAX = 4_000  # of a thousand partitions, and more
_WORK = (WORK.name,)
_PLANNED = (FLIGHTPLANS.name,)
_JUDGED = (WORK.name, VERIFICATION.name)  # an outcome is shown to who may see its task
_PULLED = ("work", "outcomes")  # what a device's cursor has a position of, in this order
_OWN = ("id",)  # sealed for the thing itself
_OF_PATIENT = ("patient_id", "id")
NEXT: Mapping[str, Any] = {
    "type": ["string", "null"], "description": "The cursor of the next page; null on the last.",
}  # fmt: skip
SEALED: Mapping[str, Mapping[str, Sealed]] = {
    "departments": {"name": Sealed(field="name", whose=_OWN)},
    "users": {name: Sealed(field=name, whose=_OWN) for name in ("name", "email")},
    "tasks": {
        **{name: Sealed(field=name, whose=_OF_PATIENT) for name in ("title", "description")},
        "cancel_reason": Sealed(field="reason", whose=_OF_PATIENT),
        "conflicts": Sealed(field="", whose=_OF_PATIENT, within=True),
    },
    "flightplans": {
        "title": Sealed(field="title", whose=("patient_id",)),
        **{
            name: Sealed(field="", whose=("patient_id",), within=True)
            for name in ("goals", "tasks", "milestones", "alerts")
        },
    },
    "handovers": {
        "summary": Sealed(field="summary", whose=_OF_PATIENT),
        "cancel_reason": Sealed(field="reason", whose=_OF_PATIENT),
        "conflicts": Sealed(field="", whose=_OF_PATIENT, within=True),
    },
}


def _cursor(text: str) -> str:
    if not text or len(text) > CURSOR_CHARACTERS_MAX or not text.isascii():
        raise ValueError
    return text


def _vector(text: str) -> Sequence[Mapping[int, int]]:
    """Where work and outcomes were, out of the cursor that :func:`_told` made."""
    loaded = orjson.loads(urlsafe_b64decode(_cursor(text)))
    if not isinstance(loaded, list) or len(loaded) != len(_PULLED):
        raise ValueError
    return tuple(map(_positions, loaded))


def _positions(loaded: object) -> Mapping[int, int]:
    if not isinstance(loaded, dict) or len(loaded) > work.POSITIONS_MAX:
        raise ValueError
    found = {int(partition): seq for partition, seq in loaded.items()}
    for partition, seq in found.items():
        whole = isinstance(seq, int) and not isinstance(seq, bool)
        if not whole or not 0 <= partition <= PARTITION_MAX or not 0 <= seq <= SEQ_MAX:
            raise ValueError
    return found


def _told(*positions: Mapping[int, int]) -> str:
    named = [{str(each): seq for each, seq in sorted(one.items())} for one in positions]
    return urlsafe_b64encode(orjson.dumps(named)).decode("ascii")


CURSOR = Kind(
    read=_cursor,
    schema={"type": "string", "minLength": 1, "maxLength": CURSOR_CHARACTERS_MAX},
    hint="a cursor as the last answer gave it",
)
VECTOR = Kind(read=_vector, schema=CURSOR.schema, hint=CURSOR.hint)
_PAGE = (page(), Parameter(name="cursor", kind=CURSOR, about="Of the page after another one."))
_DEPARTMENT = Parameter(name="department", kind=ID, about="Of this department alone.")
_INACTIVE = Parameter(
    name="inactive", kind=yes(), default=False, about="Those that were deactivated too."
)
_SHIFT = Parameter(name="shift", kind=ID, about="Of this shift alone.")


def _pages(name: str, ask: Callable[..., Page[Any]]) -> Callable[..., Answer]:
    """An answer of one page: the question's parameters are the query's arguments."""

    def answer(_: object, snapshot: Snapshot, given: Given) -> Answer:
        asked = {each: value for each, value in given.items() if each != "min_position"}
        with _read_cursor():
            found = ask(snapshot, **asked)
        return {name: list(found.rows), "next": found.cursor}

    return answer


@contextmanager
def _read_cursor() -> Iterator[None]:
    try:
        yield
    except CursorInvalid:
        raise Misasked("a parameter can't be read: cursor", CURSOR.hint) from None


def _one(
    name: str, ask: Callable[[Snapshot, UUID], object | None]
) -> Callable[[object, Snapshot, Given], Answer]:
    def answer(_: object, snapshot: Snapshot, given: Given) -> Answer:
        found = ask(snapshot, given["id"])
        if found is None:
            raise NotFound("this reader's departments have no such thing")
        return {name: found}

    return answer


def _summary(_: object, snapshot: Snapshot, given: Given) -> Answer:
    found = work.task_summary(snapshot, given["patient"])
    return {"patient_id": given["patient"], "summary": found}


def _changes(_: object, snapshot: Snapshot, given: Given) -> Answer:
    since, told_since = given.get("since", ({}, {}))
    found = work.changes_since(snapshot, since, limit=given["limit"])
    told = verified.changes_since(
        snapshot, told_since, beside=[each.id for each in found.tasks], limit=given["limit"]
    )
    return {
        "tasks": list(found.tasks), "handovers": list(found.handovers),
        "verifications": list(told.verifications),
        "cursor": _told(found.positions, told.positions), "more": found.more or told.more,
    }  # fmt: skip


def _listing(
    name: str,
    kind: type,
    ask: Callable[..., Page[Any]],
    about: str,
    *parameters: Parameter,
    projections: tuple[str, ...] = _WORK,
) -> Route:
    sealed = {name: SEALED[name]} if name in SEALED else {}
    return Route(
        path=f"/{name}", operation=name, about=about, answer=_pages(name, ask),
        rows={name: kind}, more={"next": NEXT}, sealed=sealed, projections=projections,
        parameters=(*parameters, *_PAGE),
    )  # fmt: skip


def _single(
    name: str,
    kind: type,
    ask: Callable[[Snapshot, UUID], object | None],
    *,
    projections: tuple[str, ...] = _WORK,
) -> Route:
    about = f"One {name}, with all that belongs to it."
    return Route(
        path=f"/{name}s/{{id}}", operation=name, about=about, answer=_one(name, ask),
        one={name: kind}, sealed={name: SEALED[f"{name}s"]}, projections=projections,
        parameters=(Parameter(name="id", kind=ID, place="path", about=f"The {name}'s id."),),
    )  # fmt: skip


ROUTES = (
    _listing("departments", Department, work.departments, "The departments.", _INACTIVE),
    _listing(
        "users", User, work.users, "The users, by id.", _DEPARTMENT, _INACTIVE
    ),
    _listing(
        "shifts", Shift, work.shifts, "The shifts, by their start.", _DEPARTMENT,
        Parameter(name="at", kind=INSTANT, about="Those that are on then."),
        Parameter(
            name="cancelled", kind=yes(), default=False, about="Those that were cancelled too."
        ),
    ),
    _listing(
        "tasks", Task, work.tasks, "The tasks of the key's departments, by when they are due.",
        _DEPARTMENT, _SHIFT,
        Parameter(
            name="status", kind=one_of("pending", "in_progress", "completed", "cancelled"),
            about="Those that stand so.",
        ),
        Parameter(name="assigned_to", kind=ID, about="Those of this user."),
        Parameter(name="patient", kind=ID, about="Those of this patient, under every alias."),
    ),
    _single("task", Task, work.task),
    _listing(
        "handovers", Handover, work.handovers,
        "The handovers of the key's departments, by when they were initiated.",
        _DEPARTMENT, _SHIFT,
        Parameter(
            name="status", kind=one_of("initiated", "accepted", "cancelled"),
            about="Those that stand so.",
        ),
    ),
    _single("handover", Handover, work.handover),
    _listing(
        "flightplans", Flightplan, flightplans.flightplans, "The flight plans, by id.",
        Parameter(name="admission", kind=ID, about="That of this visit."),
        Parameter(name="patient", kind=ID, about="Those of this patient, under every alias."),
        Parameter(
            name="status", kind=one_of("draft", "active", "completed"), about="Those that stand so."
        ),
        projections=_PLANNED,
    ),
    _single("flightplan", Flightplan, flightplans.flightplan, projections=_PLANNED),
    _listing(
        "verifications", Verification, verified.verifications,
        "What is known of tasks: outcome, reasons, evidence; by the task's id.",
        Parameter(name="status", kind=one_of(*verified.STATUSES), about="Those that stand so."),
        Parameter(name="patient", kind=ID, about="Those of this patient, under every alias."),
        projections=_JUDGED,
    ),
    Route(
        path="/verifications/{id}", operation="verification",
        answer=_one("verification", verified.verification), one={"verification": Verification},
        about="What is known of one task.", projections=_JUDGED,
        parameters=(Parameter(name="id", kind=ID, place="path", about="The task's id."),),
    ),
    Route(
        path="/patients/{patient}/task-summary", operation="task_summary", answer=_summary,
        about="A patient's tasks, counted, under every alias.",
        one={"summary": Summary}, more={"patient_id": {"type": "string", "format": "uuid"}},
        projections=_WORK,
        parameters=(Parameter(name="patient", kind=ID, place="path", about="The patient's id."),),
    ),
    Route(
        path="/sync", operation="pull", answer=_changes,
        about="Tasks, handovers and outcomes as they are now that changed since a cursor.",
        rows={"tasks": Task, "handovers": Handover, "verifications": Verification},
        projections=_JUDGED,
        sealed={name: SEALED[name] for name in ("tasks", "handovers")},
        more={
            "cursor": {"type": "string", "description": "Ask from here next time."},
            "more": {"type": "boolean", "description": "Whether there is more now."},
        },
        parameters=(
            Parameter(name="since", kind=VECTOR, about="A cursor; by default from the start."),
            page(),
        ),
    ),
)  # fmt: skip
