"""The table of what appointments, documents, dispenses, problems and accounts become.

As data, and as docs/messages.md.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.events import TYPES
from streams.ledger.mapping.message import FIELD_CHARACTERS_MAX

APPOINTMENT_STATES = frozenset({
    "pending", "waitlist", "booked", "started", "complete", "cancelled", "dc", "deleted",
    "blocked", "overbook", "noshow", "scheduled",
})  # fmt: skip
"""SCH-25, HL7 table 0278, and the one word that is seen beside it; any other is text."""

PROBLEM_ACTIONS: Mapping[str, str] = {
    "AD": "problem.added", "CO": "problem.updated", "UP": "problem.updated",
    "DE": "problem.deleted",
}  # fmt: skip
"""PRB-1, HL7 table 0287, which says it of each problem; else the trigger does."""

PARTICIPATION_ACTIONS: Mapping[str, str] = {
    "AD": "added", "CO": "changed", "UP": "changed", "DE": "ended",
}  # fmt: skip
"""ROL-2 and PRT-2, HL7 table 0287; any other is ``stated``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What a message is, and the event that it becomes."""

    kind: str
    trigger: str
    name: str
    event_type: str

    def __post_init__(self) -> None:
        assert self.event_type in TYPES, f"unknown event type: {self.event_type}"


def _of(kind: str, stream: str, told: Mapping[str, tuple[str, str]]) -> list[Trigger]:
    return [
        Trigger(kind=kind, trigger=trigger, name=name, event_type=f"{stream}.{event}")
        for trigger, (name, event) in told.items()
    ]


TRIGGERS: Mapping[tuple[str, str], Trigger] = {
    (each.kind, each.trigger): each
    for each in (
        *_of("SIU", "appointment", {
            "S12": ("new appointment", "booked"),
            "S13": ("appointment at another time", "rescheduled"),
            "S14": ("appointment changed", "changed"),
            "S15": ("appointment cancelled", "cancelled"),
            "S16": ("appointment discontinued", "discontinued"),
            "S17": ("appointment deleted: it was never meant", "deleted"),
            "S18": ("service or resource added", "changed"),
            "S19": ("service or resource changed", "changed"),
            "S20": ("service or resource cancelled", "changed"),
            "S21": ("service or resource discontinued", "changed"),
            "S22": ("service or resource deleted", "changed"),
            "S26": ("patient did not come", "missed"),
        }),
        *_of("MDM", "document", {
            "T01": ("new document", "created"),
            "T02": ("new document, with its content", "created"),
            "T03": ("document's status changed", "status_changed"),
            "T04": ("document's status changed, with its content", "status_changed"),
            "T05": ("addendum", "addended"),
            "T06": ("addendum, with its content", "addended"),
            "T07": ("document edited", "edited"),
            "T08": ("document edited, with its content", "edited"),
            "T09": ("document that replaces another", "replaced"),
            "T10": ("document that replaces another, with its content", "replaced"),
            "T11": ("document cancelled", "cancelled"),
        }),
        *_of("RDS", "dispense", {
            "O13": ("dispense, beside what is told of its order", "recorded"),
            "O01": ("dispense, v2.3's name of it", "recorded"),
        }),
        *_of("PPR", "problem", {
            "PC1": ("problem added", "added"),
            "PC2": ("problem updated", "updated"),
            "PC3": ("problem deleted", "deleted"),
        }),
        *_of("DFT", "financial", {
            "P03": ("charges", "recorded"),
            "P11": ("charges, expanded", "recorded"),
        }),
        *_of("BAR", "financial", {
            "P01": ("account added", "recorded"),
            "P02": ("account purged", "recorded"),
            "P05": ("account updated", "recorded"),
            "P06": ("account ended", "recorded"),
            "P10": ("ambulatory payment groups", "recorded"),
            "P12": ("diagnoses and procedures updated", "recorded"),
        }),
    )
}  # fmt: skip

IGNORED: Mapping[tuple[str, str], str] = {
    ("SIU", "S23"): "time of a schedule, which is nobody's",
    ("SIU", "S24"): "time of a schedule, which is nobody's",
    ("SIU", "S25"): "question for a schedule",
}
"""Triggers between those above that say nothing to us, each with its reason."""

_PAGE = """\
# Appointments, documents, dispenses, problems, staff, accounts

This page is generated from the table that the mapping runs on
(`python -m streams.ledger.mapping.triggers > docs/messages.md`); a test holds it to it.

Each becomes an event of the thing's own stream, beside the `patient.updated` of its patient group.
None of them makes a visit, moves anybody or proves that anything was done; `admission_id` is
PV1-19's (else PID-18's) where the message names one. Every text is sealed under the person's own
key: titles, reasons, notes, numbers, names of staff, content of documents. In clear stand codes
that a system vouches for, times, places and pseudonymous ids.

| message | is | event |
|---|---|---|
{triggers}

Ignored, each with its reason: {ignored}.

| event | from | stream: the first of | time, first that is said |
|---|---|---|---|
| `appointment.*` | SCH, AIS, AIL, AIP, TQ1, NTE | SCH-2, SCH-1 | MSH-7 |
| `document.*` | TXA, with the OBX of its content | TXA-12, TXA-15, TXA-14 | created, addended, \
replaced: TXA-6, TXA-4; edited: TXA-8; then MSH-7 |
| `dispense.recorded` | RXD under its ORC | the order's number (filler's, else placer's), else the \
patient, with RXD-2, RXD-3, RXD-1 | RXD-3, MSH-7 |
| `problem.*` | PRB, NTE | the patient with PRB-4, else with PRB-3 | PRB-2, MSH-7 |
| `participation.stated` | ROL or PRT of any message that becomes events | the patient with ROL-1 \
or PRT-1, else with the role and the person | when the message was recorded |
| `financial.recorded` | every segment of a DFT or BAR but MSH, EVN and PID, as sent | the account \
(PID-18), else the patient | MSH-7 |

- Each number stands with its authority, else the feed's. What has none is left out, which is the
  message's reason.
- PRB-1 tells of each problem what becomes of it ({problems}); where it is none of these, the
  trigger does. ROL-2 and PRT-2 say whether somebody was {participations}; any other is `stated`.
- A time that an appointment has is SCH-11 (4, 5), else TQ1-7 and TQ1-8, else the first of AIS-4,
  AIL-6 and AIP-6; without an end, SCH-9 and SCH-10 say how long.
- An addendum and a replacement name the document that they belong to (TXA-13) by
  `parent_document_id`, and TXA-14 the order by `order_id`.
- Content is kept as far as it is text (TX, FT, ST) of at most {most} characters in all; documents
  (ED, RP), and what is longer, stay with their message, which is its reason.
- Charges and accounts are opaque: what they say is kept whole, sealed, and read by nobody here.

## Z-segments

Segments of a site's own (`Z..`) travel along with the first event of their part, which is the
patient's, as the sealed field `z_segments`: the lines in order, as they were sent, escape sequences
unresolved. More than {most} characters of them stay with their message, which is its reason.
"""


def markdown() -> str:
    """docs/messages.md."""
    rows = [
        f"| {each.kind}^{each.trigger} | {each.name} | `{each.event_type}` |"
        for each in TRIGGERS.values()
    ]
    return _PAGE.format(
        triggers="\n".join(rows),
        ignored=", ".join(f"{'^'.join(key)} ({reason})" for key, reason in IGNORED.items()),
        problems=", ".join(f"{code} `{event}`" for code, event in PROBLEM_ACTIONS.items()),
        participations=", ".join(f"`{w}` ({code})" for code, w in PARTICIPATION_ACTIONS.items()),
        most=f"{FIELD_CHARACTERS_MAX:,}",
    )


if __name__ == "__main__":
    sys.stdout.write(markdown())
