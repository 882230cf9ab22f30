"""Plays a scenario through: its messages in the order sent, its true stays, its people."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType

from ops.simulator import messages, people
from ops.simulator.hospital import Chart, Hospital, Stay
from ops.simulator.people import Person
from ops.simulator.scenario import Scenario, seeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message in the bytes sent at `at`; segments end with a carriage return."""

    at: datetime
    body: bytes
    control_id: str
    mrn: str
    visit_number: str
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What a scenario gives.

    `messages` are in the order sent, `stays` by visit and time. `people` holds what was last
    recorded (EVN-2) of each person, by MRN. `canaries` are the values that may stand nowhere
    in clear.
    """

    messages: tuple[Message, ...]
    stays: tuple[Stay, ...]
    people: Mapping[str, Person]
    canaries: frozenset[str]


def simulate(scenario: Scenario) -> Day:
    """Play `scenario`; the same bytes and stays every time."""
    patients, updates = seeded(scenario.seed, "people"), seeded(scenario.seed, "updates")
    known = {p.mrn: p for p in (people.person(patients, n) for n in range(scenario.patients))}
    hospital = Hospital(scenario, tuple(known))
    hospital.run()
    canaries = {people.visit_number(number) for number in range(hospital.visits)}
    for clinician in hospital.clinicians:
        canaries.update(clinician.canaries)
    for patient in known.values():
        canaries.update(patient.canaries)
    charts: list[tuple[Chart, Person]] = []
    for chart in sorted(hospital.charts, key=lambda chart: chart.recorded_at):
        if chart.updates:
            known[chart.mrn] = people.changed(updates, known[chart.mrn])
            canaries.update(known[chart.mrn].canaries)
        charts.append((chart, known[chart.mrn]))
    charts.sort(key=lambda charted: charted[0].sent_at)
    sent = (_message(*charted, scenario, number) for number, charted in enumerate(charts))
    return Day(
        messages=tuple(sent),
        stays=tuple(sorted(hospital.stays, key=lambda s: (s.visit_number, s.effective_at))),
        people=MappingProxyType(known),
        canaries=frozenset(canaries),
    )


_played = lru_cache(maxsize=2)(simulate)  # a large day is tens of megabytes


def day(scenario: Scenario) -> tuple[Message, ...]:
    """The scenario's messages in the order sent."""
    return _played(scenario).messages


def truth(scenario: Scenario) -> tuple[Stay, ...]:
    """The true stays, by visit number and time (rules T1 to T13)."""
    return _played(scenario).stays


def canaries(scenario: Scenario) -> frozenset[str]:
    """Every name, number, address and phone of the scenario's patients and staff."""
    return _played(scenario).canaries


def _message(chart: Chart, person: Person, scenario: Scenario, number: int) -> Message:
    control_id = f"WS{scenario.seed % 10**6}-{number:07d}"  # MSH-10 holds 20 characters
    return Message(
        at=chart.sent_at,
        body=messages.write(chart, person, scenario, control_id),
        control_id=control_id,
        mrn=chart.mrn,
        visit_number=chart.visit_number,
        trigger=chart.trigger,
    )
