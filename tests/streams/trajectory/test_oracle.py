"""The path against a slow reading of the same rules, instant by instant."""

from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from streams.trajectory.facts import (
    CANCELLED,
    CREATED,
    DISCHARGE_CANCELLED,
    DISCHARGED,
    MOVE_CANCELLED,
    MOVED,
    Fact,
)
from streams.trajectory.path import Path, path
from tests.streams.trajectory.visits import adt, clock

TAKES = {CANCELLED: CREATED, MOVE_CANCELLED: MOVED, DISCHARGE_CANCELLED: DISCHARGED}

hours = st.integers(min_value=0, max_value=11).map(lambda hour: f"{hour:02}:00")
places = st.sampled_from(["A", "B", "C"])
said = st.one_of(st.none(), st.just(""), places)
reports = st.one_of(st.none(), hours)


@st.composite
def exact(draw) -> Event:
    """An event whose cancellations name their time, without PV1-6 to infer from."""
    trigger = draw(st.sampled_from(["A01", "A02", "A02", "A03", "A08", "A11", "A12", "A13"]))
    prior = draw(places) if trigger == "A12" else None
    place = None if trigger == "A13" else draw(said)
    name = str(draw(st.integers(0, 2)))
    return adt(trigger, draw(hours), place, prior=prior, reported=draw(reports), name=name)


@st.composite
def anything(draw) -> Event:
    """Any event at all."""
    trigger = draw(st.sampled_from(["A01", "A04", "A02", "A02", "A03", "A11", "A12", "A13"]))
    by = draw(st.sampled_from(["EVN-6", "EVN-2"]))
    return adt(
        trigger, draw(hours), draw(said), prior=draw(said), reported=draw(reports), by=by,
        name=str(draw(st.integers(0, 2))),
    )  # fmt: skip


def taken_back(fact: Fact, facts: list[Fact]) -> bool:
    """Whether a cancellation of this kind, time and place was reported no earlier."""

    def names(cancel: Fact, other: Fact) -> bool:
        in_time = not (
            cancel.reported_at and other.reported_at and other.reported_at > cancel.reported_at
        )
        kind = TAKES.get(cancel.kind) == other.kind
        return kind and in_time and cancel.effective_at == other.effective_at

    for cancel in facts:
        if not names(cancel, fact):
            continue
        if cancel.kind != MOVE_CANCELLED or cancel.prior == fact.at:
            return True
        there = {other.at for other in facts if names(cancel, other)}
        if len(there) == 1 and cancel.prior not in there:
            return True
    return False


def where(facts: list[Fact], at: datetime) -> str | None:
    """Where the patient is: the last word of all that was said of the time up to ``at``."""
    words = [
        fact
        for fact in facts
        if fact.effective_at <= at
        and not taken_back(fact, facts)
        and (fact.kind == DISCHARGED or (fact.kind in (CREATED, MOVED) and fact.place is not None))
    ]
    last = max(words, key=lambda fact: fact.order, default=None)
    return None if last is None or last.kind == DISCHARGED else last.place or None


def told(found: Path, at: datetime) -> str | None:
    here = [s for s in found.stays if s.start <= at and (s.end is None or at < s.end)]
    return here[0].place if here else None


@settings(max_examples=1_500, deadline=None)
@given(st.lists(exact(), max_size=9))
def test_the_path_says_at_every_instant_what_the_slow_reading_says(events):
    facts = [Fact.of_event(event) for event in events]
    found = path(facts)
    for minutes in range(-30, 13 * 60, 30):
        at = clock("00:00") + timedelta(minutes=minutes)
        assert told(found, at) == where(facts, at)


@settings(max_examples=3_000, deadline=None)
@given(
    st.lists(anything(), max_size=9).flatmap(lambda e: st.tuples(st.just(e), st.permutations(e)))
)
def test_t12_the_path_of_anything_is_the_same_in_every_order_and_keeps_its_invariants(orders):
    events, shuffled = orders
    found = path(Fact.of_event(event) for event in events)
    assert path(Fact.of_event(event) for event in shuffled) == found
    assert path(Fact.of_event(event) for event in (*events, *shuffled)) == found


@settings(max_examples=1_000, deadline=None)
@given(st.lists(anything(), max_size=7))
def test_t9_t12_the_same_cancellation_again_changes_no_stay(events):
    facts = [Fact.of_event(event) for event in events]
    doubles = [
        Fact.of_event(Event(**{**event, "event_id": event["event_id"] + "+"}))
        for event in events
        if event["event_type"] in (CANCELLED, MOVE_CANCELLED, DISCHARGE_CANCELLED)
    ]
    before, after = path(facts), path([*facts, *doubles])
    assert [(s.place, s.start, s.end) for s in before.stays] == [
        (s.place, s.start, s.end) for s in after.stays
    ]
    assert before.status == after.status
