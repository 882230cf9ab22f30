"""A made-up hospital that sends HL7 v2 and knows the true path of every patient."""

from ops.simulator.day import Day, Message, canaries, day, simulate, truth
from ops.simulator.disorder import disordered
from ops.simulator.hospital import Stay, Track
from ops.simulator.people import MARKER, Person
from ops.simulator.scenario import (
    FULL,
    PLAIN,
    WARDS,
    Quirks,
    Scenario,
    ScenarioRefused,
    Shares,
    Ward,
    days_for,
    several,
    sized,
)

__all__ = [
    "FULL",
    "MARKER",
    "PLAIN",
    "WARDS",
    "Day",
    "Message",
    "Person",
    "Quirks",
    "Scenario",
    "ScenarioRefused",
    "Shares",
    "Stay",
    "Track",
    "Ward",
    "canaries",
    "day",
    "days_for",
    "disordered",
    "several",
    "simulate",
    "sized",
    "truth",
]
