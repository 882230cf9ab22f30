"""Administrations become evidence: state, time, amount, route, and which one it is."""

import pytest

from tests.streams.ledger.mapping.messages import VISIT, mapped, message, obx, one, rxa, told, utc

ORDER = "ORC|RE|P1^CPOE|F1^PHARM"


def ras(*segments, **settings):
    return message("RAS^O17^RAS_O17", *segments, **settings)


@pytest.mark.parametrize(
    ("completion", "action", "state", "field"),
    [
        ("CP", "", "final", "RXA-20"), ("PA", "", "partial", "RXA-20"),
        ("RE", "", "refused", "RXA-20"), ("NA", "", "not_administered", "RXA-20"),
        ("", "", "final", None), ("Q", "", "unknown", "RXA-20"), ("CP", "A", "final", "RXA-20"),
        ("CP", "D", "revoked", "RXA-21"), ("", "D", "revoked", "RXA-21"),
        ("CP", "U", "corrected", "RXA-21"), ("", "U", "corrected", "RXA-21"),
        ("RE", "U", "refused", "RXA-20"), ("CP", "X", "final", "RXA-20"),
    ],
)  # fmt: skip
def test_v5_rxa_20_and_21_say_the_state(completion, action, state, field):
    draft = one(ras(ORDER, rxa(_20=completion, _21=action)))
    assert (draft.data["state"], draft.data["state_field"]) == (state, field)
    assert draft.data["kind"] == draft.role == "administration"


@pytest.mark.parametrize("control", ["NW", "HD", "CA"])
def test_v4_a_silent_rxa_under_an_order_is_no_act(control):
    silent = told(ras(f"ORC|{control}|P1", rxa(_20="")))[-1]
    assert (silent.data["state"], silent.data["state_field"]) == ("not_evidence", "ORC-1")
    assert told(ras(f"ORC|{control}|P1", rxa()))[-1].data["state"] == "final"


@pytest.mark.parametrize(
    ("given", "field", "at"),
    [
        (rxa(), "RXA-3", utc(2026, 3, 2, 8)), (rxa(_3="20260301"), "RXA-3", utc(2026, 3, 1)),
        (rxa(_3="", _4="202603020810"), "RXA-4", utc(2026, 3, 2, 8, 10)),
        (rxa(_3=""), "MSH-7", utc(2026, 3, 2, 9)),
    ],
)  # fmt: skip
def test_v6_rxa_3_is_the_time(given, field, at):
    draft = one(ras(ORDER, given))
    assert (draft.occurred_field, draft.occurred.at) == (field, at)


def test_the_amount_the_route_and_the_reason_are_codes():
    draft = one(
        ras(ORDER, rxa(_18="00^Parental decision^NIP002~^told us"), "RXR|PO^Oral^HL70162|LA^^HL7")
    )
    assert (draft.data["value_number"], draft.data["value_unit"]) == (0.5, "mL")
    assert draft.data["route_codes"] == [{"system": "HL70162", "code": "PO"}]
    assert draft.data["reason_codes"] == [{"system": "NIP002", "code": "00"}]
    assert one(ras(ORDER, rxa(_6="999"))).data["value_number"] is None


def test_v5_a_deletion_reaches_the_administration_it_deletes():
    first = one(ras(ORDER, rxa()))
    deleted = one(ras(ORDER, rxa(_21="D"), sent="20260303"))
    assert first.stream == deleted.stream
    assert not first.stream.of_patient


def test_each_dose_of_an_order_is_its_own():
    bodies = [ras(ORDER, rxa(_3=at)) for at in ("202603020800", "202603021200")]
    assert len({one(body).stream for body in bodies}) == 2
    days = [ras(ORDER, rxa(_3="20260302", _2=number)) for number in "12"]
    assert len({one(body).stream for body in days}) == 2


def test_without_a_number_patient_drug_and_time_name_it():
    assert one(ras(rxa())).stream == one(ras("ORC|RE", rxa(_21="D"))).stream
    assert one(ras(rxa())).stream.of_patient
    assert one(ras(rxa())).stream != one(ras(rxa(_5="116^^CVX"))).stream


def test_an_order_holds_for_all_its_administrations():
    drafts = told(ras(VISIT, ORDER, rxa(), rxa(_3="202603021200"), "ORC|RE|P2", rxa(), "ORC|RE"))
    assert [draft.order.value for draft in drafts] == ["P1", "P1", "P2"]


def test_v4_a_cancelled_order_is_told_once():
    drafts = told(ras("ORC|DC|P1", rxa(_20="NA"), rxa(_20="NA", _3="2026"), "ORC|OC|P2"))
    assert [draft.data["kind"] for draft in drafts] == [
        "order", "administration", "administration", "order",
    ]  # fmt: skip
    assert [draft.ordinal for draft in drafts] == [0, 0, 1, 1]


def test_what_is_observed_with_it_stands_in_its_order():
    _, observed = told(ras(ORDER, rxa(), "RXR|PO", obx(_3="8867-4^Pulse^LN", _14="")))
    assert (observed.data["kind"], observed.occurred_field) == ("observation", "RXA-3")
    assert observed.order.value == "P1"
    alone = one(ras(obx()))
    assert (alone.order, alone.occurred_field) == (None, "MSH-7")


def test_an_administration_that_names_nothing_is_left_out():
    facts = mapped(ras(ORDER, rxa(_5="")))
    assert facts.left_out == ("an administration that names nothing: RXA-5 is empty",)
    assert one(ras(ORDER, rxa(_5="^Tdap"))).data["codes"] == []


def test_the_older_name_of_the_message_is_read_too():
    assert one(message("RAS^O01", ORDER, rxa())).data["kind"] == "administration"
