"""Patients: whom they name, their demographics, who replaces whom (rules M7, I6)."""

from dataclasses import replace

import pytest

from schemas.events import TYPES
from streams.ledger.mapping.facts import Part, Unmappable
from tests.streams.ledger.mapping.fhir.resources import (
    BASE,
    SOURCE,
    bundle,
    draft,
    mapped,
    mrn,
    patient,
)


def changes(facts):
    """What is told of two patients: (event, whose numbers, whose patient that is)."""
    return [
        (change.event_type.removeprefix("patient."), change.source[0].value, claimed(part)[0])
        for part in facts.parts
        for change in part.changes
    ]


def claimed(part):
    return [one.value for one in part.claim.identifiers]


def earlier(*resources):
    return replace(SOURCE, earlier={f"Patient/{each['id']}": each for each in resources})


RETIRED = patient("b", "B", active=False, links=[("replaced-by", "Patient/a")])
SURVIVOR = patient("a", "A", links=[("replaces", "Patient/b")])


def test_a_patient_is_its_preferred_identifiers_first_and_its_id_last():
    several = patient("p", "M")
    several["identifier"] = [
        mrn("S", kind="SS", system="urn:ssn"), {"system": "urn:none"}, mrn("V", kind="VN"),
        {**mrn("O"), "use": "old"}, mrn("M"), mrn("M"),
    ]  # fmt: skip
    [part] = mapped(several).parts
    assert claimed(part) == ["M", "S", "p"]
    assert [one.type for one in part.claim.identifiers] == ["MR", "SS", "FHIR id"]
    assert [one.authority for one in part.claim.identifiers] == ["NORTH", "urn:ssn", BASE]
    assert part.claim.visit is None


def test_a_patient_without_any_name_of_its_own_is_refused():
    nobody = patient("p")
    del nobody["id"]
    with pytest.raises(Unmappable, match="no_patient: neither"):
        mapped(nobody)


def test_demographics_have_the_names_that_v2_gives_them_and_are_to_be_sealed():
    said = draft(
        patient(
            "p", "A", gender="female", birthDate="1902-01-03T00:00:00Z",
            name=[{"use": "official", "family": "Rook", "given": ["Ada", "May"],
                   "suffix": ["Jr"]}],
            address=[{"line": ["1 Elm", "Flat 2"], "city": "York", "postalCode": "Y1",
                      "use": "home"}],
            telecom=[{"system": "phone", "value": "55", "use": "home"},
                     {"system": "email", "value": "a@b.example"}, {"system": "url", "value": "u"}],
            deceasedDateTime="2026-03-01",
        )
    )  # fmt: skip
    assert {*said.clear} == {*TYPES["patient.updated"].sealed} - {"z_segments"}
    assert said.data == {"trigger": "Patient", "reported_at": said.occurred.micros}
    found = said.clear["demographics"]
    assert found["names"] == [
        {"family": "Rook", "given": "Ada", "middle": "May", "suffix": "Jr", "type": "official"}
    ]
    assert (found["birth_date"], found["sex"], found["deceased"]) == ("1902-01-03", "F", "Y")
    assert found["addresses"] == [
        {"street": "1 Elm", "other": "Flat 2", "city": "York", "postal_code": "Y1", "type": "home"}
    ]
    assert found["phones"] == [
        {"use": "PRN", "number": "55"}, {"use": "ORN", "email": "a@b.example"},
    ]  # fmt: skip
    assert found["deceased_at"]["precision"] == "day"
    assert "A" not in repr(said.data)


def test_what_a_patient_does_not_say_is_left_out():
    assert draft({"resourceType": "Patient", "id": "p"}).clear == {"demographics": {}}
    assert draft(patient("p", deceasedBoolean=False)).clear["demographics"] == {"deceased": "N"}


def test_m7_who_is_replaced_is_the_one_who_replaces_from_either_side():
    assert changes(mapped(RETIRED)) == [("merged", "B", "a")]
    assert changes(mapped(SURVIVOR)) == [("merged", "b", "A")]
    both = mapped(bundle(RETIRED, SURVIVOR))
    assert changes(both) == [("merged", "B", "A"), ("merged", "B", "A")]
    told = [change for part in both.parts for change in part.changes]
    assert len({change.ordinal for change in told}) == 2
    assert {change.kind for change in told} == {"merge"}


def test_m7_a_patient_who_is_replaced_says_nothing_of_the_other_but_that():
    own, other = mapped(RETIRED).parts
    assert claimed(own)[0] == "B"
    assert [each.event_type for each in own.drafts] == ["patient.updated"]
    assert (other.drafts, claimed(other)) == ((), ["a"])


def test_m7_the_other_may_be_named_by_an_identifier_alone():
    by_number = patient("b", "B", active=False, links=[("replaced-by", {"identifier": mrn("A")})])
    assert changes(mapped(by_number)) == [("merged", "B", "A")]


@pytest.mark.parametrize(
    "one",
    [
        patient("b", "B", links=[("replaced-by", "Patient/a")]),
        patient("a", "A", active=False, links=[("replaces", "Patient/b")]),
        patient("b", "B", active=False, links=[("seealso", "Patient/a"), ("refer", "Patient/c")]),
        patient("b", "B", active=False),
        patient("b", "B", active=False, links=[("replaced-by", {"display": "Rook"})]),
        patient("b", "B", active=False, links=[("replaced-by", "Patient/b")]),
    ],
)
def test_m7_what_is_no_merge_merges_nobody(one):
    assert changes(mapped(one)) == []


def test_m7_a_number_that_both_have_is_not_given_up():
    target = patient("a", "A", "S")
    source = patient("b", "S", "B", active=False, links=[("replaced-by", "Patient/a")])
    [change] = [each for part in mapped(bundle(source, target)).parts for each in part.changes]
    assert [one.value for one in change.source] == ["B", "b"]


def test_m7_a_later_version_without_the_link_takes_it_back_where_the_one_before_is_known():
    again = patient("b", "B", version=2)
    assert changes(mapped(again, earlier(RETIRED))) == [("unmerged", "B", "a")]
    assert changes(mapped(again)) == []
    alone = patient("a", "A", version=2)
    assert changes(mapped(alone, earlier(SURVIVOR))) == [("unmerged", "b", "A")]


def test_m7_a_version_that_keeps_the_link_or_the_retirement_takes_nothing_back():
    kept = {**RETIRED, "meta": {"versionId": "2"}}
    assert changes(mapped(kept, earlier(RETIRED))) == [("merged", "B", "a")]
    gone = patient("b", "B", active=False, version=2)
    assert changes(mapped(gone, earlier(RETIRED))) == []


def test_m7_a_link_that_goes_to_another_is_taken_back_and_told_anew():
    moved = patient("a", "A", links=[("replaces", "Patient/c")], version=2)
    assert changes(mapped(moved, earlier(SURVIVOR))) == [
        ("merged", "c", "A"), ("unmerged", "b", "A"),
    ]  # fmt: skip


def test_a_part_says_something():
    [part] = mapped(patient("p", "A")).parts
    with pytest.raises(AssertionError):
        Part(claim=part.claim, drafts=())
