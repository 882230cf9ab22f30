"""The tables of states that evidence is mapped by, as data and as docs/results.md."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

STATES: Mapping[str, str] = {
    "pending": "begun, not to be relied on yet",
    "final": "done, to be relied on",
    "corrected": "done; takes the place of what was said before",
    "revoked": "what was said before is taken back",
    "unobtainable": "will not be had",
    "not_evidence": "an order or a detail of one: nothing was done",
    "partial": "done in part",
    "refused": "refused by the patient",
    "not_administered": "not given",
    "refuted": "not done, as said (FHIR)",
    "cancelled": "the order is no more",
    "unknown": "the sender says nothing that is known",
}
"""Every state of ``evidence.recorded``, and what it means."""

RESULT: Mapping[str, str] = {
    **dict.fromkeys("PRIS", "pending"),
    **dict.fromkeys("FVUAB", "final"),
    "C": "corrected",
    **dict.fromkeys("DW", "revoked"),
    "X": "unobtainable",
    **dict.fromkeys("NO", "not_evidence"),
}
"""OBX-11, HL7 table 0085 (rule V2)."""

REPORT: Mapping[str, str] = {
    **dict.fromkeys("ARISP", "pending"),
    "F": "final",
    "C": "corrected",
    "X": "unobtainable",
    **dict.fromkeys("OYZ", "not_evidence"),
}
"""OBR-25, HL7 table 0123, where OBX-11 is empty."""

COMPLETION: Mapping[str, str] = {
    "CP": "final", "PA": "partial", "RE": "refused", "NA": "not_administered",
}  # fmt: skip
"""RXA-20, HL7 table 0322 (rule V5)."""

DELETED, UPDATED = "D", "U"  # RXA-21, HL7 table 0206 (rule V5)

CANCELS: Mapping[str, str] = {
    "CA": "cancel the order", "OC": "cancelled by the filler", "CR": "cancelled as asked",
    "DC": "discontinue the order", "OD": "discontinued by the filler",
    "DR": "discontinued as asked",
}  # fmt: skip
"""ORC-1, HL7 table 0119: the order is no more (rule V4)."""

ASKS = frozenset({"NW", "XO", "RP", "HD", *CANCELS})
"""ORC-1 that asks for something: an order is not an act (rule V4)."""

DETAILS = frozenset({
    "29768-9", "29769-7", "30956-7", "30963-3", "30973-2", "30979-9", "30980-7", "30981-5",
    "30982-3", "38890-0", "48767-8", "59777-3", "59778-1", "59779-9", "59780-7", "59781-5",
    "59782-3", "59783-1", "64994-7", "69764-9", "81402-0", "82593-5",
})  # fmt: skip
"""LOINC codes that tell how a vaccine was funded, explained, counted, scheduled (IIS guide)."""

NO_VACCINE = "998"  # CVX: no vaccine administered
NO_NUMBER = "9999"  # ORC-3 of what has no number (IIS guide 1.5, ORC-3)

_PLAIN = 3  # characters of a code in these tables; more is text


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A state of ``STATES``, the sender's code for it and the field that said it, if any did."""

    name: str
    raw: str | None = None
    field: str | None = None

    def __post_init__(self) -> None:
        assert self.name in STATES, f"unknown state: {self.name}"


def result(status: str, report: str, control: str) -> State:
    """The state of an OBX: OBX-11, else OBR-25, under ORC-1 (rules V2, V4)."""
    if status:
        return _by(RESULT, status, "OBX-11")
    if report:
        return _by(REPORT, report, "OBR-25")
    return _silent(control, "unknown")


def administration(completion: str, action: str, control: str) -> State:
    """The state of an RXA: RXA-21's deletion, else RXA-20, under ORC-1 (rules V4, V5).

    Where RXA-20 is empty the act is complete (IIS guide 1.5), but not under an order for it.
    """
    if action == DELETED:
        return State(name="revoked", raw=action, field="RXA-21")
    said = _by(COMPLETION, completion, "RXA-20") if completion else _silent(control, "final")
    if said.name == "final" and action == UPDATED:
        return State(name="corrected", raw=action, field="RXA-21")
    return said


def _by(table: Mapping[str, str], status: str, field: str) -> State:
    plain = status.isascii() and status.isalnum() and len(status) <= _PLAIN
    return State(
        name=table.get(status, "unknown"), raw=status if plain else None, field=field
    )  # fmt: skip


def _silent(control: str, otherwise: str) -> State:
    if control in ASKS:
        return State(name="not_evidence", raw=control, field="ORC-1")
    return State(name=otherwise)


_PAGE = """\
# Results, administrations, immunizations: what becomes evidence, and in which state

This page is generated from the tables that the mapping runs on
(`python -m streams.ledger.mapping.states > docs/results.md`); a test holds it to it.

Each OBX of an ORU^R01 (or R30 to R32), each RXA of a RAS^O17 or VXU^V04 and each cancelling ORC
becomes one `evidence.recorded`, beside the `patient.updated` of its patient group. No visit is made
by them; `admission_id` is PV1-19's (else PID-18's) where the group names one.

| event of kind | from | its time, first that is said | its codes | rules |
|---|---|---|---|---|
| `observation` | OBX | OBX-14, OBR-7, OBR-8, MSH-7 | OBX-3; OBR-4: the panel's | V2, V6, V8 |
| `administration` | RXA of RAS^O17 | RXA-3, RXA-4, MSH-7 | RXA-5 | V5, V6, V8 |
| `immunization` | RXA of VXU^V04 | RXA-3, RXA-4, MSH-7 | RXA-5 | V5, V6, V8 |
| `order` | ORC with {cancels} | ORC-15, ORC-9, MSH-7 | OBR-4 or RXA-5 | V4 |

Under an RXA, an OBX's time is OBX-14, RXA-3, MSH-7. A time that says no more than the day is
not midnight: the event's precision says so, and a further clinical field with a time of that day
wins. MSH-7 stands in only where no clinical time is said.

## States

| state | is |
|---|---|
{states}

| field | code | state |
|---|---|---|
{codes}

A code outside these tables is `unknown`. Where OBX-11 is empty OBR-25 counts; where both are, the
result is `unknown`. An empty RXA-20 is complete. Under an ORC that asks for something ({asks})
an empty status is `not_evidence`: an order is not an act. CVX 998, no vaccine, is `not_evidence`.

## Which evidence it is

Corrections and deletions go into the stream of what they correct. It is named by the first of:

1. the filler's order number (OBR-3, else ORC-3) with its authority,
2. the placer's (OBR-2, else ORC-2) with its authority,
3. the patient, and the time of OBR-7 (a day alone: and OBX-14), else OBX-14's; of RXA-3,
4. the patient, MSH-7 and MSH-10: nothing can correct it then.

To it belong, for an observation, OBR-4, OBX-3 and OBX-4; for an administration, RXA-5, RXA-3 and,
where that is no more than a day, RXA-2; for an immunization RXA-5 (ORC-3 `9999` is no number).
What one message says several times under one name is numbered in its order.

## Values

NM, SN with one number, and ST with a number and a unit are numbers. A coded value is in clear as
far as its system is named. Every other value is sealed: text, dates, ratios, codes of no system.
Documents (ED, RP) stay with their message. {details} OBX codes of an RXA in a VXU that are
details of the immunization (its funding, its leaflet, its dose's number), and local ones, are left
out.
"""


def markdown() -> str:
    """docs/results.md."""
    tables = {"OBX-11": RESULT, "OBR-25": REPORT, "RXA-20": COMPLETION}
    rows = [(field, raw, state) for field, table in tables.items() for raw, state in table.items()]
    rows += [("RXA-21", DELETED, "revoked"), ("RXA-21", UPDATED, "corrected, where complete")]
    rows += [("ORC-1", raw, f"cancelled: {told}") for raw, told in CANCELS.items()]
    return _PAGE.format(
        cancels=", ".join(CANCELS),
        asks=", ".join(sorted(ASKS)),
        states="\n".join(f"| `{name}` | {told} |" for name, told in STATES.items()),
        codes="\n".join(f"| {' | '.join(row)} |" for row in rows),
        details=len(DETAILS),
    )


if __name__ == "__main__":
    sys.stdout.write(markdown())
