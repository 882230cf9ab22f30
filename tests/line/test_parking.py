"""Parking on a whole line: rows that the database refuses, mended, and retried by command."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from ops.simulator import Scenario, simulate
from schemas.topics import POINTS
from tests.line.conftest import QUIET_SECONDS, Line

pytestmark = pytest.mark.alone

SCENARIO = Scenario(seed=21, patients=30)
POISON = "CHECK (get_byte(uuid_send(admission_id), 0) % 4 <> 0)"  # a quarter of the visits


@contextmanager
def superuser(line: Line) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    server = line.settings.postgres
    assert server is not None
    with psycopg.connect(
        server.superuser_url("wardtrail"), autocommit=True, connect_timeout=5
    ) as connection:
        yield connection


def true_stays() -> set[tuple[str, str, str, str | None]]:
    return {
        (
            stay.visit_number,
            stay.location,
            stay.effective_at.isoformat(),
            stay.ended_at and stay.ended_at.isoformat(),
        )
        for stay in simulate(SCENARIO).stays
    }


def found_stays(line: Line) -> set[tuple[str, str, str, str | None]]:
    return {
        (row["visit_number"], row["location"], row["effective_at"], row["ended_at"])
        for row in line.export()
    }


def published(line: Line) -> dict[str, tuple[int, int]]:
    """The highest revision of every point in the topic."""
    newest: dict[str, tuple[int, int]] = {}
    for point in line.published(POINTS):
        revision = (point["fold_version"], point["partition_seq"])
        newest[point["point_id"]] = max(newest.get(point["point_id"], (0, 0)), revision)
    return newest


def until_released(line: Line) -> dict[str, int]:
    """Wait until every request has ended and nothing waits; the projection's outcomes."""
    deadline = time.monotonic() + QUIET_SECONDS
    while time.monotonic() < deadline:
        outcomes = line.settle()["trajectory"]
        if not outcomes["dead"] and not outcomes["parked"]:
            return outcomes
        time.sleep(0.2)
    raise AssertionError(f"still parked: {outcomes}")


def test_visits_that_were_parked_are_whole_after_the_cause_is_mended_and_retried(
    line: Line, tmp_path: Path
):
    with superuser(line) as connection:
        connection.execute(f"ALTER TABLE trajectory_points ADD CONSTRAINT poison {POISON}")
    path = tmp_path / "day.hl7"
    path.write_bytes(b"\r".join(message.body for message in simulate(SCENARIO).messages))
    line.json("send", str(path))
    outcomes = line.settle()
    parked = outcomes["trajectory"]
    assert parked["dead"] > 0
    assert parked["parked"] > parked["dead"]
    assert outcomes["timeline"]["dead"] == outcomes["timeline"]["parked"] == 0
    missing = true_stays() - found_stays(line)
    assert missing
    assert missing < true_stays(), "the other visits went on"

    dead = line.json("dead-letters", "list", "--state", "dead")
    assert {each["cause"] for each in dead} == {"refused"}
    chosen = ("--projection", "trajectory", "--reason", "the constraint is gone", "--yes")
    line.run("dead-letters", "retry", *chosen)  # before it is gone: all fail again
    with superuser(line) as connection:
        connection.execute("ALTER TABLE trajectory_points DROP CONSTRAINT poison")
    deadline = time.monotonic() + QUIET_SECONDS
    while line.json("dead-letters", "list", "--state", "dead"):
        assert time.monotonic() < deadline, "nobody executes the requests"
        line.run("dead-letters", "retry", *chosen, check=False)  # asked for before, or none left
    released = until_released(line)
    assert released["applied"] == parked["applied"] + parked["dead"] + parked["parked"]
    assert true_stays() <= found_stays(line)
    with superuser(line) as connection:
        rows = connection.execute(
            "SELECT point_id::text, max((fold_version::bigint << 32) + partition_seq)"
            " FROM trajectory_points GROUP BY point_id"
        ).fetchall()
    topic = {point: (version << 32) + seq for point, (version, seq) in published(line).items()}
    assert topic == dict(rows), "and every point is published as it stands"
