"""What was known at a message is what its log up to there makes known."""

import random
from dataclasses import fields
from datetime import timedelta
from uuid import UUID

import pytest

from sinks import queries
from sinks.database import for_tenants
from sinks.questions import Seen
from sinks.write import write
from streams.trajectory import PROJECTION
from tests.streams.trajectory.visits import TENANT, VISIT, Tables, adt, arrive, clock, seconds

pytestmark = pytest.mark.stack

JOURNEY = [
    adt("A01", "08:00", "W1^R^1"),
    adt("A02", "10:00", "W2^R^1", prior="W1^R^1"),
    adt("A12", "10:00", "W1^R^1", prior="W2^R^1", reported="10:20"),
    adt("A02", "11:00", "W3^R^1", prior="W1^R^1"),
    adt("A11", "08:00", "W1^R^1", reported="11:30"),
    adt("A01", "08:30", "W1^R^1", reported="11:40"),
    adt("A03", "15:00", "W3^R^1"),
    adt("A13", "15:00", "W9^R^1", reported="15:30"),
]
INSTANTS = [clock("08:00") + timedelta(minutes=30 * step) for step in range(20)]
TOLD = [each.name for each in fields(Seen) if each.name not in ("message_id", "known_to")]


def folded(arrived):
    """The stays that these events alone make known, as rows in the order of a path."""
    tables = Tables(PROJECTION)
    tables.apply(arrived)
    rows = [
        {name: row[name] for name in TOLD}
        for row in tables.table("trajectory_points").values()
        if row["known_to"] is None and row["retracted_at"] is None
    ]
    return sorted(rows, key=lambda row: (row["track"], row["effective_at"], row["point_id"]))


def told(seen):
    return [{name: getattr(each, name) for name in TOLD} for each in seen]


@pytest.mark.parametrize("seed", range(3))
def test_the_log_up_to_any_message_answers_as_the_whole_known_at_that_message(store, seed):
    events = list(JOURNEY)
    random.Random(seed).shuffle(events)
    arrived = arrive(events)
    with store.database.connection() as connection, connection.transaction():
        for_tenants(connection, [TENANT])
        write(connection, Tables(PROJECTION).apply(arrived))
    visit, said = UUID(VISIT), {event["event_id"]: event["message_id"] for event in arrived}
    with queries.as_tenant(store.app, UUID(TENANT)) as snapshot:
        for count, event in enumerate(arrived, start=1):
            known_at, expected = seconds(event), folded(arrived[:count])
            path = queries.path(snapshot, admission_id=visit, known_at=known_at)
            assert told(path) == expected
            assert all(each.message_id == said[each.start_event_id] for each in path)
            for at in INSTANTS:
                here = queries.where(snapshot, admission_id=visit, at=at, known_at=known_at)
                assert told(here) == [
                    row
                    for row in expected
                    if row["track"] != "planned"
                    and row["effective_at"] <= at
                    and (row["ended_at"] is None or at < row["ended_at"])
                ]
        assert told(queries.path(snapshot, admission_id=visit)) == folded(arrived)
        early = seconds(arrived[0]) - timedelta(microseconds=1)
        assert queries.path(snapshot, admission_id=visit, known_at=early) == []
