"""Immunizations become evidence; details of the vaccine do not."""

import pytest

from streams.ledger.mapping.states import DETAILS
from tests.streams.ledger.mapping.messages import mapped, message, obx, one, rxa, told

ORDER = "ORC|RE|P1^IIS|F1^IIS"


def vxu(*segments, **settings):
    return message("VXU^V04^VXU_V04", *segments, **settings)


@pytest.mark.parametrize(
    ("completion", "action", "state"),
    [("CP", "A", "final"), ("RE", "A", "refused"), ("NA", "", "not_administered"),
     ("PA", "", "partial"), ("CP", "D", "revoked"), ("CP", "U", "corrected"), ("", "", "final")],
)  # fmt: skip
def test_v5_rxa_20_and_21_say_the_state_of_an_immunization(completion, action, state):
    draft = one(vxu(ORDER, rxa(_20=completion, _21=action)))
    assert (draft.data["kind"], draft.data["state"]) == ("immunization", state)


def test_no_vaccine_is_no_evidence():
    draft = one(vxu(ORDER, rxa(_5="998^No vaccine^CVX")))
    assert (draft.data["state"], draft.data["state_field"]) == ("not_evidence", "RXA-5")
    assert draft.data["raw_state"] == "998"


def test_v8_a_vaccine_is_named_by_both_its_codes():
    draft = one(vxu(ORDER, rxa(_5="58160-0842-52^Tdap^NDC^3^MMR^CVX")))
    assert draft.data["codes"] == [
        {"system": "NDC", "code": "58160084252"}, {"system": "CVX", "code": "03"},
    ]  # fmt: skip


def test_v5_an_update_reaches_the_immunization_by_its_number_at_any_time():
    first = one(vxu(ORDER, rxa()))
    assert first.stream == one(vxu(ORDER, rxa(_3="20260301", _21="U"), sent="20260303")).stream


def test_the_number_that_is_none_names_nobodys_immunization():
    none = "ORC|RE||9999^IIS"
    draft = one(vxu(none, rxa()))
    assert draft.stream.of_patient
    assert draft.order is None
    assert "number" not in draft.clear
    assert draft.stream == one(vxu(rxa(_21="D"))).stream


@pytest.mark.parametrize("code", sorted(DETAILS))
def test_details_of_an_immunization_observe_nothing(code):
    facts = mapped(vxu(ORDER, rxa(), obx(_3=f"{code}^Detail^LN", _2="CE", _5="V02^^HL70064")))
    assert [draft.role for draft in facts.parts[0].drafts] == ["patient", "immunization"]
    assert facts.left_out == ("details of an immunization, which observe nothing",)


def test_a_local_name_under_an_immunization_is_a_detail():
    assert len(told(vxu(ORDER, rxa(), obx(_3="VFC-STATUS^VFC^STC")))) == 1


def test_what_means_something_of_its_own_is_an_observation():
    given, observed = told(vxu(ORDER, rxa(), obx(_3="31044-1^Reaction^LN")))
    assert (given.data["kind"], observed.data["kind"]) == ("immunization", "observation")
    assert given.stream != observed.stream
    assert one(vxu(obx(_3="22600-1^Titer^LN"))).data["kind"] == "observation"


def test_v4_a_cancelled_order_of_a_vaccine_is_told():
    cancelled, given = told(vxu("ORC|CA|P1^IIS", rxa(_20="NA")))
    assert (cancelled.data["kind"], given.data["state"]) == ("order", "not_administered")
