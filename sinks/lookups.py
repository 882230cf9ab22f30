"""Patients by keyed tokens of their names and birth dates, and by their identifiers."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from sinks.queries import Snapshot

FOUND_MAX = 50  # who is one of more is found by saying more


@dataclass(frozen=True, slots=True, kw_only=True)
class Sought:
    """Who is meant: by all of these ``tokens``, and by this identifier's keyed hash, if given.

    Without an ``authority`` it may be anybody's who assigned it.
    """

    tokens: Sequence[str] = ()
    value_hmac: UUID | None = None
    authority: str | None = None

    def __post_init__(self) -> None:
        assert self.tokens or self.value_hmac, "nobody is sought"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A patient as they are now; ids are UUID texts.

    ``found_as`` are the ids under which that was told by which they are found, their own or those
    that were merged into it. ``demographics`` is sealed: an envelope's text until it is opened.
    """

    id: str
    found_as: list[str]
    demographics: Any


def find(connection: Snapshot, sought: Sought) -> tuple[list[Patient], bool]:
    """At most :data:`FOUND_MAX` patients by id, and whether there are more.

    All tokens must be of one record; an identifier may be one that the patient had before a
    merge, or got by it. Who was erased is found by nothing.
    """
    tokens = sorted(set(sought.tokens))
    values = {
        "tokens": tokens,
        "wanted": len(tokens),
        "value": sought.value_hmac,
        "authority": sought.authority,
        "criteria": bool(tokens) + (sought.value_hmac is not None),
        "limit": FOUND_MAX + 1,
    }
    rows = connection.execute(_FIND, values).fetchall()
    found = [Patient(**{each.name: row[each.name] for each in fields(Patient)}) for row in rows]
    return found[:FOUND_MAX], len(found) > FOUND_MAX


# Equality of ids is leakproof, so that the indexes serve under row-level security too.
_FIND = """
WITH RECURSIVE told (criterion, patient_id) AS (
    SELECT 1, patient_id FROM patient_tokens WHERE token = ANY (%(tokens)s::uuid[])
    GROUP BY patient_id HAVING count(*) = %(wanted)s
    UNION ALL
    SELECT 2, patient_id FROM patient_identifiers
    WHERE value_hmac = %(value)s AND authority = coalesce(%(authority)s, authority)
), way (criterion, told_id, patient_id) AS (
    SELECT criterion, patient_id, patient_id FROM told
    UNION
    SELECT way.criterion, way.told_id, alias.into_patient_id
    FROM way JOIN patient_aliases AS alias ON alias.patient_id = way.patient_id
    WHERE alias.undone_at IS NULL
), found (id, found_as) AS (
    SELECT patient_id, array_agg(DISTINCT told_id::text ORDER BY told_id::text)
    FROM way
    WHERE NOT EXISTS (
        SELECT FROM patient_aliases AS alias
        WHERE alias.patient_id = way.patient_id AND alias.undone_at IS NULL
    ) AND NOT EXISTS (
        SELECT FROM patient_read_models AS erased
        WHERE erased.id = way.patient_id AND data ? 'erased_at'
          AND data ->> 'demographics' IS NULL
    )
    GROUP BY patient_id HAVING count(DISTINCT criterion) = %(criteria)s
    ORDER BY patient_id LIMIT %(limit)s
)
SELECT found.id, found.found_as, patient.data ->> 'demographics' AS demographics
FROM found LEFT JOIN patient_read_models AS patient ON patient.id = found.id
ORDER BY found.id
"""
