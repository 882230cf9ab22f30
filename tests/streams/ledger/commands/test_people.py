"""Departments, users and shifts: made once, changed, taken out of use and never deleted."""

import pytest

from streams.ledger.commands import shifts, users
from streams.ledger.commands.aggregate import FOUND, FOUNDED
from tests.streams.ledger.commands.working import NOW, SECOND, Stream, named

HOUR = 3_600 * SECOND


def department():
    made = Stream("department")
    assert made.ask("department.create", code="W2", name="Ward 2") == ["department.created"]
    return made


def user(**given):
    made = Stream("user")
    fields = {"name": "A Nurse", "email": "nurse@hospital.example", "role": "nurse", **given}
    assert made.ask("user.create", **fields) == ["user.created"]
    return made


def shift(hours=8):
    made = Stream("shift")
    fields = {
        "department_id": named("ward"), "supervisor_id": named("head"), "starts_at": NOW,
        "ends_at": NOW + hours * HOUR,
    }  # fmt: skip
    return made, made.ask("shift.schedule", **fields)


def test_a_department_is_created_updated_and_deactivated_and_comes_back():
    one = department()
    assert one.ask("department.update", name="Ward 2 West") == ["department.updated"]
    assert one.told[-1]["data"] == {"code": None}
    assert one.ask("department.deactivate", reason_code="closed") == ["department.deactivated"]
    assert one.ask("department.deactivate") == "not_active"
    assert one.ask("department.update") == ["department.updated"]
    assert one.ask("department.update") == "nothing_to_change"


def test_names_and_addresses_are_sealed():
    assert set(department().told[0]["sealed"]) == {"name"}
    assert set(user().told[0]["sealed"]) == {"name", "email"}
    assert user().told[0]["data"] == {"role": "nurse", "department_ids": []}


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"code": ""}, "code_invalid"),
        ({"code": "Ward of Mr Smith"}, "code_invalid"),
        ({"code": "x" * 51}, "code_invalid"),
        ({"name": ""}, "text_invalid"),
    ],
)
def test_a_department_without_code_or_name_is_refused(given, rule):
    fields = {"code": "W2", "name": "Ward 2", **given}
    assert Stream("department").ask("department.create", **fields) == rule


@pytest.mark.parametrize("kind", ["department", "user"])
def test_nothing_is_asked_of_what_is_not_there(kind):
    for command in ("update", "deactivate"):
        with pytest.raises(AssertionError, match=FOUND):
            Stream(kind).ask(f"{kind}.{command}")


def test_what_is_there_is_not_made_again():
    with pytest.raises(AssertionError, match=FOUNDED):
        department().ask("department.create", code="W2", name="Ward 2")
    one = user()
    fields = {"name": "B", "email": "b@hospital.example", "role": "nurse"}
    with pytest.raises(AssertionError, match=FOUNDED):
        one.ask("user.create", **fields)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"email": "nobody"}, "email_invalid"),
        ({"email": "a@b"}, "email_invalid"),
        ({"email": f"{'a' * 250}@b.ch"}, "email_invalid"),
        ({"name": "\n"}, "text_invalid"),
        ({"department_ids": [named("d")] * (users.DEPARTMENTS_MAX + 1)}, "too_many_departments"),
    ],
)
def test_a_user_who_is_none_is_refused(given, rule):
    fields = {"name": "A", "email": "a@hospital.example", "role": "nurse", **given}
    assert Stream("user").ask("user.create", **fields) == rule


def test_a_user_is_updated_deactivated_and_comes_back():
    one = user(department_ids=[named("b"), named("a"), named("a")])
    assert one.told[0]["data"]["department_ids"] == sorted([named("a"), named("b")])
    assert one.ask("user.update") == "nothing_to_change"
    assert one.ask("user.update", role="supervisor") == ["user.updated"]
    assert one.ask("user.deactivate") == ["user.deactivated"]
    assert one.ask("user.deactivate") == "not_active"
    assert one.ask("user.update", department_ids=[]) == ["user.updated"]


def test_a_user_is_linked_to_an_emr_instance_and_unlinked():
    one, epic = user(), {"emr_system": "EPIC", "authority": "HOSP-1"}
    assert one.ask("user.unlink_emr", **epic) == "not_linked"
    assert one.ask("user.link_emr", identity="10042", **epic) == ["user.emr_linked"]
    assert set(one.told[-1]["sealed"]) == {"identity"}
    assert one.ask("user.link_emr", identity="7", **{**epic, "authority": "\n"}) == (
        "authority_invalid"
    )
    assert one.ask("user.unlink_emr", **epic) == ["user.emr_unlinked"]
    assert one.ask("user.unlink_emr", **epic) == "not_linked"
    one.ask("user.deactivate")
    assert one.ask("user.link_emr", identity="10042", **epic) == "not_active"


def test_a_shift_is_scheduled_staffed_and_cancelled():
    one, answer = shift()
    assert answer == ["shift.scheduled"]
    assert one.ask("shift.assign", user_id=named("nurse")) == ["shift.assigned"]
    assert one.ask("shift.assign", user_id=named("nurse")) == "already_assigned"
    assert one.ask("shift.unassign", user_id=named("nurse")) == ["shift.unassigned"]
    assert one.ask("shift.unassign", user_id=named("nurse")) == "not_assigned"
    assert one.ask("shift.cancel") == ["shift.cancelled"]
    assert one.ask("shift.assign", user_id=named("nurse")) == "not_scheduled"
    assert one.ask("shift.cancel") == "not_scheduled"


@pytest.mark.parametrize(
    ("hours", "rule"), [(0, "times_order"), (-1, "times_order"), (49, "too_long")]
)
def test_a_shift_ends_after_it_starts_and_soon(hours, rule):
    assert shift(hours)[1] == rule
    assert shift(shifts.HOURS_MAX)[1] == ["shift.scheduled"]


def test_a_shift_has_as_many_people_as_the_limit_and_no_more():
    one, _ = shift()
    answers = [
        one.ask("shift.assign", user_id=named(f"nurse {number}"))
        for number in range(shifts.STAFF_MAX + 1)
    ]
    assert answers[-2:] == [["shift.assigned"], "too_many_staff"]


def test_nothing_is_asked_of_a_shift_that_is_not_there_nor_that_one_be_made_twice():
    with pytest.raises(AssertionError, match=FOUND):
        Stream("shift").ask("shift.cancel")
    one, _ = shift()
    fields = {
        "department_id": named("ward"), "supervisor_id": named("head"), "starts_at": NOW,
        "ends_at": NOW + HOUR,
    }  # fmt: skip
    with pytest.raises(AssertionError, match=FOUNDED):
        one.ask("shift.schedule", **fields)
