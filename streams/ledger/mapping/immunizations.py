"""VXU^V04 as evidence: each RXA, and what an OBX under it says beyond the act (rule V5)."""

from dataclasses import replace

from schemas.identity import Identifier
from streams.ledger.mapping import administrations, evidence, states
from streams.ledger.mapping.evidence import Numbered, Order, Reading, Telling
from streams.ledger.mapping.states import State

_DETAIL = "details of an immunization, which observe nothing"
_MEANING = frozenset({"LN", "SCT"})  # systems whose codes mean the same outside of the message


def tell(reading: Reading, segments: tuple[Numbered, ...]) -> Telling:
    """The immunizations of one patient group, what was observed with them, ended orders."""
    for act in administrations.acts(segments):
        told = _order(reading, act)
        if act.control and act.first:
            yield from evidence.cancelled(reading, told, act.control)
        if act.given:
            state = _none(told)
            yield from administrations.given(
                reading, act, act.given, told, kind="immunization", state=state
            )
        for each in act.observations:
            if act.given and _detail(reading, each):
                yield _DETAIL
            else:
                yield from administrations.observed(reading, act, each, told)


def _order(reading: Reading, act: administrations.Act) -> Order:
    """The order of an act, without the number that stands for none."""
    told = administrations.order(reading, act)
    return replace(told, placer=_number(told.placer), filler=_number(told.filler))


def _number(number: Identifier | None) -> Identifier | None:
    return None if number and number.value == states.NO_NUMBER else number


def _none(told: Order) -> State | None:
    """That no vaccine was given, where RXA-5 says so."""
    if any(each.system == "CVX" and each.code == states.NO_VACCINE for each in told.codes):
        return State(name="not_evidence", raw=states.NO_VACCINE, field="RXA-5")
    return None


def _detail(reading: Reading, each: Numbered) -> bool:
    """Whether an OBX tells how the vaccine was funded or counted, or has a local name."""
    _, codes = evidence.named(reading, each.segment, 3)
    own = [one for one in codes if one.system in _MEANING]
    return not own or any(one.code in states.DETAILS for one in own)
