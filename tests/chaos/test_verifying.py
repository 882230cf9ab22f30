"""Workers that are killed, fail and stall while they judge: each task's outcome is the true one."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ops.settings import Settings
from schemas.topics import VERIFICATIONS
from tests.chaos import oracles, points, verifying
from tests.chaos.asked import Ask
from tests.chaos.charted import Chart
from tests.chaos.oracles import Given, OracleRed
from tests.chaos.parts import Line
from tests.chaos.play import Outcome
from tests.chaos.seen import Seen
from tests.chaos.verifying import TASKS

pytestmark = pytest.mark.alone

SEED = 9
STALL_SECONDS = 4  # long enough for the other judge to take what is due


@pytest.fixture
def line(new_home: Callable[..., Settings]) -> Iterator[Line]:
    line = Line.up(new_home())
    verifying.start(line)
    yield line
    line.stop_all()


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_tasks_are_judged_by_all_facts_whatever_happens_to_who_judges_them(line: Line) -> None:
    acts = points.judging(SEED, stall_seconds=STALL_SECONDS)
    outcome = Outcome()
    charted = verifying.disturbed(line, acts, SEED, outcome=outcome)
    seen, given = verifying.check(line, charted)
    complete(seen, charted)
    assert line.ended["verification"] >= len(acts), "workers were killed while they judged"
    assert outcome.points == {cell.name: 1 for act in acts for cell in act}
    corrupted(seen, given)


def complete(seen: Seen, charted: Chart) -> None:
    """Nothing that was asked or told is missing, and outcomes of every kind came of it."""
    asked = [each for act in charted.acts for each in act if isinstance(each, Ask)]
    records = [each.record for each in asked]
    made = {each["stream_id"] for each in records if each["command_type"] == "task.create"}
    assert {row["task_id"] for row in seen.tables["emr_verifications"]} == made
    assert len(made) == TASKS
    assert len(seen.tables["verification_evidence"]) == len(charted.numbers)
    outcomes = {row["status"] for row in seen.tables["emr_verifications"]}
    assert outcomes >= {"verified", "verified_late", "refuted", "void", "conflict"}
    assert len(seen.tables["verification_links"]) == 3
    assert max(row["revision"] for row in seen.tables["emr_verifications"]) > 1


def corrupted(seen: Seen, given: Given) -> None:
    """The oracle is red over each corruption of what was sound."""
    corruptions: tuple[tuple[str, Callable[[list[Any]], Any]], ...] = (
        ("emr_verifications", lambda rows: rows.pop()),
        ("emr_verifications", lambda rows: rows[0].update(status="else")),
        ("emr_verifications", lambda rows: rows[0].update(revision=rows[0]["revision"] + 1)),
        ("verification_results", lambda rows: rows.pop()),
        ("verification_results", lambda rows: rows.append(dict(rows[0]))),
        ("verification_evidence", lambda rows: rows.clear()),
        ("verification_links", lambda rows: rows.clear()),
    )
    for table, change in corruptions:
        torn = copy.deepcopy(seen)
        change(torn.tables[table])
        with pytest.raises(OracleRed):
            oracles.verified(torn, given)
    torn = copy.deepcopy(seen)
    torn.topics[VERIFICATIONS.name].clear()
    with pytest.raises(OracleRed):
        oracles.verified(torn, given)
