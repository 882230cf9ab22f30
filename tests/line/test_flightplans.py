"""A flight plan from outside: commands through the broker to events, results, rows and lines."""

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from schemas.topics import COMMAND_RESULTS
from streams.ledger.commands import flightplans
from tests.line.conftest import Line
from tests.line.test_line import dumped

pytestmark = pytest.mark.stack

CANARY = "Zyqplan walks alone"
ADMITTED = (
    "MSH|^~\\&|X|Y|||20260701120000||ADT^A01|plan-1|P|2.5\rEVN|A01|20260701120000||||"
    "20260701120000\rPID|1||ZP1^^^ZONE^MR||Zyx^Q\r"
    "PV1|1|I|W^1^1||||||||||||||||ZPV1^^^ZONE\r"
)
SECONDS = 60.0
TABLES = {"flightplans": "flightplan_read_models", "timeline": "timeline_events"}


def until(true: Callable[[], Any]) -> Any:
    """Ask again until there is an answer."""
    deadline = time.monotonic() + SECONDS
    while not (found := true()):
        assert time.monotonic() < deadline, "it doesn't come about"
        time.sleep(0.1)
    return found


def rows(line: Line, query: str, *values: object) -> list[tuple[Any, ...]]:
    server = line.settings.postgres
    assert server is not None
    url = server.superuser_url(server.database)
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        return connection.execute(query, values).fetchall()


def admitted(line: Line) -> tuple[str, str]:
    """An admission and its patient, as the ledger knows them."""
    line.json("send", "-", stdin=ADMITTED)
    ((admission, data),) = until(
        lambda: rows(
            line,
            "SELECT stream_id::text, data FROM events WHERE event_type = 'admission.created'"
            " ORDER BY partition_seq DESC LIMIT 1",
        )
    )
    return admission, data["patient_id"]


def command(line: Line, what: str, stream: str, check: bool = True, **data: object) -> Any:
    done = line.run(
        "command", f"flightplan.{what}", "--stream", stream, "--wait", "10", "--json",
        stdin=json.dumps(data), check=check,
    )  # fmt: skip
    return json.loads(done.stdout) if check else done


def results(line: Line) -> dict[str, Any]:
    """The results on the topic, by their command's id."""
    return {each["command_id"]: each for each in line.published(COMMAND_RESULTS)}


def test_a_plan_goes_from_commands_to_rows_and_a_rebuild_gives_the_same(line: Line) -> None:
    admission, patient = admitted(line)
    plan = flightplans.stream_of(admission)
    whose = {"admission_id": admission, "patient_id": patient}
    surgery = {"milestone_id": str(uuid4())}
    told = [
        command(line, "create", plan, **whose, title=CANARY),
        command(line, "add_milestone", plan, **surgery, name=CANARY,
                scheduled_at="2026-07-02T08:00:00Z"),
        command(line, "activate", plan),
        command(line, "complete_milestone", plan, **surgery,
                completed_at="2026-07-02T09:30:00Z"),
        command(line, "raise_alert", plan, alert_id=str(uuid4()), severity="warning", text=CANARY),
    ]  # fmt: skip
    refused = command(line, "create", plan, check=False, **whose)
    assert refused.stderr.startswith("wardtrail: refused by exists: ")

    def published() -> dict[str, Any] | None:
        found = results(line)
        return found if all(each["command_id"] in found for each in told) else None

    said = until(published)
    assert [said[each["command_id"]]["version"] for each in told] == [1, 2, 3, 4, 5]
    assert {said[each["command_id"]]["outcome"] for each in told} == {"accepted"}

    ((row_admission, data),) = until(lambda: folded(line, plan, version=5))
    assert row_admission == admission
    assert (data["status"], len(data["alerts"])) == ("active", 1)
    (milestone,) = data["milestones"]
    assert milestone["scheduled_date"] == "2026-07-02T08:00:00+00:00"
    assert milestone["completed_at"] == "2026-07-02T09:30:00+00:00"
    assert CANARY not in json.dumps(data)
    titles = until(lambda: lines(line, admission, len(told)))
    assert ("Milestone completed", "2026-07-02 09:30:00+00") in titles

    live = contents(line)
    line.run("rebuild", *TABLES, "--yes")
    until(lambda: contents(line) == live)


def folded(line: Line, plan: str, *, version: int) -> list[tuple[Any, ...]]:
    return rows(
        line,
        "SELECT admission_id::text, data FROM flightplan_read_models"
        " WHERE id = %s AND (data ->> 'version')::int = %s",
        plan, version,
    )  # fmt: skip


def lines(line: Line, admission: str, count: int) -> list[tuple[Any, ...]] | None:
    found = rows(
        line,
        "SELECT data ->> 'title', (occurred_at AT TIME ZONE 'UTC')::text || '+00'"
        " FROM timeline_events WHERE admission_id = %s AND event_type LIKE 'flightplan.%%'",
        admission,
    )
    return found if len(found) == count else None


def contents(line: Line) -> dict[str, list[str]]:
    """Every row of both projections, as text."""
    server = line.settings.postgres
    assert server is not None
    url = server.superuser_url(server.database)
    with psycopg.connect(url, connect_timeout=5) as connection:
        return {name: dumped(connection, table) for name, table in TABLES.items()}
