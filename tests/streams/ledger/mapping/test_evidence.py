"""Streams of evidence: what corrects reaches what it corrects, and nothing else does."""

from dataclasses import replace

import pytest

from streams.ledger.mapping.evidence import SEGMENTS_MAX
from streams.ledger.mapping.facts import Facts, StreamName, Unmappable
from streams.ledger.mapping.message import GROUPS_MAX
from tests.streams.ledger.mapping.messages import (
    FEED,
    PATIENT,
    REQUEST,
    RESULT,
    mapped,
    message,
    obr,
    obx,
    one,
    oru,
    rxa,
    told,
)

OTHER = "PID|||1002^^^NORTH^MR"
LATER = "20260303100000"


def stream(*segments, **settings):
    return one(oru(*segments, **settings)).stream


@pytest.mark.parametrize("status", ["C", "D", "W", "X"])
def test_v2_what_corrects_or_revokes_goes_into_the_results_stream(status):
    assert stream(REQUEST, obx()) == stream(REQUEST, obx(_11=status, _5="6.1"), sent=LATER)


def test_v2_a_wrong_patients_result_is_revoked_by_its_order_number_whoever_is_named():
    assert stream(REQUEST, obx()) == stream(OTHER, REQUEST, obx(_11="W"))
    assert not stream(REQUEST, obx()).of_patient


@pytest.mark.parametrize(
    "other",
    [
        (obr(_3="F2^LAB"), obx()), (obr(_3="F1^OTHER"), obx()), (obr(_4="4548-4^A1c^LN"), obx()),
        (REQUEST, obx(_3="718-7^Hb^LN")), (REQUEST, obx(_4="2")), (obr(_3=""), obx()),
    ],
    ids=["filler", "authority", "panel", "code", "sub id", "placer's"],
)  # fmt: skip
def test_another_number_code_or_sub_id_is_another_stream(other):
    assert stream(REQUEST, obx()) != stream(*other)


def test_the_filler_names_it_also_where_the_placer_or_the_time_is_another():
    assert stream(REQUEST, obx()) == stream(obr(_2="P9", _7="2026"), obx(_14="20260302"))


def test_the_placer_names_it_where_no_filler_does():
    first = stream(obr(_3=""), obx())
    assert first == stream(obr(_3="", _7="202603020900"), obx(_11="C"))
    assert first.parts[:4] == ("observation", "placer", "CPOE", "P1")


def test_an_order_number_names_its_authority_or_has_the_feeds():
    assert stream(obr(_3="F1^NORTH"), obx()) == stream(obr(_3="F1"), obx())
    south = replace(FEED, authority="SOUTH")
    body = oru(obr(_3="F1"), obx())
    assert one(body).stream != one(body, south).stream


def test_a_code_is_the_same_by_any_name_of_its_system():
    assert stream(REQUEST, obx()) == stream(REQUEST, obx(_3="2345-7^Sugar^LOINC"))


def test_without_an_order_number_patient_and_time_name_it():
    unnumbered = {"_2": "", "_3": ""}
    first = stream(obr(**unnumbered), obx())
    assert first.of_patient
    assert first == stream(obr(**unnumbered), obx(_11="C", _14="202603021000"), sent=LATER)
    assert first == stream(obr(**unnumbered, _7="20260302080000+0000"), obx())
    assert first != stream(obr(**unnumbered, _7="202603020801"), obx())


def test_a_day_alone_is_no_time_of_an_act():
    day = obr(_2="", _3="", _7="20260302")
    early, late = (stream(day, obx(_14=f"202603020{hour}00")) for hour in (7, 8))
    assert early != late
    assert early == stream(day, obx(_14="202603020700", _11="C"), sent=LATER)


def test_without_number_and_time_the_message_names_it():
    bare = obr(_2="", _3="", _7="")
    assert stream(bare, obx()) == stream(bare, obx(_11="C"))
    assert stream(bare, obx()) != stream(bare, obx(), sent=LATER)


def test_what_a_message_says_twice_is_numbered_in_its_order():
    drafts = told(oru(REQUEST, obx(_5="1"), obx(_5="2"), obx(_5="3")))
    assert len({draft.stream for draft in drafts}) == 3
    again = told(oru(REQUEST, obx(_5="1"), obx(_5="2", _11="C"), obx(_5="3"), sent=LATER))
    assert [draft.stream for draft in drafts] == [draft.stream for draft in again]


def test_two_patients_alike_in_one_message_are_not_told_apart_by_numbers():
    bare = (obr(_2="", _3=""), RESULT)
    first, second = told(oru(PATIENT, *bare, OTHER, *bare))
    assert first.stream == second.stream
    assert first.stream.of_patient


def test_a_stream_without_a_name_is_our_bug():
    with pytest.raises(AssertionError):
        StreamName(parts=())


def test_every_segment_gives_an_event_of_its_own_ordinal():
    drafts = told(message("RAS^O17", "ORC|RE|P1", rxa(), obx(), "ORC|CA|P2", rxa(), obx(), obx()))
    named = [(draft.role, draft.ordinal) for draft in drafts]
    assert named == [
        ("administration", 0), ("observation", 0), ("order", 1),
        ("administration", 1), ("observation", 1), ("observation", 2),
    ]  # fmt: skip


def test_a_message_with_as_many_results_as_may_be_is_mapped():
    facts = mapped(oru(REQUEST, *[RESULT] * SEGMENTS_MAX))
    assert isinstance(facts, Facts)
    assert len(facts.parts[0].drafts) == SEGMENTS_MAX + 1


def test_a_message_with_one_result_too_many_is_refused():
    with pytest.raises(Unmappable) as refused:
        mapped(oru(REQUEST, *[RESULT] * (SEGMENTS_MAX + 1)))
    assert refused.value.cause == "structure"


def test_a_message_of_too_many_patients_is_refused():
    assert isinstance(mapped(oru(*[PATIENT] * GROUPS_MAX)), Facts)
    with pytest.raises(Unmappable):
        mapped(oru(*[PATIENT] * (GROUPS_MAX + 1)))
