"""The table of ADT triggers that the mapping runs on, as data and as docs/adt.md."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.events import TYPES

RECEIVED = "received"
RECORDED = ("EVN-2", "MSH-7", RECEIVED)
"""When a snapshot was taken: a cancel's EVN-6 is another event's time (rule T2)."""

_PLACES = ("place", "prior_place")
_MOVE = (*_PLACES, "patient_class", "attending_id")
_DETAILS = (*_MOVE, "admission_type", "hospital_service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one trigger says: an event of the patient, and one of the visit.

    ``ladder`` are the fields that may give the visit event's time, best first (rules T1, T2);
    ``says`` are the fields of its data. Without a visit number the message is a dead letter
    (rule T25) if ``needs_visit``, else it is about the patient alone (rule I6).
    ``no_class`` are values of PV1-2 that say nothing of the visit.
    """

    trigger: str
    name: str
    patient_event: str
    visit_event: str
    ladder: tuple[str, ...]
    says: tuple[str, ...]
    rules: str
    needs_visit: bool = True
    no_class: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        assert self.patient_event in TYPES, f"unknown event type: {self.patient_event}"
        assert self.visit_event in TYPES, f"unknown event type: {self.visit_event}"
        assert self.ladder[-1] == RECEIVED, "every event has a time"


RULES: Mapping[str, Rule] = {
    rule.trigger: rule
    for rule in (
        Rule(
            trigger="A01", name="admit", patient_event="patient.registered",
            visit_event="admission.created", ladder=("EVN-6", "PV1-44", *RECORDED),
            says=_DETAILS, rules="T1, T25",
        ),
        Rule(
            trigger="A02", name="transfer", patient_event="patient.updated",
            visit_event="admission.location_changed", ladder=("EVN-6", *RECORDED),
            says=_MOVE, rules="T1, T10, T11, T25",
        ),
        Rule(
            trigger="A03", name="discharge", patient_event="patient.updated",
            visit_event="admission.discharged", ladder=("EVN-6", "PV1-45", *RECORDED),
            says=_MOVE, rules="T1, T13, T25",
        ),
        Rule(
            trigger="A04", name="register", patient_event="patient.registered",
            visit_event="admission.created", ladder=("EVN-6", "PV1-44", *RECORDED),
            says=_DETAILS, rules="T1, T14, T25",
        ),
        Rule(
            trigger="A08", name="update", patient_event="patient.updated",
            visit_event="admission.updated", ladder=("EVN-6", *RECORDED),
            says=_DETAILS, rules="T1, T8, I6", needs_visit=False,
            no_class=frozenset({"N"}),  # not applicable (table 0004): it clears nothing
        ),
        Rule(
            trigger="A11", name="cancel admit or register", patient_event="patient.updated",
            visit_event="admission.cancelled", ladder=("EVN-6", *RECORDED),
            says=_PLACES, rules="T2, T4, T6, T25",
        ),
        Rule(
            trigger="A12", name="cancel transfer", patient_event="patient.updated",
            visit_event="admission.location_change_cancelled", ladder=("EVN-6", *RECORDED),
            says=_PLACES, rules="T2, T3, T4, T5, T25",
        ),
        Rule(
            trigger="A13", name="cancel discharge", patient_event="patient.updated",
            visit_event="admission.discharge_cancelled", ladder=("EVN-6", *RECORDED),
            says=_PLACES, rules="T2, T4, T7, T25",
        ),
    )
}  # fmt: skip

_INTRODUCTION = """\
# ADT: which trigger becomes which events

This page is generated from the table that the mapping runs on
(`python -m streams.ledger.mapping.table > docs/adt.md`); a test holds it to it.

MSH-9.2 names the trigger; EVN-1 does only where MSH-9.2 is empty. The time of a visit's event
comes from the first of its fields that holds a time, and the event says from which one. In a
cancellation EVN-6 is the time of what is cancelled. The patient's event is a snapshot taken at
EVN-2, else MSH-7, else when the message was received.
"""
_CLOSING = """\
Every other trigger and message type is ignored with its reason and counted; it is never an
error. A message with one of these triggers becomes a dead letter when it names no patient
(PID-3), no visit where one is needed (PV1-19, else PID-18; never a time), or can't be read.
"""


def markdown() -> str:
    """docs/adt.md."""
    rows = [
        f"| {rule.trigger} | {rule.name} | `{rule.patient_event}` | `{rule.visit_event}` "
        f"| {', '.join(rule.ladder)} | {'yes' if rule.needs_visit else 'no'} | {rule.rules} |"
        for rule in RULES.values()
    ]
    head = "| trigger | is | patient's event | visit's event | time from | needs visit | rules |"
    return "\n".join([_INTRODUCTION, head, "|---" * 7 + "|", *rows, "", _CLOSING])


if __name__ == "__main__":
    sys.stdout.write(markdown())
