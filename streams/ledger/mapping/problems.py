"""Problems (PPR): what a patient has, by its codes, since when, and how it stands."""

from dataclasses import dataclass, field

from streams.ledger.mapping import evidence, records, times
from streams.ledger.mapping.evidence import Numbered, Reading, Telling
from streams.ledger.mapping.facts import StreamName
from streams.ledger.mapping.message import Segment
from streams.ledger.mapping.triggers import PROBLEM_ACTIONS, TRIGGERS

TELLING = frozenset({"PRB", "NTE"})
_NAMES_NOTHING = "a problem that names nothing: PRB-3 and PRB-4 are empty"
_NO_PROBLEM = "no problem: there is no PRB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A PRB with the notes that follow it."""

    told: Numbered
    notes: list[Segment] = field(default_factory=list)


def tell(reading: Reading, segments: tuple[Numbered, ...]) -> Telling:
    """The problems of one patient group."""
    found: list[Problem] = []
    for each in segments:
        if each.name == "PRB":
            found.append(Problem(told=each))
        elif found:
            found[-1].notes.append(each.segment)
    if not found:
        yield _NO_PROBLEM
    for problem in found:
        yield from _stated(reading, problem)


def _stated(reading: Reading, problem: Problem) -> Telling:
    segment = problem.told.segment
    number = reading.number(segment, 4)
    word, _ = evidence.named(reading, segment, 3)
    if number is None and not word:
        yield _NAMES_NOTHING
        return
    zone = reading.feed.zone
    moments = {
        name: times.moment(segment.component(at), zone)
        for name, at in (("established", 7), ("resolved", 9), ("onset", 16))
    }
    trigger = TRIGGERS["PPR", reading.trigger].event_type
    text = {
        "what": records.words(reading, segment, 3),
        "status": [
            each for at in (13, 14) for each in records.words(reading, segment, at)
        ],
        "onset": records.words(reading, segment, 17),
        "notes": records.notes(reading, problem.notes),
    }  # fmt: skip
    yield records.draft(
        reading, PROBLEM_ACTIONS.get(segment.component(1).upper(), trigger),
        ordinal=problem.told.ordinal, role="prb",
        occurred=reading.occurred([("PRB-2", segment.component(2))]),
        stream=records.numbered("problem", number, of_patient=True)
        if number
        else StreamName(parts=("problem", "named", word), of_patient=True),
        data={
            "codes": records.codes(reading, segment, 3),
            "status_codes": records.codes(reading, segment, 14),
            **{f"{name}_at": one.micros if one else None for name, one in moments.items()},
            **{f"{name}_precision": one.precision if one else None
               for name, one in moments.items()},
        },
        clear={
            "number": records.numbers(problem=number),
            "text": {name: said for name, said in text.items() if said},
        },
    )  # fmt: skip
