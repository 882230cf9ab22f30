"""RAS^O17 as evidence: each RXA with its routes, under its order (rules V4, V5, V6)."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from streams.ledger.mapping import codings, evidence, results, states, times, values
from streams.ledger.mapping.evidence import NO_ORDER, Numbered, Order, Reading, Telling
from streams.ledger.mapping.message import Segment
from streams.ledger.mapping.states import State
from streams.ledger.mapping.values import NOTHING, Value

AMOUNT_UNKNOWN = 999.0  # RXA-6 of an amount that isn't known (IIS guide, RXA-6)
_NAMES_NOTHING = "an administration that names nothing: RXA-5 is empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An RXA with the ORC before it and what follows it, or what stands without one."""

    control: Numbered | None = None
    given: Numbered | None = None
    first: bool = True  # of its ORC
    routes: list[Segment] = field(default_factory=list)
    observations: list[Numbered] = field(default_factory=list)


def tell(reading: Reading, segments: tuple[Numbered, ...]) -> Telling:
    """The administrations of one patient group, what was observed with them, ended orders."""
    for act in acts(segments):
        told = order(reading, act)
        if act.control and act.first:
            yield from evidence.cancelled(reading, told, act.control)
        if act.given:
            yield from given(reading, act, act.given, told, kind="administration")
        for each in act.observations:
            yield from observed(reading, act, each, told)


def acts(segments: tuple[Numbered, ...]) -> Iterator[Act]:
    """What stands together: an ORC holds for every RXA until the next one."""
    act = Act()
    for each in segments:
        if each.name == "ORC":
            yield act
            act = Act(control=each)
        elif each.name == "RXA":
            if act.given or act.observations:
                yield act
                act = Act(control=act.control, first=act.control is None)
            act = replace(act, given=each)
        elif each.name == "RXR":
            act.routes.append(each.segment)
        elif each.name == "OBX":
            act.observations.append(each)
    yield act


def order(reading: Reading, act: Act) -> Order:
    """The order of an act; what is ordered is RXA-5."""
    what = evidence.named(reading, act.given.segment, 5) if act.given else ("", ())
    return evidence.order(reading, act.control.segment if act.control else None, what=what)


def given(
    reading: Reading,
    act: Act,
    each: Numbered,
    told: Order,
    *,
    kind: str,
    state: State | None = None,
) -> Telling:
    """One RXA; ``state`` where it isn't what RXA-20 and RXA-21 say."""
    segment = each.segment
    if not told.word:
        yield _NAMES_NOTHING
        return
    said = state or states.administration(
        segment.component(20).upper(), segment.component(21).upper(), told.control
    )
    what = (told.word,) if kind == "immunization" else (told.word, *_which(reading, segment))
    yield evidence.draft(
        reading, kind=kind, ordinal=each.ordinal, told=told, codes=told.codes, state=said,
        stream=evidence.stream(reading, kind, told, what, [segment.component(3)]),
        occurred=reading.occurred(
            [("RXA-3", segment.component(3)), ("RXA-4", segment.component(4))]
        ),
        value=_amount(reading, segment), more=_more(reading, act, segment),
    )  # fmt: skip


def observed(reading: Reading, act: Act, each: Numbered, told: Order) -> Telling:
    """One OBX that stands under an RXA, or under none."""
    at = act.given.segment.component(3) if act.given else ""
    return results.observation(
        reading, each, told if act.given else replace(NO_ORDER, control=told.control),
        said=[("RXA-3", at)], when=[at, each.segment.component(14)],
    )  # fmt: skip


def _which(reading: Reading, segment: Segment) -> tuple[str, ...]:
    """Which administration of its order it is: RXA-3, and RXA-2 where that is a day or nothing.

    RXA-2 counts them (v2.8 4A.4.7.2), but most feeds send 1 always.
    """
    at = evidence.clinical(reading, [segment.component(3)])
    read = times.moment(segment.component(3), reading.feed.zone) if at else None
    fine = read is not None and read.precision not in times.COARSE
    return at if fine else (*at, segment.component(2))


def _amount(reading: Reading, segment: Segment) -> Value:
    """RXA-6 and RXA-7."""
    read = values.number(segment.component(6))
    if read is None or read == AMOUNT_UNKNOWN:
        return NOTHING
    return Value(number=read, unit=values.measured(reading.message, segment, 7))


def _more(reading: Reading, act: Act, segment: Segment) -> dict[str, Any]:
    """The routes (RXR-1) and why it was refused (RXA-18), as far as they are codes."""
    routes = [parts for each in act.routes for parts in each.repetitions(1)]
    reasons = segment.repetitions(18)
    return {
        name: [one.data for parts in said for one in codings.valued(reading.message, parts)]
        for name, said in (("route_codes", routes), ("reason_codes", reasons))
    }
