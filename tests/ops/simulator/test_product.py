"""Mapping and path find the busy hospital's truth on both tracks, whatever the order."""

from collections import defaultdict

import pytest

from ops.simulator import Message, Scenario, days_for, disordered, several, simulate
from streams.trajectory.path import path
from tests.chaos.paths import facts


def found(messages: tuple[Message, ...], scenario: Scenario) -> tuple[dict, dict]:
    """The stays by visit and track that mapping and path make of messages in this order."""
    visits = {visit: path(told) for visit, told in facts(messages, scenario).items()}
    return (
        {visit: stays(found.stays) for visit, found in visits.items() if found.stays},
        {visit: stays(found.physical) for visit, found in visits.items() if found.physical},
    )


def stays(track):
    return [(stay.place, stay.start, stay.end) for stay in track]


def by_visit(track):
    paths = defaultdict(list)
    for stay in track:
        paths[stay.visit_number].append((stay.location, stay.effective_at, stay.ended_at))
    return dict(paths)


@pytest.mark.parametrize("seed", range(10))
def test_the_true_paths_of_a_busy_hospital_are_found(seed):
    scenario = Scenario.busy(seed=seed, patients=500, days=days_for(500))
    played = simulate(scenario)
    arrived = disordered(played.messages, seed, duplicates=0.2, resends=0.1, window=60)

    assert found(arrived, scenario) == (by_visit(played.stays), by_visit(played.physical))


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("seed", range(3))
def test_the_true_paths_of_feeds_with_quirks_are_found_in_any_order(seed, number):
    scenario = several(seed, patients=120)[number]
    played = simulate(scenario)
    arrived = disordered(played.messages, seed, duplicates=0.2, resends=0.1)

    assert found(arrived, scenario) == (by_visit(played.stays), by_visit(played.physical))
