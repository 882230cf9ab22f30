"""A made-up hospital that sends HL7 v2 and knows the true path of every patient."""

from ops.simulator.day import Day, Message, canaries, day, simulate, truth
from ops.simulator.disorder import disordered
from ops.simulator.hospital import Stay
from ops.simulator.people import MARKER, Person
from ops.simulator.scenario import WARDS, Scenario, ScenarioRefused, Ward, sized

__all__ = [
    "MARKER",
    "WARDS",
    "Day",
    "Message",
    "Person",
    "Scenario",
    "ScenarioRefused",
    "Stay",
    "Ward",
    "canaries",
    "day",
    "disordered",
    "simulate",
    "sized",
    "truth",
]
