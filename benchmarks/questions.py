"""Questions over few and many points, as apps ask them, and what a new event costs there.

A hospital of 1,000 beds in 40 wards, filled to the last: each patient has three beds in a row,
so that a ward's answer is as long however far the history goes back. Each stay stands on two
tracks, open as it was first known and closed as it is known now.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any
from uuid import UUID

from psycopg import Connection

from benchmarks.figures import Figure, Way, figure, in_turns
from benchmarks.material import Events, recorded
from benchmarks.place import Place, Size
from benchmarks.sink import hold
from ops import access
from ops.deploy import DEMO_TENANT
from ops.settings import Settings
from sinks import questions, transaction
from sinks.database import Database, Row, connect, for_tenants
from streams.trajectory import PROJECTION

POINTS = (10_000, 100_000, 1_000_000)
ASKED_MS = 5.0  # for the 99th of 100 questions, over the most points
QUESTIONS = 500  # of each kind a round
BATCHES, EVENTS = 3, 1_000  # folded a round, and events in each
WARDS, BEDS = 40, 1_000
PER_STAY = 4  # points: two tracks, two revisions
FILLED_AT_ONCE = 20_000  # stays; a statement may take a minute
END = datetime(2026, 1, 1, tzinfo=UTC)
HELD_HOURS = 36  # from one patient of a bed to the next
BUILD = "build"


def run(place: Place, size: Size) -> list[Figure]:
    """Median and 99th percentile of each question at each size, and the rate of building."""
    with ExitStack() as open_:
        wholes = [
            open_.enter_context(_filled(place, size.of(points, least=100))) for points in POINTS
        ]
        ways: dict[str, Way] = {}
        for whole in wholes:
            for question in _QUESTIONS:
                ways[whole.name(question)] = whole.asking(question, size.of(QUESTIONS, least=20))
            ways[whole.name(BUILD)] = whole.building(size.batch(EVENTS))
        for way in ways.values():
            way()  # the first time reads plans and pages
        for whole in wholes:
            whole.p99.clear()
        found = in_turns(ways, rounds=size.rounds)
    return [each for whole in wholes for each in _figures(whole, wholes[0], found)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """A database that holds so many points."""

    points: int
    app: Database
    visits: list[UUID]
    fold: Callable[[int], float]
    p99: dict[str, list[float]] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(4))

    def name(self, of: str) -> str:
        """What a figure over these points is called."""
        return f"{of}, {self.points:,} points"

    def asking(self, question: str, count: int) -> Way:
        """Ask so often in one transaction as an app; median milliseconds, the 99th is kept."""

        def way() -> float:
            with self.app.connection() as connection, connection.transaction():
                connection.execute("SELECT set_config('wt.tenant', %s, true)", (str(DEMO_TENANT),))
                took = sorted(self._ask(question, connection) for _ in range(count))
            self.p99.setdefault(question, []).append(took[int(count * 0.99)])
            return took[count // 2]

        return way

    def building(self, count: int) -> Way:
        """Fold so many events of new visits at a time; events a second."""
        return lambda: self.fold(count)

    def _ask(self, question: str, connection: Connection[Row]) -> float:
        visit, ward = self.chance.choice(self.visits), f"W{self.chance.randrange(WARDS)}"
        at, known_at = self._instant(), self._instant()
        ask = _QUESTIONS[question]
        start = perf_counter()
        ask(connection, visit, ward, at, known_at)
        return (perf_counter() - start) * 1_000

    def _instant(self) -> datetime:
        hours = HELD_HOURS * max(1, self.points // PER_STAY // BEDS)
        return END - timedelta(hours=self.chance.uniform(0, hours))


@contextmanager
def _filled(place: Place, points: int) -> Iterator[_Whole]:
    """A database of its own with so many points in it, analysed."""
    settings = place.beside("bench_questions")
    stays = points // PER_STAY
    with (
        closing(place.database(settings)) as worker,
        closing(
            Database.open(access.role_url(settings, "wt_app"), name="benchmark", size=1)
        ) as app,
    ):
        for first in range(0, stays, FILLED_AT_ONCE):
            _fill(worker, stays, first, min(first + FILLED_AT_ONCE, stays))
        with connect(access.role_url(settings, "wt_migrate"), name="benchmark") as connection:
            connection.execute("ANALYZE trajectory_points, trajectory_facts")
        with worker.connection() as connection, connection.transaction():
            for_tenants(connection, [DEMO_TENANT])
            visits = [UUID(row["id"]) for row in connection.execute(_VISITS)]
        yield _Whole(
            points=points, app=app, visits=visits, fold=_folding(place, settings, worker, points)
        )


def _fill(worker: Database, stays: int, first: int, end: int) -> None:
    values: dict[str, Any] = {
        "tenant": DEMO_TENANT, "end": END, "first": first, "last": end - 1, "beds": BEDS,
        "wards": WARDS, "held": timedelta(hours=HELD_HOURS), "rounds": -(-stays // BEDS),
    }  # fmt: skip
    with worker.connection() as connection, connection.transaction():
        for_tenants(connection, [DEMO_TENANT])
        connection.execute(_FILL_POINTS, values)
        connection.execute(_FILL_FACTS, values)


def _folding(
    place: Place, settings: Settings, worker: Database, points: int
) -> Callable[[int], float]:
    events = Events(f"build {points}")
    held = hold(place, settings, worker, PROJECTION.name)
    line = access.root(settings).line()

    def fold(count: int) -> float:
        batches = [recorded([events.next() for _ in range(count)]) for _ in range(BATCHES)]
        start = perf_counter()
        for batch in batches:
            transaction.apply(worker, PROJECTION, held, batch, line=line)
        return count * BATCHES / (perf_counter() - start)

    return fold


def _figures(whole: _Whole, least: _Whole, found: Mapping[str, list[float]]) -> Iterator[Figure]:
    """Medians have their ratio to the fewest points; what is asked is asked of the most."""
    asked = ASKED_MS if whole.points >= POINTS[-1] else None
    for question in (*_QUESTIONS, BUILD):
        name, to = whole.name(question), least.name(question)
        unit = "events/s" if question == BUILD else "ms"
        ratio = None if whole is least else (to, found[to])
        yield figure(name, found[name], unit, to=ratio)
        if question != BUILD:
            yield figure(f"{name}, p99", whole.p99[question], unit, asked=asked)


Ask = Callable[[Connection[Row], UUID, str, datetime, datetime], object]
_QUESTIONS: Mapping[str, Ask] = {
    "where": lambda connection, visit, _, at, __: questions.where(
        connection, admission_id=visit, at=at
    ),
    "where, as known then": lambda connection, visit, _, at, known_at: questions.where(
        connection, admission_id=visit, at=at, known_at=known_at
    ),
    "census": lambda connection, _, ward, at, __: questions.census(connection, ward, at=at),
    "census, as known then": lambda connection, _, ward, at, known_at: questions.census(
        connection, ward, at=at, known_at=known_at
    ),
}
_VISITS = "SELECT DISTINCT admission_id AS id FROM trajectory_points LIMIT 20000"
_STAYS = """
SELECT n, n %% %(beds)s AS bed, n / %(beds)s AS round,
       md5('visit ' || (n %% %(beds)s + 7 * (3 - n / %(beds)s %% 3)) %% %(beds)s
           || '/' || n / %(beds)s / 3)::uuid AS visit,
       md5('event ' || n)::uuid AS event_id, 'W' || n %% %(beds)s %% %(wards)s AS ward,
       %(end)s::timestamptz - (%(rounds)s - n / %(beds)s) * %(held)s::interval
           + n %% %(beds)s * interval '1 minute' AS start
FROM generate_series(%(first)s::int, %(last)s::int) AS n
"""
_FILL_POINTS = f"""
INSERT INTO trajectory_points (
    id, point_id, tenant_id, admission_id, patient_id, track, location, facility, building, floor,
    point_of_care, room, bed, effective_at, ended_at, known_from, known_to, start_inferred,
    end_inferred, start_field, reported_at, start_event_id, fold_version, partition,
    partition_seq, data)
SELECT gen_random_uuid(), md5(track || n)::uuid, %(tenant)s, visit, visit, track,
       ward || '^' || bed / %(wards)s / 4 || '^' || bed || '^H', 'H', '', '', ward,
       (bed / %(wards)s / 4)::text, bed::text, start,
       CASE WHEN revision = 2 THEN start + %(held)s - interval '1 hour' END,
       CASE revision WHEN 1 THEN start + interval '1 minute' ELSE start + %(held)s END,
       CASE revision WHEN 1 THEN start + %(held)s END,
       false, false, 'EVN-6', start, event_id, 1, 0, n, jsonb_build_object('location', ward)
FROM ({_STAYS}) AS stay, unnest(ARRAY['census', 'physical']) AS track,
     generate_series(1, 2) AS revision
"""
_FILL_FACTS = f"""
INSERT INTO trajectory_facts (
    event_id, tenant_id, admission_id, patient_id, feed_id, message_id, event_type, effective_at,
    effective_field, reported_at, recorded_at, place, movement_historic, partition, partition_seq)
SELECT event_id, %(tenant)s, visit, visit, %(tenant)s, event_id, 'admission.location_changed',
       start, 'EVN-6', start, start + interval '1 minute', ward, false, 0, n
FROM ({_STAYS}) AS stay
"""
