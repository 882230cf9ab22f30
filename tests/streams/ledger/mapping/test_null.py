"""T21: an empty field says nothing and HL7's null says that there is no value, field by field."""

import pytest

from streams.ledger.mapping.delimiters import NULL
from streams.ledger.mapping.table import RULES

# A trigger, the segment and field, a value; for each name of a draft's data.
DATA = {
    "place": ("A02", "pv1", 3, "W1^R2^B3"), "prior_place": ("A02", "pv1", 6, "W0"),
    "temporary_place": ("A09", "pv1", 11, "X1"), "pending_place": ("A09", "pv1", 42, "P1"),
    "prior_temporary_place": ("A10", "pv1", 43, "X0"), "planned_place": ("A15", "pv1", 42, "P1"),
    "patient_class": ("A02", "pv1", 2, "I"), "admission_type": ("A01", "pv1", 4, "E"),
    "hospital_service": ("A08", "pv1", 10, "CAR"),
}  # fmt: skip
# Ids, and times: of a null there is none, so it is as if nothing were said.
NO_NULL = {"attending_id", "movement_id", "movement_historic", "plan", "expected_at",
           "from_patient_id", "into_admission_id", "original_trigger"}  # fmt: skip
DEMOGRAPHICS = {
    "names": (5, "Rook^Ada"), "birth_date": (7, "19600229"), "sex": (8, "F"),
    "addresses": (11, "1 Elm^^York"), "phones": (13, "555"), "deceased_at": (29, "20260301"),
    "deceased": (30, "N"),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA)
def test_t21_a_field_of_a_visit_is_unchanged_unknown_or_said(adt, visit, name):
    trigger, segment, number, value = DATA[name]
    given = {"pv1": {2: "I", 3: "", 19: "V5^^^NORTH"}}

    def told(raw):
        return visit(adt(trigger, **{segment: given[segment] | {number: raw}})).data[name]

    assert told("") is None
    assert told(NULL) == ""
    assert told(f" {NULL} ") == ""
    assert told(value) == value


def test_t21_every_name_that_some_rule_says_is_looked_at():
    said = {name for rule in RULES.values() for name in rule.says}
    assert said <= set(DATA) | NO_NULL
    assert not set(DATA) & NO_NULL


@pytest.mark.parametrize("name", DEMOGRAPHICS)
def test_t21_a_field_of_a_person_is_left_out_none_or_said(adt, patient, name):
    number, value = DEMOGRAPHICS[name]
    plain = {5: "", 7: "", 8: ""}
    assert name not in patient(adt(pid=plain | {number: ""}))
    assert patient(adt(pid=plain | {number: NULL}))[name] is None
    assert patient(adt(pid=plain | {number: value}))[name]


def test_t21_a_null_inside_a_name_takes_that_part_back_alone(adt, patient):
    names = patient(adt(pid={5: f"Rook^{NULL}^^Jr", 11: f"{NULL}^^York"}))
    assert names["names"] == [{"family": "Rook", "given": None, "suffix": "Jr"}]
    assert names["addresses"] == [{"street": None, "city": "York"}]


@pytest.mark.parametrize(
    ("trigger", "given"),
    [
        ("A02", {"pv1": {7: NULL, 19: "V5"}}),
        ("A15", {"pv1": {19: "V5"}, "evn": {3: NULL}}),
        ("A02", {"pv1": {19: "V5"}, "more": (f"ZBE|{NULL}",)}),
        ("A01", {"pv1": {44: NULL, 19: "V5"}}),
    ],
)  # fmt: skip
def test_t21_a_null_where_an_id_or_a_time_belongs_is_none(adt, visit, trigger, given):
    draft = visit(adt(trigger, **given))
    assert draft.attending is None
    assert draft.movement is None
    assert draft.data.get("expected_at") is None
    assert draft.occurred_field == "EVN-2"


@pytest.mark.parametrize("field", [3, 18])
def test_t21_a_null_names_nobody_and_no_account(adt, mapped, field):
    told = mapped(adt(pid={3: "1001^^^NORTH", field: NULL} if field != 3 else {3: NULL}))
    if field == 3:
        assert told.reason.startswith("no patient")
    else:
        assert told.parts[0].account is None
