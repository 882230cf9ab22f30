"""How well a feed tells paths: a scorecard over what it told, and beds that two patients had.

Everything here is a question over facts and points as known now, about one tenant. Each looks at
the newest :data:`FACTS_MAX` facts or stays at most and says how many those were.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection

from schemas.place import Place
from sinks.beds import COMPONENTS, STATEMENT_TIMEOUT_S, BedConflict, bed_conflicts
from sinks.database import Row

__all__ = ["BedConflict", "Late", "Scorecard", "bed_conflicts", "scorecards"]

# A day of a large hospital is some 10,000 movements: about ten days, read in a second or two.
FACTS_MAX = 100_000
MESSAGES_MAX = 1_000_000  # counted per feed; what is more is as many


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """By how much facts came out of order, in seconds; None where none did."""

    count: int
    median_s: float | None
    p95_s: float | None
    max_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """What a feed's messages and facts are like; counts, and of what they are a part.

    ``messages`` were received, of them ``ignored`` and ``dead``. ``told`` messages became the
    ``facts`` looked at, ``without_evn6`` of them without EVN-6 (or ZBE-2, which is better still).
    ``with_prior`` moves name a prior place; where we had the patient somewhere else just before
    it is ``prior_mismatched``, where we had them nowhere ``prior_unknown`` (rule T11).
    ``late`` are facts that happened before one of the same visit that was recorded earlier;
    cancellations are no part of it, since they tell the time of what they cancel (rule T2), nor
    are facts that we told again when a visit's number was changed (rule M5).
    ``discrepancies`` are updates that name another place than the census had (rule T8), of
    ``updates`` that name one. ``unresolved_cancels`` name nothing that we were told of (rule T4).
    ``bed_conflicts`` are other patients' stays in a bed at the same time, ``bed_conflicts_now``
    those that go on; ``visit_overlaps`` the same between visits of one patient (rule M4).
    """

    feed_id: str
    feed: str
    messages: int
    ignored: int
    dead: int
    reused_control_ids: int
    facts: int
    told: int
    without_evn6: int
    with_prior: int
    prior_mismatched: int
    prior_unknown: int
    late: Late
    updates: int
    discrepancies: int
    unresolved_cancels: int
    bed_conflicts: int
    bed_conflicts_now: int
    visit_overlaps: int

    @property
    def shares(self) -> dict[str, float | None]:
        """Parts of a whole, from 0 to 1; None of nothing."""
        parts = {
            "without_evn6": (self.without_evn6, self.told),
            "prior_mismatched": (self.prior_mismatched, self.with_prior),
            "prior_unknown": (self.prior_unknown, self.with_prior),
            "late": (self.late.count, self.facts),
            "discrepancies": (self.discrepancies, self.updates),
            "ignored": (self.ignored, self.messages),
            "dead": (self.dead, self.messages),
            "reused_control_ids": (self.reused_control_ids, self.messages),
        }
        return {name: part / whole if whole else None for name, (part, whole) in parts.items()}


def scorecards(
    connection: Connection[Row],
    conflicts: Sequence[BedConflict],
    *,
    feed: str | None = None,
    since: datetime | None = None,
) -> list[Scorecard]:
    """A scorecard of each feed of the tenant, or of the one of this name; none if there is none.

    ``since`` is when the facts and messages were recorded. The connection shows one tenant.
    """
    _bound(connection)
    rows = connection.execute(
        "SELECT id, name FROM feeds WHERE %(feed)s::text IS NULL OR name = %(feed)s ORDER BY name",
        {"feed": feed},
    ).fetchall()
    return [_scorecard(connection, row["id"], row["name"], conflicts, since) for row in rows]


def _scorecard(
    connection: Connection[Row],
    feed_id: str,
    name: str,
    conflicts: Sequence[BedConflict],
    since: datetime | None,
) -> Scorecard:
    values = {"feed": feed_id, "since": since, "most": FACTS_MAX, "messages": MESSAGES_MAX}

    def one(statement: str) -> Row:
        row = connection.execute(statement, values).fetchone()
        assert row is not None, "an aggregate has one row"
        return row

    prior = _compared(connection.execute(_PRIOR, values))
    updates = _compared(connection.execute(_UPDATES, values))
    late = one(_LATE)
    mine = [each for each in conflicts if feed_id in each.feed_ids]
    others = [each for each in mine if not each.same_patient]
    return Scorecard(
        feed_id=feed_id, feed=name, **one(_MESSAGES), **one(_TOLD),
        with_prior=prior.total(), prior_mismatched=prior["elsewhere"],
        prior_unknown=prior["nowhere"],
        late=Late(
            count=late["count"], median_s=late["median_s"], p95_s=late["p95_s"],
            max_s=late["max_s"],
        ),
        updates=updates.total(), discrepancies=updates["elsewhere"],
        unresolved_cancels=one(_UNRESOLVED)["unresolved"],
        bed_conflicts=len(others),
        bed_conflicts_now=sum(each.ended_at is None for each in others),
        visit_overlaps=len(mine) - len(others),
    )  # fmt: skip


def _compared(rows: Iterator[Row]) -> Counter[str]:
    """How often the place that was said is where we had the patient: there, elsewhere, nowhere.

    A text that names no place says nothing, and isn't counted.
    """
    found: Counter[str] = Counter()
    for row in rows:
        said = Place.parse(row["said"])
        if not said.known:
            continue
        had = tuple(row[name] for name in COMPONENTS)
        where = "nowhere" if had[0] is None else "there" if had == said.identity else "elsewhere"
        found[where] += row["count"]
    return found


def _bound(connection: Connection[Row]) -> None:
    connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'")


_PLACE = "facility, building, floor, point_of_care, room, bed"
# Each cancellation and what it takes back.
_CANCELS: Mapping[str, tuple[str, ...]] = {
    "admission.cancelled": ("admission.created", "admission.planned"),
    "admission.location_change_cancelled": (
        "admission.location_changed", "admission.class_changed",
    ),
    "admission.discharge_cancelled": ("admission.discharged",),
    "admission.departure_cancelled": ("admission.departed",),
    "admission.arrival_cancelled": ("admission.arrived",),
    "admission.leave_cancelled": ("admission.leave_started",),
    "admission.return_cancelled": ("admission.leave_ended",),
    "admission.plan_cancelled": ("admission.planned",),
}  # fmt: skip
# What tells the time of another fact, or of none.
_TIMELESS = (*_CANCELS, "admission.deleted", "admission.movement_updated", "admission.joined",
             "admission.patient_changed")  # fmt: skip
_MOVES = ("admission.location_changed", "admission.class_changed")


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


# ``again``: told again by us, when the visit's number was changed (rule M5), not by the feed.
# ``joined``: of a visit that goes on under another number, and has no path by this one.
_FACTS = """
WITH newest AS MATERIALIZED (
    SELECT * FROM trajectory_facts
    WHERE feed_id = %(feed)s AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
      AND superseded_at IS NULL
    ORDER BY recorded_at DESC LIMIT %(most)s
), told AS MATERIALIZED (
    SELECT *, admission_id IN (SELECT admission_id FROM admission_aliases) AS joined,
        (admission_id, message_id, event_type) IN (
            SELECT alias.into_admission_id, first.message_id, first.event_type
            FROM admission_aliases AS alias
            JOIN trajectory_facts AS first ON first.admission_id = alias.admission_id) AS again
    FROM newest
)
"""
_MESSAGES = """
SELECT count(*) AS messages, count(*) FILTER (WHERE outcome = 'ignored') AS ignored,
       count(*) FILTER (WHERE outcome = 'dead') AS dead,
       count(*) FILTER (WHERE number_of_it > 1) AS reused_control_ids
FROM (
    SELECT outcome,
           row_number() OVER (PARTITION BY control_hmac)
               * (control_hmac IS NOT NULL)::int AS number_of_it
    FROM messages
    WHERE feed_id = %(feed)s AND (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
    LIMIT %(messages)s
) AS received
"""
_TOLD = f"""{_FACTS}
SELECT count(*) AS facts, count(DISTINCT message_id) AS told,
       count(DISTINCT message_id) FILTER (WHERE effective_field NOT IN ('EVN-6', 'ZBE-2'))
           AS without_evn6
FROM told WHERE NOT again
"""  # noqa: S608  constants of this module
_LATE = f"""{_FACTS}
SELECT count(*) AS count, max(seconds) AS max_s,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS median_s,
       percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95_s
FROM (
    SELECT again, extract(epoch FROM max(effective_at) OVER (
        PARTITION BY admission_id ORDER BY recorded_at, event_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) - effective_at)::float AS seconds
    FROM told WHERE event_type NOT IN ({_listed(_TIMELESS)})
) AS fact
WHERE seconds > 0 AND NOT again
"""  # noqa: S608  constants of this module
# Where we had the patient just before, but for the stay that the move itself implies there.
_PRIOR = f"""{_FACTS}
SELECT told.prior_place AS said, {_PLACE}, count(*) AS count
FROM told LEFT JOIN LATERAL (
    SELECT point.* FROM trajectory_points AS point
    WHERE point.admission_id = told.admission_id AND point.track = 'census'
      AND point.known_to IS NULL AND point.retracted_at IS NULL
      AND point.effective_at < told.effective_at AND point.start_event_id <> told.event_id
    ORDER BY point.effective_at DESC LIMIT 1
) AS had ON had.ended_at IS NULL OR had.ended_at >= told.effective_at
         OR had.end_event_id = told.event_id
WHERE told.event_type IN ({_listed(_MOVES)}) AND told.prior_place <> '' AND NOT told.joined
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""  # noqa: S608  constants of this module
_UPDATES = f"""{_FACTS}
SELECT told.place AS said, {_PLACE}, count(*) AS count
FROM told JOIN trajectory_points AS point
  ON point.admission_id = told.admission_id AND point.track = 'census'
 AND point.known_to IS NULL AND point.retracted_at IS NULL
 AND point.effective_at <= told.effective_at
 AND (point.ended_at IS NULL OR point.ended_at > told.effective_at)
WHERE told.event_type = 'admission.updated' AND told.place <> '' AND NOT told.joined
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""  # noqa: S608  constants of this module
_TARGETS = ", ".join(
    f"('{cancel}', '{target}')" for cancel, targets in _CANCELS.items() for target in targets
)
_IN_TIME = "coalesce(fact.reported_at <= told.reported_at, true)"


def _names(fact: str) -> str:
    """How long what a fact's time names is: a coarse one is all of its day or hour (rule T2)."""
    return (
        f"CASE {fact}.effective_precision WHEN 'year' THEN interval '366 days'"
        " WHEN 'month' THEN interval '31 days' WHEN 'day' THEN interval '1 day'"
        " WHEN 'hour' THEN interval '1 hour' WHEN 'minute' THEN interval '1 minute'"
        " WHEN 'fraction' THEN interval '0' ELSE interval '1 second' END"
    )


_UNRESOLVED = f"""{_FACTS}
SELECT count(*) AS unresolved FROM told
WHERE told.event_type IN ({_listed(_CANCELS)}) AND NOT told.joined AND NOT EXISTS (
    SELECT FROM (VALUES {_TARGETS}) AS takes (cancel, target)
    JOIN trajectory_facts AS fact ON fact.event_type = takes.target
    WHERE takes.cancel = told.event_type AND fact.admission_id = told.admission_id
      AND fact.superseded_at IS NULL
      AND CASE
          WHEN takes.cancel = 'admission.cancelled' AND takes.target = 'admission.planned'
              THEN fact.plan = 'preadmit' AND {_IN_TIME}
          WHEN takes.target = 'admission.planned'
              THEN fact.plan IS NOT DISTINCT FROM told.plan AND {_IN_TIME}
          WHEN told.effective_field NOT IN ('EVN-6', 'ZBE-2')
              THEN fact.movement_id = told.movement_id OR {_IN_TIME}
          ELSE fact.movement_id = told.movement_id
              OR fact.effective_at = told.effective_at
              OR (fact.effective_at > told.effective_at
                  AND fact.effective_at < told.effective_at + {_names("told")})
              OR (fact.effective_at < told.effective_at
                  AND told.effective_at < fact.effective_at + {_names("fact")})
          END)
"""  # noqa: S608  constants of this module
