"""Questions to flight plans: one by its id, those of an admission, all of them page by page.

Each is asked on a snapshot that shows one tenant's rows. Names and texts come as sealed envelopes
in base64, as the row holds them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg.sql import SQL, Composed

from sinks.pages import Order, Page, page
from sinks.queries import Snapshot

TABLE = "flightplan_read_models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flightplan:
    """A plan; ids are UUID texts, ``title`` is sealed for the patient, as are the items' names.

    ``goals`` have goal_id, name, achieved, achieved_at; ``tasks`` task_id, name, completed,
    completed_at; ``milestones`` milestone_id, name, scheduled_date, completed, completed_at;
    ``alerts``, those not cleared, alert_id, severity, text, raised_at; times are ISO 8601.
    """

    id: str
    admission_id: str
    patient_id: str
    title: str | None
    status: str
    goals: list[dict[str, Any]]
    tasks: list[dict[str, Any]]
    milestones: list[dict[str, Any]]
    risk_score: float | None
    alerts: list[dict[str, Any]]
    created_at: datetime
    updated_at: datetime
    version: int


def flightplan(connection: Snapshot, flightplan_id: UUID) -> Flightplan | None:
    """One plan; None where there is none."""
    found = _page(connection, [SQL("id = %(id)s")], {"id": flightplan_id}, 1, None)
    return found.rows[0] if found.rows else None


def flightplans(
    connection: Snapshot,
    *,
    admission: UUID | None = None,
    patient: UUID | None = None,
    status: Literal["draft", "active", "completed"] | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Flightplan]:
    """The plans by id; of one admission, or of a patient under all aliases, if they are named.

    Raises :class:`~sinks.pages.CursorInvalid`.
    """
    only = []
    if admission is not None:
        only.append(SQL(_OF_ADMISSION))
    if patient is not None:
        only.append(SQL(_OF_PATIENT))
    if status is not None:
        only.append(SQL("data ->> 'status' = %(status)s"))
    values = {"admission": admission, "patient": patient, "status": status}
    return _page(connection, only, values, limit, cursor)


def _page(
    connection: Snapshot,
    only: list[SQL | Composed] | list[SQL],
    values: Mapping[str, Any],
    limit: int,
    cursor: str | None,
) -> Page[Flightplan]:
    return page(
        connection, Flightplan, TABLE, only, values, Order(), limit, cursor, computed=_COMPUTED
    )


_COMPUTED: Mapping[str, str] = {
    "patient_id": "data ->> 'patient_id'",
    "title": "data ->> 'title'",
    "status": "data ->> 'status'",
    "goals": "data -> 'goals'",
    "tasks": "data -> 'tasks'",
    "milestones": "data -> 'milestones'",
    "risk_score": "(data ->> 'risk_score')::double precision",
    "alerts": "data -> 'alerts'",
    "version": "(data ->> 'version')::int",
}
_OF_PATIENT = """
(data ->> 'patient_id')::uuid = ANY (ARRAY(SELECT same_patients(%(patient)s::uuid)))
"""
_OF_ADMISSION = """
admission_id IN (
    WITH RECURSIVE joined (admission_id) AS (
        SELECT %(admission)s::uuid
        UNION
        SELECT CASE alias.admission_id
            WHEN joined.admission_id THEN alias.into_admission_id ELSE alias.admission_id END
        FROM joined JOIN admission_aliases AS alias
          ON joined.admission_id IN (alias.admission_id, alias.into_admission_id)
    )
    SELECT admission_id FROM joined
)
"""
