"""Mapping and path find the busy hospital's truth on both tracks, whatever the order."""

from collections import defaultdict
from uuid import uuid4

import pytest

from ops.simulator import Message, Scenario, days_for, disordered, several, simulate
from schemas.feeds import Feed
from streams.ledger.mapping.facts import Facts
from streams.ledger.mapping.hl7v2 import map_message
from streams.trajectory.facts import Fact
from streams.trajectory.path import path


def found(messages: tuple[Message, ...], scenario: Scenario) -> tuple[dict, dict]:
    """The stays by visit and track that mapping and path make of messages in this order."""
    feed = Feed(
        feed_id=uuid4(), tenant_id=uuid4(), name="simulator", zone=scenario.zone,
        authority=scenario.authority,
    )  # fmt: skip
    facts = defaultdict(list)
    for number, message in enumerate(messages):
        read = map_message(message.body, feed, received_at=message.at)
        assert isinstance(read, Facts)
        for part in read.parts:
            for draft in part.drafts:
                visit = draft.visit or part.claim.visit
                if draft.role == "visit" and visit is not None:
                    event = {
                        "event_id": f"{number:08d}-{draft.ordinal}",
                        "event_type": draft.event_type, "occurred_at": draft.occurred.micros,
                        "occurred_field": draft.occurred_field,
                        "data": {**draft.data, "patient_id": part.claim.identifiers[0].value},
                    }  # fmt: skip
                    facts[visit.value].append(Fact.of_event(event))
    paths = {visit: path(theirs) for visit, theirs in facts.items()}
    return (
        {visit: stays(found.stays) for visit, found in paths.items() if found.stays},
        {visit: stays(found.physical) for visit, found in paths.items() if found.physical},
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
