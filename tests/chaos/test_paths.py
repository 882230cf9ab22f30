import time
from dataclasses import replace

import pytest

from ops.simulator import Scenario, days_for, simulate
from streams.trajectory.path import path
from tests.chaos import paths
from tests.chaos.paths import Checked, Untrue


@pytest.fixture(scope="module")
def checked() -> Checked:
    found = Checked()
    paths.hospital(7, found, patients=120)
    return found


def test_a_busy_hospital_in_disorder_has_its_true_paths_in_every_order(checked):
    paths.orders(7, checked, until=time.monotonic() + 2)

    assert checked.hospitals == 1
    assert checked.orders >= len(checked.visits) > 100


def test_a_path_that_was_not_walked_is_untrue():
    scenario = Scenario.busy(seed=7, patients=40, days=days_for(40))
    day = simulate(scenario)
    found = {visit: path(told) for visit, told in paths.facts(day.messages, scenario).items()}
    paths.compare(found, day)
    elsewhere = (replace(day.physical[0], location="ELSEWHERE"), *day.physical[1:])

    with pytest.raises(Untrue, match="physical: not the path that was walked"):
        paths.compare(found, replace(day, physical=elsewhere))
    with pytest.raises(Untrue, match="census"):
        paths.compare(dict(list(found.items())[1:]), day)


def test_a_path_that_depends_on_the_order_is_untrue(checked, monkeypatch):
    first = {id(told): told[0] for told in checked.visits}

    def by_arrival(told):
        found = path(told)
        return replace(found, stays=()) if told[0] not in first.values() else found

    monkeypatch.setattr(paths, "path", by_arrival)
    with pytest.raises(Untrue, match="another order, another path"):
        paths.orders(7, checked, until=time.monotonic() + 5)
