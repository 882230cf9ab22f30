"""Every real ADT message is mapped or ignored with a reason, and every other one has an outcome."""

import re
from collections import Counter

import pytest

from producers import peek
from streams.ledger.mapping.facts import Facts, Ignored, Unmappable
from streams.ledger.mapping.message import parse
from streams.ledger.mapping.table import IGNORED, RULES

MESSAGES_MIN = 500  # far fewer would mean that the corpus was split wrongly
STANDARD = {f"A{number:02}" for number in range(1, 63)}
_BEGINS = re.compile(rb"(?:^|(?<=[\r\n\x0b]))(?=MSH[^A-Za-z0-9\s])")


def messages(corpus):
    """Every message of the corpus, by simple splitting at MSH."""
    for file in sorted((corpus / "hl7v2").rglob("*")):
        if file.is_file():
            yield from (part for part in _BEGINS.split(file.read_bytes()) if part.strip())


def adt(body):
    """Whether it is a message whose header says that it is an ADT."""
    header = peek.peek(body)
    return isinstance(header, peek.Header) and header.field(9)[:3].upper() == b"ADT"


def outcome(mapped, body):
    try:
        result = mapped(body)
    except Unmappable as dead:
        return f"dead: {dead.cause}"
    return "facts" if isinstance(result, Facts) else "ignored"


def test_every_real_message_has_an_outcome(corpus, mapped):
    counts = Counter(outcome(mapped, body) for body in messages(corpus))
    assert counts.total() >= MESSAGES_MIN
    assert counts["facts"] > 0
    assert counts["ignored"] > 0


def test_every_real_adt_is_mapped_or_says_why_not(corpus, mapped):
    reasons = {f"{reason}: {trigger}" for trigger, reason in IGNORED.items()}
    seen = Counter()
    for body in messages(corpus):
        if not adt(body):
            continue
        result = mapped(body)
        kind, _, trigger = result.message_type.partition("^")
        if kind != "ADT":
            continue
        seen[trigger] += 1
        if isinstance(result, Ignored):
            if result.reason.startswith("no patient: "):
                continue
            unknown = f"trigger not mapped: {trigger}"
            assert result.reason in reasons or (
                result.reason == unknown and trigger not in STANDARD
            )
        else:
            assert trigger in RULES
    assert set(seen) & STANDARD


def test_every_adt_that_names_patient_and_visit_is_mapped(corpus, mapped):
    checked = 0
    for body in messages(corpus):
        try:
            message = parse(body)
        except Unmappable:
            continue
        header, patients, visit = (
            message.segment("MSH"), message.segments("PID"), message.segment("PV1"),
        )  # fmt: skip
        kind = (header.component(9), header.component(9, 2))
        rule = RULES.get(kind[1]) if kind[0] == "ADT" else None
        if rule is None or rule.trigger not in STANDARD or len(patients) != 1 or visit is None:
            continue
        if rule.change or rule.prior_visit:  # needs to name another patient or visit as well
            continue
        if patients[0].said(3) and visit.said(19):
            assert outcome(mapped, body) == "facts"
            checked += 1
    assert checked > 0


def test_the_simulators_journeys_are_mapped_or_ignored(corpus, mapped):
    file = corpus / "hl7v2/google+simhospital/journeys_utc.hl7"
    if not file.is_file():
        pytest.skip("no simulator journeys in this corpus")
    bodies = [part for part in _BEGINS.split(file.read_bytes()) if part.strip()]
    assert {outcome(mapped, body) for body in bodies} == {"facts", "ignored"}
