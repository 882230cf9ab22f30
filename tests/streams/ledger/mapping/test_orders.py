"""Orders: what each control makes of them, which order it is, what of it and when."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from schemas.identity import Identifier
from streams.ledger.mapping import controls
from streams.ledger.mapping.facts import Facts, Ignored
from tests.streams.ledger.mapping.messages import FEED, mapped, message, segment, utc

ORM, OML, RDE, RDS = "ORM^O01", "OML^O21^OML_O21", "RDE^O11^RDE_O11", "RDS^O13^RDS_O13"
P1, F1 = Identifier(value="P1", authority="CPOE"), Identifier(value="F1", authority="LAB")


def orc(control="NW", **fields):
    plain = {1: control, 2: "P1^CPOE", 9: "202603020700"}
    return segment("ORC", plain | {int(name[1:]): value for name, value in fields.items()})


def obr(**fields):
    plain = {1: "1", 4: "24323-8^Panel^LN"}
    return segment("OBR", plain | {int(name[1:]): value for name, value in fields.items()})


def tq1(**fields):
    return segment("TQ1", {1: "1"} | {int(name[1:]): value for name, value in fields.items()})


def ordered(*segments, kind=ORM, feed=FEED):
    """The drafts of orders, in order."""
    facts = mapped(message(kind, *segments), feed)
    assert isinstance(facts, Facts), facts
    drafts = [draft for part in facts.parts for draft in part.drafts]
    return [draft for draft in drafts if draft.stream_type == "order"]


def one(*segments, **given):
    (draft,) = ordered(*segments, **given)
    return draft


def left_out(*segments, kind=ORM):
    return mapped(message(kind, *segments)).left_out


@pytest.mark.parametrize(
    ("control", "name"),
    [(code, name) for code, (name, _) in controls.CONTROL.items() if name != controls.REPLACED],
)
def test_each_control_makes_its_event(control, name):
    draft = one(orc(control), obr())
    assert (draft.event_type, draft.data["control"]) == (f"order.{name}", control)


@pytest.mark.parametrize("control", [*controls.NOTHING, "ZZ", "CD:2539"])
def test_a_control_that_says_nothing_of_an_order_is_left_out_with_its_reason(control):
    assert ordered(orc(control), obr()) == []
    (reason,) = left_out(orc(control), obr())
    assert reason == controls.made(control, "").reason
    assert "CD:2539" not in reason


@pytest.mark.parametrize(("status", "name"), [(s, n) for s, (n, _) in controls.STATUS.items()])
def test_where_the_control_says_only_how_it_stands_the_status_says_more(status, name):
    for control in ("", "SC"):
        draft = one(orc(control, _5=status), obr())
        assert (draft.event_type, draft.data["status"]) == (f"order.{name}", status)
    assert one(orc("XO", _5=status), obr()).event_type == "order.changed"


def test_an_order_without_control_or_without_orc_is_placed_by_being_told_of():
    assert one(orc(""), obr()).event_type == "order.placed"
    draft = one(obr(_2="P1^CPOE"))
    assert (draft.event_type, draft.order) == ("order.placed", P1)
    assert one(orc("", _5="Ordered"), obr()).data["status"] is None


def test_an_order_that_another_replaces_is_cancelled_and_else_changed():
    new = orc("RO", _2="P2^CPOE")
    drafts = ordered(orc("RP"), obr(), new, obr())
    assert [draft.event_type for draft in drafts] == ["order.cancelled", "order.placed"]
    drafts = ordered(orc("RP"), obr(), orc("RO"), obr())
    assert [draft.event_type for draft in drafts] == ["order.changed", "order.placed"]
    assert one(orc("RP"), obr()).event_type == "order.changed"


def test_an_order_is_named_by_its_placer_and_else_by_its_filler():
    draft = one(orc(_3="F1^LAB"), obr())
    assert (draft.order, draft.filler) == (P1, F1)
    draft = one(orc(_2="", _3="F1^LAB"), obr())
    assert (draft.order, draft.filler) == (F1, None)
    draft = one(orc(_2="X"), obr(_2="P1^CPOE"))
    assert draft.order == P1
    assert draft.clear["number"] == {"placer": {"value": "P1", "authority": "CPOE"}}


def test_an_order_without_a_number_is_left_out():
    assert ordered(orc(_2=""), obr()) == []
    assert left_out(orc(_2=""), obr()) == (
        "an order without a number: ORC-2, ORC-3, OBR-2 and OBR-3 are empty",
    )


def test_an_order_of_nothing_is_told_of_with_a_reason_and_a_cancellation_without():
    assert one(orc()).data["codes"] == []
    assert left_out(orc()) == ("an order of nothing: OBR-4, RXO-1, RXE-2 and RXD-2 are empty",)
    assert left_out(orc("CA")) == ()


def test_details_of_one_order_are_one_event_with_all_codes_and_others_are_apart():
    again = obr(_4="2345-7^Glucose^LN")
    assert [each["code"] for each in one(orc(), obr(), again).data["codes"]] == [
        "24323-8", "2345-7",
    ]  # fmt: skip
    first, second = ordered(orc(), obr(_2="P1^CPOE"), obr(_2="P2^CPOE"))
    assert first.order != second.order
    assert (first.role, first.ordinal) != (second.role, second.ordinal)


def test_v8_what_is_ordered_are_the_codes_of_the_request_and_of_a_dispense_only_if_alone():
    rxo = segment("RXO", {1: "1191^Aspirin^RXNORM"})
    rxe = segment("RXE", {1: "^Q6H^^20260302^20260304", 2: "0006-0074-61^Drug^NDC"})
    rxd = segment("RXD", {1: "1", 2: "99^Brand^NDC", 3: "20260302"})
    draft = one(orc(), rxo, rxe, kind=RDE)
    assert [each["code"] for each in draft.data["codes"]] == ["1191", "00006007461"]
    assert draft.data["kind"] == "pharmacy"
    draft = one(orc("RE"), rxe, rxd, kind=RDS)
    assert [each["code"] for each in draft.data["codes"]] == ["00006007461"]
    assert [each["code"] for each in one(orc("RE"), rxd, kind=RDS).data["codes"]] == ["99"]


def test_v4_no_message_of_orders_becomes_evidence():
    for kind in controls.MESSAGES:
        facts = mapped(message("^".join(kind), orc(_5="CM"), obr(_25="F")))
        types = {draft.stream_type for part in facts.parts for draft in part.drafts}
        assert types == {"patient", "order"}


@pytest.mark.parametrize(
    "segments",
    [
        [orc(), tq1(_7="202603021000", _8="202603021200"), obr(_6="20250101")],
        [orc(_7="1^^^202603021000^202603021200^S"), obr()],
        [orc(), obr(_27="1^^^202603021000^202603021200^S")],
        [orc(), segment("RXE", {1: "1^^^202603021000^202603021200", 2: "1^A^L"})],
    ],
)
def test_the_window_is_that_of_the_first_field_that_says_one(segments):
    data = one(*segments).data
    assert (data["starts_at"], data["ends_at"]) == (at(10), at(12))
    assert (data["starts_precision"], data["ends_precision"]) == ("minute", "minute")


def at(hour, day=2):
    return int(utc(2026, 3, day, hour).timestamp() * 1_000_000)


def test_the_requested_time_stands_in_and_no_order_without_times_has_a_window():
    assert one(orc(), obr(_6="202603021000")).data["starts_at"] == at(10)
    data = one(orc(), obr(_7="202603021000")).data
    assert (data["starts_at"], data["ends_at"]) == (None, None)


def test_t22_a_day_lasts_until_it_ends_in_the_feeds_zone_and_is_no_midnight():
    berlin = replace(FEED, zone=ZoneInfo("Europe/Berlin"))
    data = one(orc(), tq1(_7="20260329"), obr(), feed=berlin).data
    assert data["starts_precision"] == "day"
    assert data["ends_at"] - data["starts_at"] == 23 * 3600 * 1_000_000  # clocks go forward
    data = one(orc(), tq1(_7="20260302", _8="20260303"), obr()).data
    assert (data["starts_at"], data["ends_at"]) == (at(0), at(0, 4))
    data = one(orc(), tq1(_7="202602"), obr()).data
    assert data["ends_at"] == at(0, 1)
    data = one(orc(), tq1(_7="2025+0000"), obr()).data
    assert data["ends_at"] == int(utc(2026, 1, 1).timestamp() * 1_000_000)


def test_an_end_that_is_not_after_the_start_is_none():
    data = one(orc(), tq1(_7="202603021000", _8="202603021000"), obr()).data
    assert (data["starts_at"], data["ends_at"], data["ends_precision"]) == (at(10), None, None)


@pytest.mark.parametrize(
    ("repeat", "total", "interval", "occurrences"),
    [("Q6H", "4", 21_600, 4), ("Q30M", "", 1_800, None), ("Q1D&0800", "2", 86_400, 2),
     ("BID", "0", None, None), ("Q0H", "-1", None, None), ("Q99999H", "1000001", None, None),
     ("QAM", "4.5", None, None), ("", "²", None, None)],
)  # fmt: skip
def test_how_often_is_read_where_it_is_plain(repeat, total, interval, occurrences):
    data = one(orc(), tq1(_3=repeat, _14=total), obr()).data
    assert (data["interval_s"], data["occurrences"]) == (interval, occurrences)
    data = one(orc(_7=f"1^{repeat}^^^^^^^^^^{total}"), obr()).data
    assert (data["interval_s"], data["occurrences"]) == (interval, occurrences)


def days(data):
    return [(each["due_at"], each["starts_at"], each["ends_at"]) for each in data["due"]]


@pytest.mark.parametrize(
    "segments",
    [
        [orc(_7="1^BID^D3^20260302"), obr()],
        [orc(_7="1^BID^^20260302^20260304"), obr()],
        [orc(_7="1^BID^X6^20260302"), obr()],
        [orc(), tq1(_3="BID", _6="3^d", _7="20260302"), obr()],
        [orc(), segment("RXE", {1: "1^BID^^20260302^^^^^^^^6", 2: "1^A^L"})],
    ],
)
def test_v9_twice_a_day_for_three_days_is_due_six_times_however_that_is_said(segments):
    data = one(*segments).data
    expected = [
        (at(hour, day), at(0, day), at(0, day + 1)) for day in (2, 3, 4) for hour in (0, 12)
    ]
    assert days(data) == expected
    assert (data["repeats"], data["as_needed"]) == ("BID", False)


def test_times_of_day_are_those_that_the_order_names_in_either_form():
    for segments in (
        [orc(_7="1^BID&0600,1800^D2^202603021000")],
        [orc(), tq1(_3="BID", _4="1800~0600", _6="2^d", _7="202603021000")],
    ):
        data = one(*segments, obr()).data
        assert [each for each, *_ in days(data)] == [at(18), at(6, 3), at(18, 3), at(6, 4)]


@pytest.mark.parametrize(
    "segments", [[orc(_7="1^PRN")], [orc(), tq1(_3="PRNQ6H")], [orc(), tq1(_3="BID", _9="PRN")]]
)
def test_what_is_given_as_needed_says_so(segments):
    assert one(*segments, obr()).data["as_needed"]


def test_a_pattern_without_a_start_or_of_several_parts_lists_no_times():
    assert one(orc(_7="1^BID^D3"), obr()).data["due"] == []
    assert one(orc(_7="1^BID^D3^20260302~1^QD^D3^20260305"), obr()).data["due"] == []


def test_an_order_that_is_timed_in_several_parts_says_so():
    assert one(orc(), tq1(), obr()).data["simple"]
    assert not one(orc(), tq1(), tq1(), obr()).data["simple"]
    twice = one(orc(), tq1(_3="QAM~QPM", _7="20260301"), obr()).data
    assert (twice["simple"], twice["due"]) == (False, [])
    assert not one(orc(_7="1^Q6H~1^Q8H"), obr()).data["simple"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [("S", "stat"), ("stat", "stat"), ("R", "routine"), ("TM5", "timing_critical"),
     ("PRN", "as_needed"), ("soon please", None), ("", None)],
)  # fmt: skip
def test_priorities_are_mapped(raw, said):
    assert one(orc(), tq1(_9=raw), obr()).data["priority"] == said
    assert one(orc(_7=f"^^^^^{raw}"), obr()).data["priority"] == said
    assert one(orc(), obr(_5=raw)).data["priority"] == said


def test_text_and_names_are_sealed_and_who_ordered_is_an_id():
    draft = one(
        orc(_12="D7^Canary^Doc^^^^^^HOSP"), tq1(_3="BID & canary", _11="canary way"),
        obr(_4="^canary panel^"), segment("NTE", {1: "1", 3: "canary note"}), kind=OML,
    )  # fmt: skip
    assert draft.provider == Identifier(value="D7", authority="HOSP")
    assert draft.clear["text"] == {
        "what": ["canary panel"], "repeat": "BID", "instructions": "canary way",
        "notes": ["canary note"], "provider": "Doc Canary",
    }  # fmt: skip
    assert "anary" not in str(draft.data)


def test_who_ordered_is_the_observation_requests_where_the_order_control_names_nobody():
    assert one(orc(), obr(_16="D8^X")).provider == Identifier(value="D8", authority="NORTH")
    assert one(orc(), obr()).provider is None


def test_the_time_of_an_order_is_its_own_and_else_when_it_was_sent():
    assert one(orc(_15="202603020800"), obr()).occurred_field == "ORC-15"
    draft = one(orc(), obr())
    assert (draft.occurred_field, draft.occurred.at) == ("ORC-9", utc(2026, 3, 2, 7))
    assert one(orc(_9=""), obr()).occurred_field == "MSH-7"


def test_an_order_of_nobody_is_ignored_with_a_reason_and_the_others_stay():
    assert isinstance(mapped(message(ORM, "PID|||", orc(), obr())), Ignored)
    facts = mapped(message(ORM, "PID|||", orc(), obr(), "PID|||9^^^N^MR", orc(), obr()))
    assert len(facts.parts) == 1
    assert facts.left_out == ("no patient: PID-3 holds no identifier of a person",)


def test_a_message_without_an_order_says_so():
    assert left_out("PV1||I") == (
        "no evidence: nothing observed, administered, ordered or cancelled",
    )
    assert mapped(message("ORM^O02", orc(), obr())).reason == "trigger not mapped: ORM^O02"
