"""What FHIR Encounters state of a visit: the same path as HL7 v2 tells of it (rule T27)."""

import itertools
import random
from uuid import UUID, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.clock import micros
from schemas.events import Event
from streams.read_models import ADMISSIONS
from streams.trajectory import PROJECTION
from streams.trajectory.facts import Fact
from streams.trajectory.path import path
from tests.streams.trajectory.test_oracle import any_kind
from tests.streams.trajectory.visits import (
    FEED,
    NAMES,
    PATIENT,
    VISIT,
    Tables,
    adt,
    arrive,
    batches,
    clock,
    shape,
)

OTHER = str(uuid5(NAMES, "another feed"))


def at(time):
    return None if time is None else micros(clock(time))


def stay(place, start=None, end=None, status="active", precision="second"):
    return {
        "place": place, "status": status, "started_at": at(start), "ended_at": at(end),
        "precision": precision if start else None,
    }  # fmt: skip


def stated(version, *stays, start="08:00", end=None, status="in-progress", reported="", feed=FEED,
           patient=PATIENT, name="", numbered=True) -> Event:  # fmt: skip
    """One version of the Encounter; reported in its version's hour after noon, if not said."""
    told = f"{12 + version}:30" if reported == "" else reported
    event = adt(
        "Encounter", start or "00:00", reported=told, by="Encounter.period", name=f"{feed}{name}",
        version=str(version), version_number=version if numbered else None, status=status,
        period_started_at=at(start), period_ended_at=at(end), stays=list(stays),
        patient_id=patient, visit_number=b"sealed",
    )  # fmt: skip
    return Event(**{**event, "feed_id": feed})


def found(*events):
    """The path, the same for every order of the facts (up to five of them)."""
    facts = [Fact.of_event(event) for event in events]
    first = path(facts)
    if len(facts) <= 5:
        assert {path(order) for order in itertools.permutations(facts)} == {first}
    assert path(Fact.of_json(fact.to_json()) for fact in facts) == first
    return first


def stays(*events):
    return shape(found(*events).stays)


A, B, C = "W1^R^1", "W2^R^1", "W3^R^1"
ONE = stated(1, stay(A, "08:00"))
TWO = stated(2, stay(A, "08:00", "10:00", "completed"), stay(B, "10:00"))


def test_t27_active_and_completed_places_with_a_start_become_stays():
    assert stays(TWO) == [f"{A} 08:00-10:00", f"{B} 10:00-"]
    unsaid = stated(1, stay(A, "08:00", "10:00", None), stay(B, "10:00", None, None))
    assert stays(unsaid) == [f"{A} 08:00-10:00", f"{B} 10:00-"]


def test_t27_planned_and_reserved_places_and_those_without_a_start_never_do():
    said = stated(
        1, stay(A, "08:00"), stay(B, "09:00", None, "planned"),
        stay(C, "10:00", None, "reserved"), stay(B), stay("^^^^O", "11:00"), stay(None, "12:00"),
    )  # fmt: skip
    result = found(said)
    assert shape(result.stays) == [f"{A} 08:00-"]
    assert shape(result.planned) == [f"{B} 13:30-"], "from when it was told"
    assert result.planned[0].start_field == "reported"


def test_t27_a_place_reserved_is_planned_since_it_was_told_first_until_the_patient_is_there():
    ahead = [stay(A, "08:00"), stay(B, None, None, "reserved")]
    first, again = stated(1, *ahead), stated(2, *ahead, end="20:00")
    assert shape(found(first, again).planned) == [f"{B} 13:30-"]
    there = adt("A02", "15:00", B)
    assert shape(found(first, again, there).planned) == [f"{B} 13:30-15:00"]
    assert found(first, again, stated(3, stay(A, "08:00"))).planned == ()


def test_t27_when_it_was_last_updated_moves_nobody():
    late = stated(1, stay(A, "08:00"), reported="23:00")
    early = stated(1, stay(A, "08:00"), reported="08:00")
    assert stays(late) == stays(early) == [f"{A} 08:00-"]
    assert found(stated(1, stay(A), start=None)).stays == ()


def test_t27_the_newest_version_stands_alone_whatever_order_they_come_in():
    three = stated(3, stay(A, "08:00", "11:00", "completed"), stay(C, "11:00"))
    assert stays(ONE, TWO, three) == [f"{A} 08:00-11:00", f"{C} 11:00-"]


def test_t27_versions_go_by_number_then_by_when_they_were_told():
    ten, nine = stated(10, stay(B, "08:00"), reported="09:00"), stated(9, stay(A, "08:00"))
    assert stays(ten, nine) == [f"{B} 08:00-"]
    same = stated(10, stay(C, "08:00"), reported="10:00")
    assert stays(ten, same, nine) == [f"{C} 08:00-"]
    odd = stated(1, stay(C, "08:00"), numbered=False, reported="23:30")
    assert stays(ten, nine, odd) == [f"{C} 08:00-"], "not all have a number: by time"


def test_t27_an_end_that_no_place_follows_leaves_the_patient_nowhere_known():
    gap = stated(1, stay(A, "08:00", "10:00"), stay(B, "12:00"))
    assert stays(gap) == [f"{A} 08:00-10:00", f"{B} 12:00-"]
    assert found(gap).status == "active"
    assert found(stated(1, stay(A, "08:00", "10:00"))).status == "active"


def test_t27_an_end_says_nothing_where_somebody_knows_better():
    left = stated(1, stay(A, "08:00", "10:00"), reported="23:00")
    assert stays(left, adt("A02", "10:00", B)) == [f"{A} 08:00-10:00", f"{B} 10:00-"]
    assert stays(left, adt("A02", "09:00", B)) == [f"{A} 08:00-09:00", f"{B} 09:00-"]
    assert stays(left, adt("A02", "11:00", B)) == [f"{A} 08:00-10:00", f"{B} 11:00-"]


def test_t27_an_end_says_nothing_of_whoever_comes_back_at_that_time():
    left = stated(1, stay(A, "08:00", "10:00"), reported="23:00")
    away, back = adt("A02", "09:00", B, prior=A), adt("A02", "10:00", A, prior=B)
    assert stays(left, away, back) == [f"{A} 08:00-09:00", f"{B} 09:00-10:00", f"{A} 10:00-"]


def test_t27_who_leaves_a_ward_leaves_its_beds():
    ward = stated(1, stay("W1", "07:00", "10:00"), start="07:00")
    assert stays(ward, adt("A02", "08:00", A)) == ["W1 07:00-08:00", f"{A} 08:00-10:00"]


def test_t27_a_finished_visit_ends_with_its_period_else_with_its_last_place():
    over = stated(2, stay(A, "08:00", "10:00"), end="12:00", status="finished")
    assert stays(ONE, over) == [f"{A} 08:00-10:00"]
    assert found(over).discharged_at == clock("12:00")
    assert found(over).status == "discharged"
    open_place = stated(2, stay(A, "08:00"), end="12:00", status="finished")
    assert stays(open_place) == [f"{A} 08:00-12:00"]
    by_place = stated(2, stay(A, "08:00", "10:00"), status="finished")
    assert (stays(by_place), found(by_place).discharged_at) == (
        [f"{A} 08:00-10:00"], clock("10:00"),
    )  # fmt: skip


def test_t27_what_begins_after_the_end_of_a_finished_visit_never_was():
    odd = stated(1, stay(A, "08:00"), stay(B, "13:00"), end="12:00", status="finished")
    assert stays(odd) == [f"{A} 08:00-12:00"]
    backwards = stated(1, stay(A, "08:00"), end="07:00", status="finished")
    assert stays(backwards) == [f"{A} 08:00-"]


def test_t27_a_visit_in_progress_ends_with_no_period():
    assert stays(stated(1, stay(A, "08:00"), end="12:00")) == [f"{A} 08:00-"]


@pytest.mark.parametrize(
    ("status", "shown"),
    [("planned", "planned"), ("finished", "discharged"), ("in-progress", "active"),
     ("cancelled", "cancelled"), ("unknown", "active"), (None, "active")],
)  # fmt: skip
def test_t27_a_visit_without_any_time_stands_as_its_encounter_says(status, shown):
    result = found(stated(1, start=None, status=status))
    assert (result.status, result.stays) == (shown, ())


def test_t27_an_encounter_that_was_an_error_from_the_first_is_no_visit():
    assert found(stated(1, stay(A, "08:00"), status="entered-in-error")).status is None


@pytest.mark.parametrize(
    ("status", "shown"), [("entered-in-error", "deleted"), ("cancelled", "cancelled")]
)
def test_t27_an_error_takes_back_every_stay_of_the_visit_as_long_as_it_is_the_newest(status, shown):
    error = stated(3, stay(A, "08:00"), status=status)
    told = (ONE, TWO, adt("A02", "11:00", C, prior=B))
    result = found(*told, error)
    assert (result.stays, result.status) == ((), shown)
    back = stated(4, stay(A, "08:00", "10:00"), stay(B, "10:00"))
    assert shape(found(*told, error, back).stays) == [
        f"{A} 08:00-10:00", f"{B} 10:00-11:00", f"{C} 11:00-",
    ]  # fmt: skip


def test_t27_what_is_told_after_the_error_stands():
    error = stated(2, status="entered-in-error", reported="12:00")
    later = adt("A01", "13:00", C)
    assert stays(ONE, error, adt("A02", "11:00", B), later) == [f"{C} 13:00-"]
    other = stated(1, stay(B, "08:00"), feed=OTHER, reported="13:00")
    assert stays(ONE, error, other) == [f"{B} 08:00-"]


def test_t27_a_planned_encounter_is_a_visit_to_come_and_no_stay():
    ahead = stated(1, stay(A, "08:00", None, None), status="planned")
    result = found(ahead)
    assert (result.stays, result.status) == ((), "planned")
    assert shape(result.planned) == [f"{A} 13:30-"]
    assert found(ahead, TWO).status == "active"
    assert stays(ahead, TWO) == [f"{A} 08:00-10:00", f"{B} 10:00-"]


def test_t27_each_feed_has_a_newest_version_of_its_own():
    theirs = stated(1, stay(C, "11:00"), feed=OTHER, start="11:00")
    assert stays(ONE, TWO, theirs) == [f"{A} 08:00-10:00", f"{B} 10:00-11:00", f"{C} 11:00-"]


def test_t27_of_places_at_one_time_the_most_exact_counts_then_the_last_to_begin():
    nested = stated(1, stay(A, "08:00", "10:00"), stay("W1", "08:00", "12:00"), stay(B, "11:00"))
    assert stays(nested) == [f"{A} 08:00-10:00", "W1 10:00-11:00", f"{B} 11:00-"]
    visit = stated(1, stay(A, "08:00"), stay(B, "09:00", "10:00"))
    assert stays(visit) == [f"{A} 08:00-09:00", f"{B} 09:00-10:00", f"{A} 10:00-"]


def test_t27_as_many_places_at_once_as_an_encounter_may_state_are_read():
    places = [stay(f"W{n}^R^1", f"{8 + n // 60:02}:{n % 60:02}") for n in range(500)]
    shown = stays(stated(1, *places))
    assert len(shown) == 500
    assert shown[-1] == "W499^R^1 16:19-"


def test_t24_a_place_of_no_length_or_that_ends_before_it_begins_is_no_stay():
    odd = stated(1, stay(A, "08:00", "08:00"), stay(B, "09:00", "08:30"), stay(C, "10:00"))
    assert stays(odd) == [f"{C} 10:00-"]


def test_t27_a_place_belongs_to_whom_the_newest_version_names():
    other = str(UUID(int=9))
    given = stated(2, stay(A, "08:00"), patient=other)
    tables = Tables(PROJECTION)
    tables.apply(arrive([ONE, given]))
    points = current(tables)
    assert {point["patient_id"] for point in points} == {other}
    assert stays(ONE, given) == [f"{A} 08:00-"]


def test_t2_a_cancellation_takes_back_what_was_stated_before_it_and_not_after():
    cancel = adt("A12", "10:00", A, prior=B, reported="15:00")
    before = stated(2, stay(A, "08:00", "10:00"), stay(B, "10:00"), reported="14:00")
    after = stated(2, stay(A, "08:00", "10:00"), stay(B, "10:00"), reported="16:00")
    assert B not in " ".join(stays(before, cancel))
    assert stays(after, cancel) == [f"{A} 08:00-10:00", f"{B} 10:00-"]


def test_t27_a_deletion_takes_back_what_was_stated_before_it():
    assert found(ONE, adt("A23", "14:00", A)).status == "deleted"
    assert stays(ONE, adt("A23", "14:00", A), TWO) == [f"{A} 08:00-10:00", f"{B} 10:00-"]


# --- as v2, as FHIR, and as both ------------------------------------------------------------------

V2 = [
    adt("A01", "08:00", A), adt("A02", "10:00", B, prior=A), adt("A02", "11:00", C, prior=B),
    adt("A12", "11:00", B, prior=C, reported="11:20"), adt("A03", "13:00", B),
    adt("A13", "13:00", B, reported="13:20"), adt("A02", "14:00", A, prior=B),
    adt("A03", "16:00", A),
]  # fmt: skip
IN_A = stay(A, "08:00", "10:00", "completed")
FHIR = [
    stated(1, stay(A, "08:00"), reported="08:01"),
    stated(2, IN_A, stay(B, "10:00"), reported="10:01"),
    stated(3, IN_A, stay(B, "10:00", "11:00"), stay(C, "11:00"), reported="11:01"),
    stated(4, IN_A, stay(B, "10:00"), reported="11:21"),
    stated(5, IN_A, stay(B, "10:00", "13:00"), status="finished", end="13:00", reported="13:01"),
    stated(6, IN_A, stay(B, "10:00"), reported="13:21"),
    stated(7, IN_A, stay(B, "10:00", "14:00"), stay(A, "14:00"), reported="14:01"),
    stated(8, IN_A, stay(B, "10:00", "14:00"), stay(A, "14:00", "16:00"), status="finished",
           end="16:00", reported="16:01"),
]  # fmt: skip
WHOLE = [f"{A} 08:00-10:00", f"{B} 10:00-14:00", f"{A} 14:00-16:00"]


def rows(events, cuts):
    tables = Tables(PROJECTION)
    for batch in batches(arrive(events), cuts):
        tables.apply(batch)
    return tables


def current(tables):
    return [
        point for point in tables.table("trajectory_points").values()
        if point["known_to"] is None and point["retracted_at"] is None
    ]  # fmt: skip


def standing(tables):
    """The points as now known, as far as the journey decides and not who told it."""
    return sorted(
        (p["track"], p["location"], p["effective_at"], p["ended_at"], p["patient_id"])
        for p in current(tables)
    )


def test_t27_a_journey_is_the_same_as_v2_as_fhir_and_as_both_in_any_order():
    assert stays(*V2) == stays(*FHIR) == WHOLE
    assert found(*V2).status == found(*FHIR).status == "discharged"
    wanted = standing(rows(V2, 0))
    assert standing(rows(FHIR, 0)) == wanted
    rng = random.Random(27)
    for _ in range(200):
        both = [*V2, *FHIR]
        rng.shuffle(both)
        assert standing(rows(both, rng.getrandbits(15))) == wanted


def test_t27_a_journey_is_the_same_at_every_step_of_the_way():
    for number in range(1, len(V2) + 1):
        assert stays(*V2[:number]) == stays(*FHIR[:number]), number
        assert stays(*V2[:number], *FHIR[:number]) == stays(*V2[:number]), number


def test_t27_the_admission_stands_the_same_by_v2_and_by_fhir():
    shown = []
    for events in (V2, FHIR, [*FHIR, *V2]):
        tables = Tables(ADMISSIONS)
        for event in arrive(events):
            tables.apply([event])
        shown.append(tables.table("admission_read_models")[VISIT]["data"])
    names = ("status", "admit_date", "discharge_date", "current_location", "patient_id")
    assert len({tuple(each[name] for name in names) for each in shown}) == 1


def test_t27_a_version_that_changes_nothing_writes_no_point():
    tables = Tables(PROJECTION)
    same = stated(3, *TWO["data"]["stays"])
    first, second, third = arrive([ONE, TWO, same])
    tables.apply([first])
    tables.apply([second])
    changes = tables.apply([third])
    assert [change.table.name for change in changes] == ["trajectory_facts"]
    began = {point["location"]: point["start_event_id"] for point in current(tables)}
    assert began == {A: first["event_id"], B: second["event_id"]}


def test_t27_what_was_said_before_an_error_is_said_anew_after_it():
    tables = Tables(PROJECTION)
    error = stated(2, stay(A, "08:00"), status="entered-in-error")
    again = stated(3, stay(A, "08:00"))
    tables.apply(arrive([ONE, error, again]))
    assert {point["start_event_id"] for point in current(tables)} == {again["event_id"]}


def test_t27_a_fact_keeps_what_was_stated_and_by_which_feed():
    tables = Tables(PROJECTION)
    tables.apply(arrive([TWO]))
    [row] = tables.table("trajectory_facts").values()
    assert row["stays"]["version_number"] == 2
    assert Fact.of_row(row).statement == Fact.of_event(TWO).statement
    assert Fact.of_row(row).statement.feed_id == FEED


hours = st.integers(min_value=0, max_value=11)
PLACES = st.sampled_from([A, B, C, "W1", ""])
STATUSES = st.sampled_from([None, "active", "active", "completed", "planned", "reserved", "odd"])


@st.composite
def statements(draw) -> Event:
    """Any version of an Encounter at all."""
    some = []
    for _ in range(draw(st.integers(0, 4))):
        start, end = draw(st.one_of(st.none(), hours)), draw(st.one_of(st.none(), hours))
        times = (None if each is None else f"{each:02}:00" for each in (start, end))
        some.append(stay(draw(PLACES), *times, draw(STATUSES)))
    visit = ["in-progress", "in-progress", "finished", "planned", "entered-in-error", "cancelled"]
    return stated(
        draw(st.integers(1, 4)), *some, start=draw(st.sampled_from([None, "00:00", "04:00"])),
        end=draw(st.sampled_from([None, "03:00", "08:00"])), status=draw(st.sampled_from(visit)),
        reported=draw(st.sampled_from([None, "01:00", "05:00", "09:00"])),
        feed=draw(st.sampled_from([FEED, OTHER])), numbered=draw(st.booleans()),
        patient=draw(st.sampled_from([PATIENT, PATIENT, str(UUID(int=9))])),
    )  # fmt: skip


MIXED = st.lists(st.one_of(statements(), any_kind()), max_size=9)


@settings(max_examples=600, deadline=None)
@given(MIXED.flatmap(lambda events: st.tuples(st.just(events), st.permutations(events))))
def test_t27_t12_t24_any_mixture_is_the_same_in_every_order_and_keeps_its_invariants(orders):
    events, shuffled = orders
    first = path(Fact.of_event(event) for event in events)
    assert path(Fact.of_event(event) for event in (*shuffled, *events)) == first
    assert path(Fact.of_json(Fact.of_event(event).to_json()) for event in events) == first
    told = {event["event_id"] for event in events}
    for _, track in first.tracks:
        for each in track:
            assert each.start_event_id in told
            assert each.end_event_id is None or each.end_event_id in told


@settings(max_examples=150, deadline=None)
@given(MIXED.flatmap(lambda e: st.tuples(st.permutations(e), st.permutations(e))), st.integers(0))
def test_t27_t12_any_mixture_has_the_same_points_in_every_order_and_batches(orders, cuts):
    one, other = ({event["event_id"]: event for event in order}.values() for order in orders)
    assert standing(rows(list(one), cuts)) == standing(rows(list(other), 0))


@st.composite
def journeys(draw):
    """A visit's places by the hour, told both ways."""
    turns = sorted(draw(st.sets(hours, min_size=1, max_size=6)))
    wards = [draw(st.sampled_from([A, B, C])) for _ in turns]
    over = draw(st.booleans())
    v2, fhir, so_far = [], [], []
    for number, (hour, ward) in enumerate(zip(turns, wards, strict=True)):
        time = f"{hour:02}:00"
        v2.append(adt("A02" if number else "A01", time, ward))
        so_far = [*so_far[:-1], *[{**each, "ended_at": at(time)} for each in so_far[-1:]]]
        so_far = [*so_far, stay(ward, time)]
        fhir.append(
            stated(number + 1, *so_far, start=f"{turns[0]:02}:00", reported=f"{hour:02}:10")
        )
    if over:
        v2.append(adt("A03", "12:00", wards[-1]))
        fhir.append(
            stated(9, *so_far, start=f"{turns[0]:02}:00", end="12:00", status="finished",
                   reported="12:10")
        )  # fmt: skip
    return v2, fhir, draw(st.permutations([*v2, *fhir]))


@settings(max_examples=300, deadline=None)
@given(journeys())
def test_t27_any_journey_is_the_same_as_v2_as_fhir_and_as_both(journey):
    v2, fhir, both = (path(Fact.of_event(event) for event in told) for told in journey)
    assert shape(v2.stays) == shape(fhir.stays) == shape(both.stays)
    assert v2.status == fhir.status == both.status
    assert (v2.admitted_at, v2.discharged_at) == (both.admitted_at, both.discharged_at)
