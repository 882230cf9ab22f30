"""Exactly once: a line whose parts are killed and frozen ends like one that nobody disturbed."""

import pytest

from schemas import failpoints
from tests.chaos import oracles, play, points
from tests.chaos.oracles import Given
from tests.chaos.parts import Line
from tests.chaos.seen import feed_and_keys, see

SEED = 20_261
MESSAGES = 2_000
KILLS, FREEZES = 20, 4  # arming a fail point and a frozen COPY take a kill each
# One of each kind of place; `make chaos` sweeps all.
CELLS = tuple(
    points.Cell(point=point, action=action, passage=passage, part=part)
    for point, action, passage, part in (
        ("intake: produced", "kill", 2, "serve"),
        ("ledger: written", "raise", 1, "ledger-1"),
        ("ledger: committed", "kill", 2, "ledger-1"),
        ("relay: published", "kill", 1, "ledger-1"),
        ("sink: moved", "kill", 2, "projections-1"),
    )
)


@pytest.fixture
def line_of(new_home):
    """Makes whole lines; the servers of each are wiped with its home."""
    lines = []

    def make():
        lines.append(Line.up(new_home()))
        lines[-1].start_all()
        return lines[-1]

    yield make
    for line in lines:
        line.stop_all()


@pytest.mark.alone
@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_line_that_is_killed_and_frozen_ends_like_an_undisturbed_one(line_of):
    faults = play.script(SEED, kills=KILLS, freezes=FREEZES, cells=CELLS)
    load = play.load(SEED, MESSAGES, len(faults))
    quiet, loud = line_of(), None
    play.undisturbed(quiet, load)
    undisturbed = see(quiet)
    quiet.stop_all()

    loud, outcome = line_of(), play.Outcome()
    play.disturbed(loud, load, faults, SEED, outcome=outcome, say=print)
    seen = see(loud)
    feed, keys = feed_and_keys(loud)
    given = Given(day=load.day, bodies=load.bodies, feed=feed, keys=keys)
    oracles.check(undisturbed, given)
    oracles.check(seen, given)
    oracles.same(seen, undisturbed, given)

    assert outcome.messages >= MESSAGES
    assert sum(outcome.kills.values()) >= 25
    assert outcome.kills.keys() == {"serve", "ledger", "projections", "kafka", "postgres"}
    assert sum(outcome.freezes.values()) == FREEZES
    assert set(outcome.points) == {cell.name for cell in CELLS}


def test_every_fail_point_is_swept_with_every_action():
    swept = [*points.cells(1, {}, 1_000), *(cell for act in points.judging(1) for cell in act)]
    assert {cell.point for cell in swept} | points.APART == failpoints.NAMES
    assert len({cell.name for cell in swept}) == 3 * len(failpoints.NAMES - points.APART)
    assert all(failpoints.parse(cell.armed) for cell in swept)


def test_the_cells_done_least_are_swept_first():
    done = {cell.name: 1 for cell in points.cells(1, {}, 20)}
    assert not {cell.name for cell in points.cells(1, done, 20)} & done.keys()


def test_a_script_kills_every_part_in_each_turn_and_is_the_same_for_its_seed():
    faults = play.script(5, kills=10, freezes=4)
    assert sorted(fault for fault in faults if fault in play.TURN) == sorted(play.TURN * 2)
    assert [f"freeze {kind}" for kind in sorted(play.FREEZES)] == sorted(
        fault for fault in faults if fault.startswith("freeze")
    )
    assert faults == play.script(5, kills=10, freezes=4) != play.script(6, kills=10, freezes=4)
