"""Charges and accounts (DFT, BAR): kept whole and sealed, and read by nobody here."""

from streams.ledger.mapping import claim as claims
from streams.ledger.mapping import evidence, records
from streams.ledger.mapping.evidence import Numbered, Reading, Telling
from streams.ledger.mapping.facts import StreamName
from streams.ledger.mapping.message import FIELD_CHARACTERS_MAX
from streams.ledger.mapping.triggers import TRIGGERS

_ELSEWHERE = frozenset({"MSH", "EVN"})  # the header; what PID says the patient's event has
_TOO_LONG = "charges too long to keep beside their message"
_NOTHING = "no charges: nothing stands beside the patient"


def teller(kind: str) -> evidence.Teller:
    """What tells of a DFT or a BAR."""

    def tell(reading: Reading, segments: tuple[Numbered, ...]) -> Telling:
        said = [each for each in segments if each.name not in _ELSEWHERE and each.name[0] != "Z"]
        lines = [each.segment.text for each in said]
        if not lines:
            yield _NOTHING
            return
        if sum(map(len, lines)) > FIELD_CHARACTERS_MAX:
            yield _TOO_LONG
            return
        patient = reading.message.segment("PID")
        account = claims.account(reading.message, patient, 18, reading.feed) if patient else None
        yield records.draft(
            reading, TRIGGERS[kind, reading.trigger].event_type,
            ordinal=said[0].ordinal, role=said[0].name.lower(), occurred=reading.occurred(()),
            stream=records.numbered("financial", account)
            if account
            else StreamName(parts=("financial", "patient"), of_patient=True),
            data={"kind": kind, "segments": len(lines)},
            clear={"statement": {"segments": lines}},
        )  # fmt: skip

    return tell
