"""Who attends is read of PV1-7, and remembered only for the text, the header and the feed it is."""

from dataclasses import replace

import pytest

from schemas.identity import Identifier
from streams.ledger.mapping import claim, hl7v2


@pytest.fixture(autouse=True)
def forgotten():
    claim._staff.cache_clear()
    hl7v2._named.cache_clear()


def attending(visit, adt, feed, said, **header):
    return visit(adt(pv1={7: said}, **header), feed).attending


def test_each_feed_has_its_own_authority_for_the_same_doctor(visit, adt, feed):
    for authority in ("ONE", "TWO", "ONE"):
        own = replace(feed, authority=authority)
        found = attending(visit, adt, own, "D3^Heron^Ida")
        assert found == Identifier(value="D3", authority=authority)


def test_each_header_has_its_own_components_of_the_same_text(visit, adt, feed):
    assert attending(visit, adt, feed, "D3#Heron").value == "D3#Heron"
    other = adt(pv1={7: "D3#Heron"}).replace(b"^", b"#")
    assert visit(other, feed).attending.value == "D3"


@pytest.mark.parametrize("length", [claim.KEPT_CHARACTERS_MAX, claim.KEPT_CHARACTERS_MAX + 1])
def test_what_is_longer_than_a_doctor_is_read_and_not_remembered(visit, adt, feed, length):
    said = "D3^".ljust(length, "x")
    assert attending(visit, adt, feed, said).value == "D3"
    assert claim._staff.cache_info().currsize == (length <= claim.KEPT_CHARACTERS_MAX)


@pytest.mark.parametrize("more", [0, 1])
def test_what_is_longer_than_a_type_is_read_and_not_remembered(mapped, adt, more):
    said = "ADT^A01^".ljust(hl7v2._TYPE_CHARACTERS_MAX + more, "x")
    assert mapped(adt(msh={9: said})).message_type == "ADT^A01"
    assert hl7v2._named.cache_info().currsize == (not more)
