"""A place's text is taken apart into HL7's components."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.place import Place


def test_t20_a_place_is_read_by_component():
    place = Place.parse("W1^R2^B3^North^occupied^BED^East^4^by the window^77^x")
    assert place == Place(
        point_of_care="W1", room="R2", bed="B3", facility="North", status="occupied",
        person_location_type="BED", building="East", floor="4", description="by the window",
        further=("77", "x"),
    )  # fmt: skip


def test_t20_a_bed_alone_is_not_the_same_place():
    assert Place.parse("W1^R2^B3").identity != Place.parse("W2^R2^B3").identity
    assert Place.parse("W1^R2^B3^North").identity != Place.parse("W1^R2^B3^South").identity
    assert Place.parse("W1^R2^B3^^^BED").identity == Place.parse(" W1 ^R2^B3^^free").identity


def test_free_text_is_a_point_of_care():
    assert Place.parse("Room by the lift") == Place(point_of_care="Room by the lift")
    assert Place.parse("A&E^Majors").point_of_care == "A&E"


def test_a_caret_in_a_name_is_no_separator():
    assert Place.parse("Ward\\S\\7^2") == Place(point_of_care="Ward^7", room="2")


def test_null_components_and_no_text_are_no_known_place():
    assert not Place.parse("").known
    assert not Place.parse('""^""^^').known
    assert not Place.parse("^^^^occupied").known
    assert Place.parse("^^B3").known


@given(st.text())
def test_any_text_is_a_place(text):
    assert isinstance(Place.parse(text).identity, tuple)
