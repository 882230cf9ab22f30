"""Beds that two visits had at the same time, on the census track as known now."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import nsmallest
from itertools import groupby

from psycopg import Connection

from sinks.database import Row

STAYS_MAX = 100_000  # looked at, the newest: as many facts as sinks.quality looks at
CONFLICTS_MAX = 10_000  # a feed with more names no beds, but something else
AT_ONCE_MAX = 10  # in a bed; where more are, the stays have no end and it is no bed
ALIASES_DEEP_MAX = 100  # steps from a patient to the survivor; chains are a few long
STATEMENT_TIMEOUT_S = 30  # for each of the questions here

COMPONENTS = ("facility", "building", "floor", "point_of_care", "room", "bed")
_PLACE = ", ".join(COMPONENTS)
_NEVER = datetime.max.replace(tzinfo=UTC)

Pair = tuple[Row, Row]  # a stay, and one of another visit that lasted when it began


@dataclass(frozen=True, slots=True, kw_only=True)
class BedConflict:
    """Two visits in one bed on the census track at the same time; no end while both go on."""

    location: str
    admission_id: str
    other_admission_id: str
    feed_ids: tuple[str, ...]
    same_patient: bool
    started_at: datetime
    ended_at: datetime | None


def bed_conflicts(
    connection: Connection[Row], *, since: datetime | None = None
) -> list[BedConflict]:
    """Beds that two visits have at the same time, the newest first; at most `CONFLICTS_MAX`.

    A bed is one by its whole place (rule T20); ``since`` is when the later stay began. Of more
    than `AT_ONCE_MAX` at once in a bed, each is held against those that last the longest.
    """
    connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'")
    values = {"since": since, "most": STAYS_MAX}
    pairs = nsmallest(
        CONFLICTS_MAX, _overlaps(connection.execute(_BEDS, values), since), key=_newest
    )
    feeds = _feeds(connection, pairs)
    survivors = _survivors(connection, {stay["patient_id"] for pair in pairs for stay in pair})
    return [
        BedConflict(
            location=later["location"],
            admission_id=later["admission_id"],
            other_admission_id=earlier["admission_id"],
            feed_ids=tuple(
                sorted({feeds[fact] for fact in _begun((later, earlier)) if fact in feeds})
            ),
            same_patient=survivors[later["patient_id"]] == survivors[earlier["patient_id"]],
            started_at=later["effective_at"],
            ended_at=min(
                (end for end in (later["ended_at"], earlier["ended_at"]) if end), default=None
            ),
        )
        for later, earlier in pairs
    ]


def _overlaps(rows: Iterable[Row], since: datetime | None) -> Iterator[Pair]:
    """Each stay with those of other visits that lasted in its bed when it began.

    ``rows`` by bed and start. One pass: what lasts on is at most `AT_ONCE_MAX` stays.
    """
    for _, bed in groupby(rows, key=lambda stay: tuple(stay[name] for name in COMPONENTS)):
        lasting: list[Row] = []
        for stay in bed:
            start = stay["effective_at"]
            lasting = [each for each in lasting if each["ended_at"] is None or _end(each) > start]
            if since is None or start >= since:
                for other in lasting:
                    if other["admission_id"] != stay["admission_id"]:
                        yield stay, other
            lasting.append(stay)
            if len(lasting) > AT_ONCE_MAX:
                lasting.remove(min(lasting, key=_end))


def _end(stay: Row) -> datetime:
    end: datetime | None = stay["ended_at"]
    return _NEVER if end is None else end


def _newest(pair: Pair) -> tuple[float, str, str]:
    later, earlier = pair
    return -later["effective_at"].timestamp(), later["admission_id"], earlier["admission_id"]


def _begun(pair: Pair) -> tuple[str, str]:
    later, earlier = pair
    return later["start_event_id"], earlier["start_event_id"]


def _feeds(connection: Connection[Row], pairs: Iterable[Pair]) -> dict[str, str]:
    """Which feed told of each stay's begin."""
    begun = {fact for pair in pairs for fact in _begun(pair)}
    rows = connection.execute(
        "SELECT event_id, feed_id FROM trajectory_facts WHERE event_id = ANY(%s)", (sorted(begun),)
    )
    return {row["event_id"]: row["feed_id"] for row in rows}


def _survivors(connection: Connection[Row], people: Collection[str]) -> Mapping[str, str]:
    """Who each of these patients is now."""
    into: dict[str, str] = {}
    asked = set(people)
    for _ in range(ALIASES_DEEP_MAX):
        rows = connection.execute(
            "SELECT patient_id, into_patient_id FROM patient_aliases"
            " WHERE undone_at IS NULL AND patient_id = ANY(%s)",
            (sorted(asked),),
        )
        found = {row["patient_id"]: row["into_patient_id"] for row in rows}
        into |= found
        asked = set(found.values()) - into.keys()
        if not asked:
            break
    return {each: _last(each, into) for each in people}


def _last(patient_id: str, into: Mapping[str, str]) -> str:
    for _ in range(ALIASES_DEEP_MAX):
        if patient_id not in into:
            break
        patient_id = into[patient_id]
    return patient_id


# All stays of each bed that two had at once.
_BEDS = f"""
WITH newest AS (
    SELECT * FROM trajectory_points
    WHERE track = 'census' AND known_to IS NULL AND retracted_at IS NULL AND bed <> ''
      AND (%(since)s::timestamptz IS NULL OR ended_at IS NULL OR ended_at > %(since)s)
    ORDER BY effective_at DESC LIMIT %(most)s
), stay AS (
    SELECT *, coalesce(effective_at < max(coalesce(ended_at, 'infinity')) OVER (
        PARTITION BY {_PLACE} ORDER BY effective_at, point_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS taken
    FROM newest
), bed AS (
    SELECT *, bool_or(taken) OVER (PARTITION BY {_PLACE}) AS conflicts FROM stay
)
SELECT {_PLACE}, location, admission_id, patient_id, start_event_id, effective_at, ended_at
FROM bed WHERE conflicts ORDER BY {_PLACE}, effective_at, point_id
"""  # noqa: S608  constants of this module
