"""Plays a scenario through: its messages in the order sent, its true stays, its people."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType

from ops.simulator import messages, people, stories
from ops.simulator.charts import Chart
from ops.simulator.hospital import Hospital, Stay, Track
from ops.simulator.people import Person
from ops.simulator.scenario import Scenario, seeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message in the bytes sent at `at`; segments end with a carriage return.

    `mrn` is PID-3's. `visit_number` is empty in a merge (A40), which names no visit; of a swap
    (A17) both are those of its first PID and PV1.
    """

    at: datetime
    body: bytes
    control_id: str
    mrn: str
    visit_number: str
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What a scenario gives.

    `messages` are in the order sent; `stays` (the census track) and `physical` ones by visit
    and time. `people` holds what was last recorded (EVN-2) of each person, by the MRN it was
    recorded under. `canaries` are the values that may stand nowhere in clear.
    """

    messages: tuple[Message, ...]
    stays: tuple[Stay, ...]
    physical: tuple[Stay, ...]
    people: Mapping[str, Person]
    canaries: frozenset[str]


def simulate(scenario: Scenario) -> Day:
    """Play `scenario`; the same bytes and stays every time."""
    patients, strangers = seeded(scenario.seed, "people"), seeded(scenario.seed, "strangers")
    known = {p.mrn: p for p in (people.person(patients, n) for n in range(scenario.patients))}
    hospital = Hospital(scenario, tuple(known))
    hospital.run(stories.patient)
    for number in range(hospital.strangers):
        stranger = people.stranger(strangers, scenario.patients + number)
        known[stranger.mrn] = stranger
    canaries = {people.visit_number(number) for number in range(hospital.visits)}
    for clinician in hospital.clinicians:
        canaries.update(clinician.canaries)
    for patient in known.values():
        canaries.update(patient.canaries)
    sent = _messages(hospital.charts, known, canaries, scenario)
    return Day(
        messages=sent,
        stays=hospital.stays("census"),
        physical=hospital.stays("physical"),
        people=MappingProxyType(known),
        canaries=frozenset(canaries),
    )


_played = lru_cache(maxsize=2)(simulate)  # a large day is tens of megabytes


def day(scenario: Scenario) -> tuple[Message, ...]:
    """The scenario's messages in the order sent."""
    return _played(scenario).messages


def truth(scenario: Scenario, *, track: Track = "census") -> tuple[Stay, ...]:
    """The true stays of a track, by visit number and time (rules T1 to T19)."""
    played = _played(scenario)
    return played.stays if track == "census" else played.physical


def canaries(scenario: Scenario) -> frozenset[str]:
    """Every name, number, address and phone of the scenario's patients and staff."""
    return _played(scenario).canaries


def _messages(
    charts: list[Chart], known: dict[str, Person], canaries: set[str], scenario: Scenario
) -> tuple[Message, ...]:
    """The messages in the order sent; each says of the people what is `known` as it is recorded.

    Updates `known` and adds to `canaries`.
    """
    updates = seeded(scenario.seed, "updates")
    charted: list[tuple[Chart, Mapping[str, Person]]] = []
    for chart in sorted(charts, key=lambda chart: chart.recorded_at):
        if chart.updates:
            known[chart.mrn] = people.changed(updates, known[chart.mrn])
            canaries.update(known[chart.mrn].canaries)
        named = {each.mrn: known[each.mrn] for each in (chart, chart.partner) if each}
        charted.append((chart, named))
    charted.sort(key=lambda each: each[0].sent_at)
    return tuple(_message(*each, scenario, number) for number, each in enumerate(charted))


def _message(chart: Chart, named: Mapping[str, Person], scenario: Scenario, number: int) -> Message:
    control_id = f"WS{scenario.seed % 10**6}-{number:07d}"  # MSH-10 holds 20 characters
    return Message(
        at=chart.sent_at,
        body=messages.write(chart, named, scenario, control_id),
        control_id=control_id,
        mrn=chart.mrn,
        visit_number=chart.visit_number,
        trigger=chart.trigger,
    )
