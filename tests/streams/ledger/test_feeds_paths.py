"""What real feeds send, by number: times, movements, merges, places, with messages made for it."""

from itertools import permutations

import pytest

from schemas.place import Place
from sinks import tenancy
from tests.streams.ledger.feeds import (
    ADMITTED,
    JOURNEY,
    MOVED,
    PID,
    at,
    clock,
    event,
    line,
    made,
    of,
    outcomes,
    stays,
    visit,
    whole,
)
from tests.streams.ledger.told import TENANT, adt, wiped

__all__ = ["line", "whole"]

pytestmark = pytest.mark.stack


def test_f15_what_happened_orders_a_journey_and_not_when_it_was_told(line):
    late = made(event("A02", "10:00", recorded="18:00"), PID, visit("W2^R1^B1"), kind="ADT^A02")
    next_ = made(event("A02", "11:00", recorded="11:01"), PID, visit("W3^R1^B1"), kind="ADT^A02")
    nonsense = ADMITTED.replace(b"20260302090000||ADT", b"99999999||ADT")
    for order in permutations((nonsense, late, next_)):
        line.send(*order)
        assert stays(line) == [
            ("W1^R2^B3", "09:00", "10:00"), ("W2^R1^B1", "10:00", "11:00"),
            ("W3^R1^B1", "11:00", None),
        ]  # fmt: skip
        wiped(line)


def test_f15_without_evn_6_it_happened_when_it_was_recorded(line):
    line.send(made(event("A01", "09:00", occurred=False), PID, visit()))
    assert stays(line) == [("W1^R2^B3", "09:00", None)]


@pytest.mark.parametrize(
    "time",
    ["", "2", "202", "2026", "202603", "20260302", "2026030209", "202603020900", "20260302090000",
     "20260302090000.1234", "202603020900+0115", "20260302090000+0100", "20260302090000.1234-0500",
     "2026-03-02T09:00:00Z", "Mon Mar 02 09:00:00 2026 in the morning, I think it", "00000000"],
)  # fmt: skip
def test_f16_times_of_any_length_are_read_as_far_as_they_say_or_not_at_all(line, time):
    born = PID.replace("19600229", "196002291530")
    line.send(
        made(f"EVN|A01|{time}||||{time}", born, visit()),
        made(event("A02", "23:00"), born, visit("W2^R1^B1"), kind="ADT^A02"),
    )
    assert [outcome for outcome, _ in outcomes(line)] == ["applied"] * 2
    assert stays(line)[-1] == ("W2^R1^B1", "23:00", None)


def set_zone(line, zone):
    tenancy.set_feed(line.store.database, TENANT, f"t{TENANT.int}", {"zone": zone})


def test_f17_an_hour_that_comes_twice_makes_one_path_in_any_order(line):
    set_zone(line, "Europe/London")
    told = [
        made(
            f"EVN|{trigger}|20261025{when}||||20261025{when}",
            PID,
            visit(bed),
            kind=f"ADT^{trigger}",
        )
        for trigger, when, bed in (
            ("A01", "003000", "W1^R1^B1"),
            ("A02", "013000", "W2^R1^B1"),
            ("A02", "013000", "W2^R1^B1"),
            ("A02", "023000", "W3^R1^B1"),
        )
    ]
    found = []
    for order in (told, told[::-1], [told[2], told[0], told[3], told[1]]):
        line.send(*order)
        found.append(stays(line))
        wiped(line)
    set_zone(line, "UTC")
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 3


def test_f18_a_cancelled_move_is_no_second_move_and_may_come_first(line):
    cancel = made(event("A12", "10:00", recorded="10:30"), PID,
                  visit("X9^UNRELATED", f6="W2^R1^B1"), kind="ADT^A12")  # fmt: skip
    for order in permutations((ADMITTED, MOVED, cancel)):
        line.send(*order)
        assert stays(line) == [("W1^R2^B3", "09:00", None)]
        wiped(line)


def test_f19_an_end_in_pv1_45_closes_nothing_and_an_a11_goes_by_its_time(line):
    gone = made(event("A03", "12:00"), PID, visit("W2^R1^B1", f45=at("12:00")), kind="ADT^A03")
    back = made(event("A13", "12:00", recorded="12:10"), PID,
                visit("W2^R1^B1", f45=at("12:00")), kind="ADT^A13")  # fmt: skip
    moved = made(event("A02", "13:00"), PID, visit("W3^R1^B1", f45=at("12:00")), kind="ADT^A02")
    line.send(ADMITTED, MOVED, gone, back, moved)
    assert stays(line)[-1] == ("W3^R1^B1", "13:00", None)
    assert of(line).discharged_at is None
    wiped(line)
    cancel = made(event("A11", "09:00", recorded="09:20"), PID, visit(), kind="ADT^A11")
    line.send(ADMITTED, cancel)
    assert stays(line) == []


@pytest.mark.parametrize("trigger", ["A05", "A14", "A15", "A16", "A25", "A26", "A27"])
@pytest.mark.parametrize("bed", ["W7^R7^B7", ""])
def test_f20_what_is_planned_or_called_off_puts_nobody_anywhere(line, trigger, bed):
    line.send(ADMITTED, made(event(trigger, "10:00"), PID, visit(bed), kind=f"ADT^{trigger}"))
    assert stays(line) == [("W1^R2^B3", "09:00", None)]


def test_f20_an_update_without_a_place_or_a_class_clears_nothing(line):
    line.send(
        ADMITTED,
        made(event("A08", "09:30"), PID, visit("", cls="N"), kind="ADT^A08"),
        made(event("A31", "09:40"), PID, "PV1||N|", kind="ADT^A31"),
        made(event("A02", "10:00"), PID, visit(""), kind="ADT^A02"),
    )
    assert stays(line)[0][0] == "W1^R2^B3"
    assert {place for place, *_ in stays(line)} == {"W1^R2^B3"}


@pytest.mark.parametrize(("trigger", "cls"), [("A06", "I"), ("A07", "O")])
def test_f21_a_change_of_class_moves_too(line, trigger, cls):
    line.send(ADMITTED, made(event(trigger, "10:00"), PID, visit("W2^R1^B1", cls=cls),
                             kind=f"ADT^{trigger}"))  # fmt: skip
    assert stays(line) == JOURNEY


def test_f21_who_leaves_the_bed_keeps_it_until_an_arrival_elsewhere_says_otherwise(line):
    left = made(event("A09", "10:00"), PID, visit("", f6="W1^R2^B3", f11="XRAY^1"), kind="ADT^A09")
    came = made(event("A10", "10:20"), PID, visit("", f11="XRAY^1"), kind="ADT^A10")
    line.send(ADMITTED, left, came)
    assert stays(line) == [("W1^R2^B3", "09:00", None)]
    assert stays(line, track="physical")[-1][0] == "XRAY^1"
    wiped(line)
    left = made(event("A09", "10:00"), PID, visit("", f6="W1^R2^B3"), kind="ADT^A09")
    came = made(event("A10", "10:20"), PID, visit("W5^R1^B1"), kind="ADT^A10")
    gone = made(event("A03", "12:00"), PID, visit("W5^R1^B1"), kind="ADT^A03")
    line.send(ADMITTED, left, came, gone)
    assert stays(line)[-1][0] == "W5^R1^B1"
    assert clock(of(line).discharged_at) == "12:00"


def test_f22_who_is_merged_brings_their_visits_and_a_moved_visit_goes_alone(line):
    line.send(adt("A01", "A", visit="VA"), adt("A01", "B", visit="VB"), adt("A01", "B", visit="VC"))
    line.send(adt("A45", "A", visit="VC", mrg="B", mrg_visit="VC", minute=3))
    assert line.visits()[line.admission("VC")] == line.patient("A")
    assert line.visits()[line.admission("VB")] == line.patient("B")
    line.send(adt("A40", "A", mrg="B", minute=5, visit=""))
    assert line.survivor("B") == line.survivor("A") == line.patient("A")


def test_f23_the_account_stands_in_for_a_visit_number_that_lacks(line):
    account = PID + "||||||||||V1^^^NORTH^AN"
    for body in (ADMITTED, MOVED):
        line.send(body.replace(PID.encode(), account.encode()).replace(b"V1^^^NORTH^VN", b""))
    assert stays(line) == JOURNEY


@pytest.mark.parametrize("cls", ["I", "O", "E", "N", "R", "U", "EMERGENCY", "DAY CASE", "Inpatient",
                                 "99", "i"])  # fmt: skip
def test_f23_a_class_of_any_name_is_a_class(line, cls):
    line.send(made(event("A01", "09:00"), PID, visit(cls=cls)))
    assert stays(line) == [("W1^R2^B3", "09:00", None)]


@pytest.mark.parametrize(
    ("sent_as", "care", "room", "bed"),
    [
        ("ICU", "ICU", "", ""),
        ("ICU&Intensive^R1^B2", "ICU&Intensive", "R1", "B2"),
        ("W1^R2^B3^FAC^S^C^BLD^FLR^DESC^ID1^X", "W1", "R2", "B3"),
        ("A\\T\\E^R1^B1", "A&E", "R1", "B1"),
        ("W1^Corridor by the window^T3", "W1", "Corridor by the window", "T3"),
        ("^^B7", "", "", "B7"),
    ],
)
def test_f24_a_place_is_kept_as_far_as_it_is_said(line, sent_as, care, room, bed):
    line.send(made(event("A01", "09:00"), PID, visit(sent_as)))
    [(outcome, _)] = outcomes(line)
    assert outcome == "applied"
    [(found, *_)] = stays(line)
    place = Place.parse(found)
    assert (place.point_of_care, place.room, place.bed) == (care, room, bed)
