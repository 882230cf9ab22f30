"""The table of ADT triggers that the mapping runs on, as data and as docs/adt.md."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.events import TYPES
from streams.ledger.mapping.facts import ChangeKind

RECEIVED = "received"
RECORDED = ("EVN-2", "MSH-7", RECEIVED)
"""When a snapshot was taken: a cancel's EVN-6 is another event's time (rule T2)."""
MOVEMENT = "Z99"
"""IHE PAM's change of a movement: what it does depends on ZBE-4 and ZBE-6 (rule T23)."""

_OCCURRED = ("ZBE-2", "EVN-6", *RECORDED)
_BEGAN = ("ZBE-2", "EVN-6", "PV1-44", *RECORDED)
_ENDED = ("ZBE-2", "EVN-6", "PV1-45", *RECORDED)

_PLACES = ("place", "prior_place")
_MOVE = (*_PLACES, "patient_class", "attending_id")
_DETAILS = (*_MOVE, "admission_type", "hospital_service")
_TRACKED = ("temporary_place", "prior_temporary_place", "pending_place")
_NUMBERED = ("movement_id", "movement_historic")
_PLAN = ("plan", "planned_place")

_NOTHING = "nothing"
_BEGINS = "census, physical: the path begins in PV1-3"
_MOVES = "census, physical: from one stay into the next"
_AWAY = "physical: away, the bed stays the patient's"
_PLANNED = "planned: a plan begins"
_UNPLANNED = "planned: the plan ends"
_PERSON = "nothing; the other person's visits are found under this one"

_MRG = ("MRG-1", "MRG-4", "MRG-2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change of identity: the patient that ``source`` names becomes the one of PID-3.

    ``source`` are the fields that name that patient, best first. Where none does, the message
    is a dead letter if ``needed``, else it changes nobody's identity.
    """

    kind: ChangeKind
    event_type: str = "patient.merged"
    source: tuple[str, ...] = _MRG
    needed: bool = True

    def __post_init__(self) -> None:
        assert self.event_type in TYPES, f"unknown event type: {self.event_type}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one trigger says: an event of the patient, and mostly one of the visit.

    ``ladder`` are the fields that may give the visit event's time, best first (rules T1, T2);
    ``says`` are the fields of its data; ``tracks`` is what it does to the path. What tells
    of a visit without its number is left out, with the reason, and the rest is about the patient
    alone (rules T25, I6): with ``needs_visit`` every message of the trigger does, else one with a
    PV1. ``no_class`` are values of PV1-2 that say nothing of the visit;
    ``planned_as`` is the trigger whose rule holds for the visit where PV1-2 is P (rule T26).
    ``plan``, ``planned_place`` and ``expected`` tell of a plan: its kind, the fields that may
    hold its place, and its time (rule T17). ``prior_visit`` are the fields that may name the
    visit as it was known before, best first (rule M5). With ``repeats``, each PID and each MRG
    begins a part of its own (rules T18, M1).
    """

    trigger: str
    name: str
    patient_event: str = "patient.updated"
    visit_event: str | None = None
    ladder: tuple[str, ...] = _OCCURRED
    says: tuple[str, ...] = ()
    tracks: str
    rules: str
    needs_visit: bool = False
    no_class: frozenset[str] = frozenset()
    planned_as: str | None = None
    plan: str | None = None
    planned_place: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    prior_visit: tuple[str, ...] = ()
    change: Change | None = None
    repeats: bool = False

    def __post_init__(self) -> None:
        assert self.patient_event in TYPES, f"unknown event type: {self.patient_event}"
        assert self.visit_event in {None, *TYPES}, f"unknown event type: {self.visit_event}"
        assert self.ladder[-1] == RECEIVED, "every event has a time"


def _visit(trigger: str, name: str, event: str, *, tracks: str, rules: str,
           says: tuple[str, ...] = _MOVE, ladder: tuple[str, ...] = _OCCURRED,
           patient_event: str = "patient.updated", planned_as: str | None = None,
           repeats: bool = False) -> Rule:  # fmt: skip
    """A movement of a visit or the cancellation of one; IHE PAM may number it."""
    return Rule(
        trigger=trigger, name=name, patient_event=patient_event,
        visit_event=f"admission.{event}", ladder=ladder, says=(*says, *_NUMBERED),
        tracks=tracks, rules=rules, needs_visit=True, planned_as=planned_as, repeats=repeats,
    )  # fmt: skip


def _update(trigger: str, name: str) -> Rule:
    """A snapshot of a visit, which moves nobody; N (not applicable, table 0004) clears nothing."""
    return Rule(
        trigger=trigger, name=name, visit_event="admission.updated", says=_DETAILS,
        tracks=_NOTHING, rules="T1, T8, I6", no_class=frozenset({"N"}),
    )  # fmt: skip


def _plan(trigger: str, name: str, plan: str, *, place: tuple[str, ...] = ("PV1-42",),
          expected: str = "PV2-8") -> Rule:  # fmt: skip
    """Something planned; EVN-3 is when it is, where PV2 doesn't say."""
    return Rule(
        trigger=trigger, name=name, visit_event="admission.planned", plan=plan,
        says=(*_MOVE, *_PLAN, "expected_at"), planned_place=place, expected=(expected, "EVN-3"),
        tracks=_PLANNED, rules="T1, T17, T26" if plan == "preadmit" else "T1, T17",
    )  # fmt: skip


def _unplan(trigger: str, name: str, plan: str, *, place: tuple[str, ...] = ("PV1-42",)) -> Rule:
    """A plan taken back."""
    return Rule(
        trigger=trigger, name=name, visit_event="admission.plan_cancelled", plan=plan,
        says=(*_PLACES, *_PLAN), planned_place=place, tracks=_UNPLANNED, rules="T2, T17",
    )  # fmt: skip


def _person(trigger: str, name: str, kind: ChangeKind, rules: str, *, needed: bool = True) -> Rule:
    """An identity that gives way to another."""
    return Rule(
        trigger=trigger, name=name, change=Change(kind=kind, needed=needed),
        tracks=_PERSON, rules=rules, repeats=True,
    )  # fmt: skip


def _number(trigger: str, name: str, event: str, tracks: str, prior: tuple[str, ...],
            *, needed: bool = True) -> Rule:  # fmt: skip
    """A visit that changes its patient or its number."""
    told = {"patient_changed": "from_patient_id", "joined": "into_admission_id"}[event]
    return Rule(
        trigger=trigger, name=name, visit_event=f"admission.{event}", says=(told,),
        prior_visit=prior, tracks=tracks, rules="M4, M5", needs_visit=needed, repeats=True,
    )  # fmt: skip


_CHANGED = "census, physical, planned: the visit's whole path is this patient's"
_JOINED = "census, physical, planned: the old number's path goes on under the new one"

RULES: Mapping[str, Rule] = {
    rule.trigger: rule
    for rule in (
        _visit("A01", "admit", "created", tracks=_BEGINS, rules="T1, T25, T26", says=_DETAILS,
               ladder=_BEGAN, patient_event="patient.registered", planned_as="A05"),
        _visit("A02", "transfer", "location_changed", tracks=_MOVES, rules="T1, T10, T11, T25"),
        _visit("A03", "discharge", "discharged", tracks="census, physical: the path ends",
               rules="T1, T13, T25", ladder=_ENDED),
        _visit("A04", "register", "created", tracks=_BEGINS, rules="T1, T14, T25, T26",
               says=_DETAILS, ladder=_BEGAN, patient_event="patient.registered",
               planned_as="A05"),
        _plan("A05", "pre-admit", "preadmit", place=("PV1-42", "PV1-3")),
        _visit("A06", "outpatient becomes inpatient", "class_changed", tracks=_MOVES,
               rules="T1, T15, T25"),
        _visit("A07", "inpatient becomes outpatient", "class_changed", tracks=_MOVES,
               rules="T1, T15, T25"),
        _update("A08", "update"),
        _visit("A09", "depart (tracking)", "departed", says=(*_MOVE, *_TRACKED),
               tracks="physical: left, and at neither place until the arrival",
               rules="T1, T16, T25"),
        _visit("A10", "arrive (tracking)", "arrived", says=(*_MOVE, *_TRACKED),
               tracks="physical: at the temporary place, or back; census: the bed if it is new",
               rules="T1, T16, T25"),
        _visit("A11", "cancel admit or register", "cancelled", says=_PLACES,
               tracks="census, physical: no admission; planned: no pre-admission",
               rules="T2, T4, T6, T25, T26"),
        _visit("A12", "cancel transfer", "location_change_cancelled", says=_PLACES,
               tracks="census, physical: no transfer", rules="T2, T3, T4, T5, T25"),
        _visit("A13", "cancel discharge", "discharge_cancelled", says=_PLACES,
               tracks="census, physical: no discharge", rules="T2, T4, T7, T25"),
        _plan("A14", "pending admit", "admit", place=("PV1-42", "PV1-3")),
        _plan("A15", "pending transfer", "transfer"),
        _plan("A16", "pending discharge", "discharge", expected="PV2-9"),
        _visit("A17", "swap of beds", "location_changed", tracks=_MOVES, rules="T1, T18, T25",
               repeats=True),
        _person("A18", "merge patient information", "merge", "M1, M2, M3, M5"),
        _visit("A21", "leave of absence begins", "leave_started", tracks=_AWAY,
               rules="T1, T19, T25"),
        _visit("A22", "leave of absence ends", "leave_ended", rules="T1, T19, T25",
               tracks="physical: back in the bed"),
        Rule(trigger="A23", name="delete a visit's record", visit_event="admission.deleted",
             says=_PLACES, tracks="census, physical, planned: every stay is retracted",
             rules="T1, T25", needs_visit=True),
        _unplan("A25", "cancel pending discharge", "discharge"),
        _unplan("A26", "cancel pending transfer", "transfer", place=("PV2-1", "PV1-42")),
        _unplan("A27", "cancel pending admit", "admit", place=("PV2-1", "PV1-42")),
        Rule(trigger="A28", name="add a person", patient_event="patient.registered",
             tracks=_NOTHING, rules="T8"),
        _person("A30", "merge persons", "merge", "M1, M2, M3, M5"),
        _update("A31", "update a person"),
        _visit("A32", "cancel arrival", "arrival_cancelled", says=(*_PLACES, *_TRACKED),
               tracks="physical: no arrival", rules="T2, T4, T16, T25"),
        _visit("A33", "cancel departure", "departure_cancelled", says=(*_PLACES, *_TRACKED),
               tracks="physical: no departure", rules="T2, T4, T16, T25"),
        _person("A34", "merge by patient id", "merge", "M1, M2, M3, M4, M5"),
        _person("A35", "merge by account number", "merge", "M1, M4, M5", needed=False),
        _person("A36", "merge by patient id and account number", "merge", "M1, M2, M3, M4, M5"),
        Rule(trigger="A37", name="unlink", tracks="nothing; a merge of these two is undone",
             rules="M3", change=Change(kind="merge", event_type="patient.unmerged",
                                       source=("PID-3",))),
        _unplan("A38", "cancel pre-admit", "preadmit"),
        _person("A39", "merge persons by patient id", "merge", "M1, M2, M3, M5"),
        _person("A40", "merge patient identifiers", "merge", "M1, M2, M3, M4"),
        _person("A41", "merge accounts", "merge", "M1, M4, M5", needed=False),
        _number("A42", "merge visits", "joined", _JOINED, ("MRG-5",)),
        _person("A43", "move patient identifiers", "move", "M1, M3, M5"),
        _number("A44", "move an account", "patient_changed", _CHANGED, ("MRG-3",)),
        _number("A45", "move a visit", "patient_changed", _CHANGED, ("MRG-5", "MRG-3")),
        _person("A46", "change the external patient id", "change", "M1, M2, M3, M5"),
        _person("A47", "change patient identifiers", "change", "M1, M2, M3, M5"),
        _number("A49", "change an account number", "joined",
                "as A50 where PID-18 stands in for the visit number, else nothing", ("MRG-3",),
                needed=False),
        _number("A50", "change a visit number", "joined", _JOINED, ("MRG-5",)),
        _visit("A52", "cancel leave of absence", "leave_cancelled", says=_PLACES,
               tracks="physical: no leave", rules="T2, T19, T25"),
        _visit("A53", "cancel the end of a leave", "return_cancelled", says=_PLACES,
               tracks="physical: no return", rules="T2, T19, T25"),
        _update("A54", "change the attending doctor"),
        _update("A55", "cancel a change of the attending doctor"),
        _update("A60", "update allergies"),
        _update("A61", "change the consulting doctor"),
        _update("A62", "cancel a change of the consulting doctor"),
        _visit(MOVEMENT, "change or cancel a movement (ZBE-4)", "movement_updated",
               says=(*_MOVE, "original_trigger"), rules="T23",
               tracks="UPDATE: census, physical: as that movement says now; "
                      "CANCEL: as the cancellation of ZBE-6"),
    )
}  # fmt: skip

CANCELS: Mapping[str, str] = {
    "A01": "A11", "A04": "A11", "A02": "A12", "A17": "A12", "A06": "A12", "A07": "A12",
    "A03": "A13", "A05": "A38", "A14": "A27", "A15": "A26", "A16": "A25", "A09": "A33",
    "A10": "A32", "A21": "A52", "A22": "A53",
}  # fmt: skip
"""What takes a movement back, by what told it: for ZBE-4 CANCEL (rule T23)."""

IGNORED: Mapping[str, str] = {
    "A19": "answer to a query",
    "A20": "status of a bed",
    "A24": "link, which merges nobody",
    "A29": "deletion of a person, which no message does",
    "A48": "change of an alternate patient id, which names nobody here",
    "A51": "change of an alternate visit id, which names no visit here",
    **dict.fromkeys(("A56", "A57", "A58", "A59"), "no trigger of the standard"),
}
"""Triggers that say nothing to us, each with its reason."""

_INTRODUCTION = """\
# ADT: which trigger becomes which events, and what it does to the path

This page is generated from the table that the mapping runs on
(`python -m streams.ledger.mapping.table > docs/adt.md`); a test holds it to it.

MSH-9.2 names the trigger; EVN-1 does only where MSH-9.2 is empty. The time of a visit's event
comes from the first of its fields that holds a time, and the event says from which one. In a
cancellation EVN-6 is the time of what is cancelled. The patient's event is a snapshot taken at
EVN-2, else MSH-7, else when the message was received.

A visit has two tracks: census (the bed that is the patient's) and physical (where the patient
is). What is planned stands apart. A message without a visit number (PV1-19, else PID-18; never
a time) is about the patient alone: it is applied, and what it tells of the visit is left out,
which is the message's reason and counted. "needs visit" says that every message of that trigger
tells of a visit; of the others, those with a PV1.
"""
_CLOSING = """\
- An admission or a registration whose PV1-2 is `P` is a pre-admission (as A05): nobody is there
  yet. An A11 that takes no admission back takes back a pre-admission, whatever its PV1-2 says.
- A movement that ZBE numbers (IHE PAM) says its number and whether it is historic. ZBE-4
  `CANCEL` makes any trigger the one that cancels it: {cancels}.
- A44 moves the visits of the account (MRG-3): the one by its number, and those of the old patient
  that were told with it (PID-18 beside PV1-19), before or after.
- A45 whose old visit number (MRG-5) isn't PV1-19 joins the old number's path to the new one.
- MRG-1 names the patient who gives way: by its repetition of the same type as the preferred one
  of PID-3, else in order; else MRG-4, else MRG-2. Each PID and each MRG of a merge, a move or a
  swap is a part of its own.

## Ignored

| trigger | reason |
|---|---|
{ignored}

Every other trigger and message type is ignored with its reason and counted; it is never an
error; so is a message with one of the triggers above that names no patient (PID-3). It becomes
a dead letter when it names nobody to merge where somebody is, or can't be read.
"""
_HEAD = (
    "trigger", "is", "patient's event", "visit's event", "does to the track",
    "time from", "needs visit", "rules",
)  # fmt: skip


def markdown() -> str:
    """docs/adt.md."""
    rows = [_row(rule) for rule in RULES.values()]
    closing = _CLOSING.format(
        cancels=", ".join(f"{told} by {by}" for told, by in CANCELS.items()),
        ignored="\n".join(f"| {trigger} | {reason} |" for trigger, reason in IGNORED.items()),
    )
    head = f"| {' | '.join(_HEAD)} |"
    return "\n".join([_INTRODUCTION, head, "|---" * len(_HEAD) + "|", *rows, "", closing])


def _row(rule: Rule) -> str:
    events = [f"`{rule.patient_event}`"]
    if rule.change:
        events.append(f"`{rule.change.event_type}` ({rule.change.kind})")
    cells = (
        rule.trigger, rule.name, ", ".join(events),
        f"`{rule.visit_event}`" if rule.visit_event else "",
        rule.tracks, ", ".join(rule.ladder) if rule.visit_event or rule.change else "",
        "yes" if rule.needs_visit else "no", rule.rules,
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.stdout.write(markdown())
