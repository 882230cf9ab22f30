"""Paths without servers: whole hospitals in disorder, and very many orders of arrival."""

import random
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from ops.simulator import Day, Message, Scenario, days_for, disordered, simulate
from schemas.feeds import Feed
from streams.ledger.mapping.facts import Facts
from streams.ledger.mapping.hl7v2 import map_message
from streams.trajectory.facts import Fact
from streams.trajectory.path import Path, path
from streams.trajectory.stays import Stay

PATIENTS = 500
DUPLICATES, RESENDS, WINDOW = 0.2, 0.1, 60
FACTS_FEWEST = 3  # fewer have no order worth the while

Where = tuple[str, object, object]
Stays = dict[str, list[Where]]


class Untrue(Exception):  # noqa: N818  named for what is wrong
    """A path that isn't the one that was walked, or another in another order."""


@dataclass(slots=True)
class Checked:
    """What was found true so far."""

    hospitals: int = 0
    orders: int = 0
    visits: list[list[Fact]] = field(default_factory=list)


def hospital(seed: int, checked: Checked, *, patients: int = PATIENTS) -> None:
    """A busy hospital's messages, shuffled and doubled, give the paths that it knows."""
    scenario = Scenario.busy(seed=seed, patients=patients, days=days_for(patients))
    day = simulate(scenario)
    arrived = disordered(day.messages, seed, duplicates=DUPLICATES, resends=RESENDS, window=WINDOW)
    visits = facts(arrived, scenario)
    compare({visit: path(told) for visit, told in visits.items()}, day)
    checked.hospitals += 1
    checked.visits = [told for told in visits.values() if len(told) >= FACTS_FEWEST]


def orders(seed: object, checked: Checked, *, until: float) -> None:
    """Every visit in further orders, with doubles, until the time is over."""
    rng = random.Random(f"orders/{seed}")
    straight = [path(told) for told in checked.visits]
    while checked.visits and time.monotonic() < until:
        for told, found in zip(checked.visits, straight, strict=True):
            order = [*told, *rng.sample(told, rng.randrange(len(told)))]
            rng.shuffle(order)
            if path(order) != found:
                raise Untrue(f"another order, another path: {[fact.event_id for fact in order]}")
            checked.orders += 1


def facts(messages: Iterable[Message], scenario: Scenario) -> dict[str, list[Fact]]:
    """The facts of each visit number, as they come."""
    feed = Feed(
        feed_id=uuid4(), tenant_id=uuid4(), name="simulator", zone=scenario.zone,
        authority=scenario.authority,
    )  # fmt: skip
    found: dict[str, list[Fact]] = defaultdict(list)
    for number, message in enumerate(messages):
        said = map_message(message.body, feed, received_at=message.at)
        assert isinstance(said, Facts), "the simulator sends nothing that is ignored"
        for part in said.parts:
            for draft in part.drafts:
                visit = draft.visit or part.claim.visit
                if draft.stream_type == "admission" and visit is not None:
                    event = {
                        "event_id": f"{number:08d}-{draft.ordinal}-{draft.role}",
                        "event_type": draft.event_type,
                        "occurred_at": draft.occurred.micros,
                        "occurred_precision": draft.occurred.precision,
                        "occurred_field": draft.occurred_field,
                        "data": {**draft.data, "patient_id": part.claim.identifiers[0].value},
                    }
                    found[visit.value].append(Fact.of_event(event))  # type: ignore[arg-type]  # what a fact needs of one
    return found


def compare(paths: dict[str, Path], day: Day) -> None:
    """Hold both tracks to where the hospital saw its patients; :class:`Untrue`."""
    for track, found, true in (
        ("census", _stays(paths, "stays"), day.stays),
        ("physical", _stays(paths, "physical"), day.physical),
    ):
        walked: Stays = defaultdict(list)
        for stay in true:
            walked[stay.visit_number].append((stay.location, stay.effective_at, stay.ended_at))
        for visit in found.keys() | walked.keys():
            if found.get(visit) != walked.get(visit):
                raise Untrue(f"{track}: not the path that was walked: {visit}")


def _stays(paths: dict[str, Path], track: str) -> Stays:
    found: Stays = {}
    for visit, walked in paths.items():
        stays: Sequence[Stay] = getattr(walked, track)
        if stays:
            found[visit] = [(stay.place, stay.start, stay.end) for stay in stays]
    return found
