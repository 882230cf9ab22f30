"""The path against a slow reading of the same rules, instant by instant."""

from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from streams.trajectory.facts import (
    ABSENCES,
    CANCELLED,
    CREATED,
    DISCHARGE_CANCELLED,
    DISCHARGED,
    MOVE_CANCELLED,
    MOVED,
    MOVEMENT_UPDATED,
    Fact,
    identity,
)
from streams.trajectory.path import Path, path
from streams.trajectory.stays import Stay
from tests.streams.trajectory.visits import TYPES, adt, clock, movement
from tests.streams.trajectory.visits import said as said_by

TAKES = {CANCELLED: CREATED, MOVE_CANCELLED: MOVED, DISCHARGE_CANCELLED: DISCHARGED}

OFTEN = ("A01", "A02", "A02", "A03", "A09", "A09", "A10", "A10", "A21", "A22", "Z99")

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


@st.composite
def any_kind(draw) -> Event:
    """Any event of any kind, with movements' ids or without."""
    trigger = draw(st.sampled_from([*OFTEN, *TYPES]))
    more: dict[str, Any] = {}
    record = said_by(TYPES[trigger])
    for name in ("temporary_place", "prior_temporary_place", "pending_place", "planned_place"):
        if name in record:
            more[name] = draw(said)
    if "patient_class" in record:
        more["patient_class"] = draw(st.sampled_from([None, None, "I", "P"]))
    if "movement_id" in record and draw(st.booleans()):
        more["movement_id"] = movement(draw(st.integers(1, 3)))
        more["movement_historic"] = draw(st.sampled_from([False, False, True]))
    if trigger == "A45":
        more["patient_id"] = movement(draw(st.integers(1, 2)))
    if trigger == "A50":
        more["into_admission_id"] = movement(1)
    by = draw(st.sampled_from(["EVN-6", "ZBE-2", "EVN-2"]))
    return adt(
        trigger, draw(hours), draw(said), prior=draw(said), reported=draw(reports), by=by, **more
    )


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


@settings(max_examples=800, deadline=None)
@given(st.lists(exact(), max_size=9))
def test_the_path_says_at_every_instant_what_the_slow_reading_says(events):
    facts = [Fact.of_event(event) for event in events]
    found = path(facts)
    for minutes in range(-30, 13 * 60, 30):
        at = clock("00:00") + timedelta(minutes=minutes)
        assert told(found, at) == where(facts, at)


@settings(max_examples=1_000, deadline=None)
@given(
    st.lists(anything(), max_size=9).flatmap(lambda e: st.tuples(st.just(e), st.permutations(e)))
)
def test_t12_the_path_of_anything_is_the_same_in_every_order_and_keeps_its_invariants(orders):
    events, shuffled = orders
    found = path(Fact.of_event(event) for event in events)
    assert path(Fact.of_event(event) for event in shuffled) == found
    assert path(Fact.of_event(event) for event in (*events, *shuffled)) == found


@settings(max_examples=500, deadline=None)
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


@settings(max_examples=800, deadline=None)
@given(
    st.lists(any_kind(), max_size=10).flatmap(lambda e: st.tuples(st.just(e), st.permutations(e)))
)
def test_t12_t24_the_path_of_every_kind_is_the_same_in_every_order_and_keeps_its_invariants(orders):
    events, shuffled = orders
    found = path(Fact.of_event(event) for event in events)
    assert path(Fact.of_event(event) for event in (*shuffled, *events)) == found
    assert found == path(Fact.of_json(Fact.of_event(event).to_json()) for event in events)


@settings(max_examples=500, deadline=None)
@given(st.lists(any_kind(), max_size=10))
def test_t23_past_movements_never_move_anybody_now(events):
    facts = [Fact.of_event(event) for event in events]
    past = {fact.movement_id for fact in facts if fact.movement_historic}
    # An update that isn't of the past makes a past movement one of now.
    facts = [
        fact
        for fact in facts
        if fact.kind != MOVEMENT_UPDATED or fact.movement_historic or fact.movement_id not in past
    ]
    present = [fact for fact in facts if not fact.movement_historic]
    now, alone = path(facts), path(present)
    for (track, stays), (_, others) in zip(now.tracks[:2], alone.tracks[:2], strict=True):
        assert here(stays) == here(others), track


def here(stays: tuple[Stay, ...]) -> object:
    return identity(stays[-1].place) if stays and stays[-1].end is None else None


@settings(max_examples=500, deadline=None)
@given(st.lists(any_kind(), max_size=10))
def test_t16_t19_away_from_the_bed_is_away_from_it_alone(events):
    found = path(Fact.of_event(event) for event in events)
    away = any(event["event_type"] in ABSENCES for event in events)
    assert away or found.physical == found.stays
