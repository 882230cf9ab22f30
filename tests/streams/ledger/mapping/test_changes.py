"""Merges, moves and changes of numbers: who gives way, and whose stream tells it."""

from datetime import UTC, datetime

import pytest

from schemas.identity import Identifier
from streams.ledger.mapping.facts import Unmappable
from streams.ledger.mapping.table import RULES

NEEDED = [one for one, rule in RULES.items() if rule.change and rule.change.needed]
MERGES = [one for one, rule in RULES.items() if rule.change and one != "A37"]


def mr(value):
    return Identifier(value=value, authority="NORTH", type="MR")


def vn(value):
    return Identifier(value=value, authority="NORTH", type="VN")


def an(value):
    return Identifier(value=value, authority="NORTH", type="AN")


def changes(mapped, body):
    return [change for part in mapped(body).parts for change in part.changes]


def refused(mapped, body, cause):
    with pytest.raises(Unmappable) as raised:
        mapped(body)
    assert raised.value.cause == cause


@pytest.mark.parametrize("trigger", MERGES)
def test_m1_the_patient_of_mrg_becomes_the_one_of_pid(adt, mapped, trigger):
    body = adt(trigger, evn={6: "20260302070000"}, pv1=False, more=["MRG|2002^^^NORTH^MR"])
    [part] = mapped(body).parts
    [change] = part.changes
    assert part.claim.identifiers == (mr("1001"),)
    assert change.source == (mr("2002"),)
    assert (change.event_type, change.trigger) == ("patient.merged", trigger)
    assert change.occurred.at == datetime(2026, 3, 2, 7, tzinfo=UTC)
    assert (change.occurred_field, change.reported_at) == ("EVN-6", 1772441940_000000)
    assert [draft.event_type for draft in part.drafts] == ["patient.updated"]


def test_m1_the_identifier_of_the_same_type_gives_way(adt, mapped):
    def source(mrg, pid="1001^^^NORTH^MR~7^^^NAT^NN"):
        [change] = changes(mapped, adt("A40", pid={3: pid}, pv1=False, more=[f"MRG|{mrg}"]))
        return [(one.value, one.type) for one in change.source]

    assert source("8^^^NAT^NN~2002^^^NORTH^MR") == [("2002", "MR")]
    assert source("8^^^NAT^NN~9^^^LAB^XX") == [("8", "NN"), ("9", "XX")]
    assert source("8^^^NAT^NN~9^^^LAB^PI") == [("9", "PI"), ("8", "NN")]
    assert source("A1^^^NORTH^AN~8^^^NAT^NN") == [("8", "NN")]
    assert source("1001^^^NORTH^MR~8^^^NAT^NN") == [("8", "NN")]
    assert source("7^^^NAT^NN~2002^^^NORTH^MR") == [("2002", "MR")]


@pytest.mark.parametrize(
    ("mrg", "value"),
    [("|||2004^^^NORTH^MR", "2004"), ("|2003^^^NORTH^MR", "2003"),
     ("|2003||2004", "2004"), ("2001|2003||2004", "2001")],
)  # fmt: skip
def test_m1_older_fields_name_who_gives_way_where_mrg_1_is_silent(adt, mapped, mrg, value):
    [change] = changes(mapped, adt("A34", pv1=False, more=[f"MRG|{mrg}"]))
    assert [one.value for one in change.source] == [value]


@pytest.mark.parametrize("trigger", NEEDED)
def test_m1_a_merge_of_nobody_is_refused(adt, mapped, trigger):
    for more in ((), ["MRG|"], ['MRG|""'], ["MRG|A1^^^NORTH^AN"]):
        refused(mapped, adt(trigger, pv1=False, more=more), "required_field")


def test_m1_a_merge_with_oneself_changes_nobody(adt, mapped):
    body = adt("A40", pv1=False, more=["MRG|1001^^^NORTH^MR"])
    assert changes(mapped, body) == []
    assert changes(mapped, adt("A40", pv1=False, more=["MRG| 1001 ^^^NORTH^PI"])) == []


def test_m1_each_group_of_a_merge_is_a_part(adt, mapped):
    more = [
        "MRG|2002^^^NORTH^MR", "MRG|2003^^^NORTH^MR",
        "PID|2||1005^^^NORTH^MR||Finch^Ben", "MRG|2005^^^NORTH^MR",
    ]  # fmt: skip
    parts = mapped(adt("A40", pv1=False, more=more)).parts
    told = [(part.claim.identifiers[0].value, part.changes[0].source[0].value) for part in parts]
    assert told == [("1001", "2002"), ("1001", "2003"), ("1005", "2005")]
    assert [part.changes[0].ordinal for part in parts] == [0, 1, 2]
    ids = [(one.event_type, one.ordinal, one.role) for part in parts for one in part.drafts]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("trigger", ["A35", "A41"])
def test_m4_merged_accounts_of_one_patient_merge_nobody(adt, mapped, trigger):
    for mrg in ("||ACC1^^^NORTH^AN", "1001^^^NORTH^MR||ACC1^^^NORTH^AN"):
        [part] = mapped(adt(trigger, pid={18: "ACC2"}, pv1=False, more=[f"MRG|{mrg}"])).parts
        assert part.changes == ()
        assert [draft.event_type for draft in part.drafts] == ["patient.updated"]


@pytest.mark.parametrize("trigger", MERGES)
def test_m4_a_merge_says_nothing_of_visits(adt, mapped, trigger):
    [part] = mapped(adt(trigger, more=["MRG|2002^^^NORTH^MR||ACC1||V4"])).parts
    assert [draft.stream_type for draft in part.drafts] == ["patient"]


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [("A40", "merge"), ("A34", "merge"), ("A43", "move"), ("A46", "change"), ("A47", "change")],
)
def test_m5_moves_and_changes_are_told_apart_from_merges(adt, mapped, trigger, kind):
    [change] = changes(mapped, adt(trigger, pv1=False, more=["MRG|2002^^^NORTH^MR"]))
    assert change.kind == kind


def test_m3_an_unlink_takes_back_what_made_the_second_the_first(adt, mapped):
    [part] = mapped(adt("A37", pv1=False, more=["PID|2||2002^^^NORTH^MR"])).parts
    [change] = part.changes
    assert (change.event_type, change.source) == ("patient.unmerged", (mr("2002"),))
    assert part.claim.identifiers == (mr("1001"),)
    assert [draft.event_type for draft in part.drafts] == ["patient.updated"]


def moved(drafts, body):
    draft = drafts(body)["admission.patient_changed"]
    return draft, draft.visit


def test_m5_a_moved_visit_is_the_patients_of_pid(adt, drafts):
    body = adt("A45", pv1=False, more=["MRG|2002^^^NORTH^MR||||V4^^^NORTH^VN"])
    draft, visit = moved(drafts, body)
    assert (visit, draft.source) == (vn("V4"), (mr("2002"),))
    assert draft.data["from_patient_id"] is None
    assert draft.clear == {"visit_number": "V4"}


def test_m5_a_moved_visit_is_pv1_19_where_mrg_names_none(adt, mapped):
    [part] = mapped(adt("A45", more=["MRG|2002^^^NORTH^MR||ACC1"])).parts
    assert part.drafts[1].visit is None
    assert part.claim.visit == vn("V5")
    [same] = mapped(adt("A45", more=["MRG|2002^^^NORTH^MR||||V5^^^NORTH"])).parts
    assert [draft.event_type for draft in same.drafts[1:]] == ["admission.patient_changed"]


def test_m5_a_moved_visit_that_gets_another_number_joins_it_first(adt, drafts):
    found = drafts(adt("A45", more=["MRG|2002^^^NORTH^MR||||V4^^^NORTH^VN"]))
    assert found["admission.joined"].visit == vn("V4")
    assert found["admission.patient_changed"].visit is None
    assert found["admission.patient_changed"].clear == {"visit_number": "V5"}


def test_m5_each_moved_visit_is_a_part(adt, mapped):
    more = [
        "MRG|2002^^^NORTH^MR||||V5^^^NORTH^VN", "PV1|1|I|||||||||||||||||V5^^^NORTH^VN",
        "MRG|2002^^^NORTH^MR||||V6^^^NORTH^VN", "PV1|2|I|||||||||||||||||V6^^^NORTH^VN",
    ]  # fmt: skip
    parts = mapped(adt("A45", pv1=False, more=more)).parts
    assert [part.claim.visit for part in parts] == [vn("V5"), vn("V6")]
    assert [part.drafts[1].clear["visit_number"] for part in parts] == ["V5", "V6"]


@pytest.mark.parametrize("trigger", ["A44", "A45"])
def test_m5_a_moved_account_names_a_visit_where_it_stands_in_for_one(adt, drafts, trigger):
    body = adt(trigger, pv1=False, more=["MRG|2002^^^NORTH^MR||ACC1^^^NORTH"])
    assert moved(drafts, body)[1] == an("ACC1")
    unnamed = adt(trigger, pv1=False, more=["MRG|2002^^^NORTH^MR"])
    assert list(drafts(unnamed)) == ["patient.updated"]


def test_m5_a_moved_account_that_names_a_visit_is_told_of_both(adt, mapped):
    [part] = mapped(adt("A44", more=["MRG|2002^^^NORTH^MR||ACC1^^^NORTH"])).parts
    _, visit, account = part.drafts
    assert (visit.role, visit.visit, account.role, account.visit) == (
        "visit", None, "account", an("ACC1"),
    )  # fmt: skip
    assert account.source == visit.source == (mr("2002"),)
    [moved] = mapped(adt("A45", more=["MRG|2002^^^NORTH^MR||ACC1^^^NORTH"])).parts
    assert [draft.role for draft in moved.drafts] == ["patient", "visit"]


@pytest.mark.parametrize(
    ("trigger", "given", "account"),
    [("A01", {}, an("ACC2")), ("A08", {}, an("ACC2")), ("A28", {}, None),
     ("A01", {"pv1": False}, None), ("A01", {"pid": {18: "V5^^^NORTH"}}, None),
     ("A01", {"pid": None}, None)],
)  # fmt: skip
def test_m5_the_account_of_a_visit_is_pid_18_beside_pv1_19(adt, mapped, trigger, given, account):
    [part] = mapped(adt(trigger, **{"pid": {18: "ACC2^^^NORTH"}, **given})).parts
    assert part.account == account


@pytest.mark.parametrize("trigger", ["A42", "A50"])
def test_m5_a_changed_visit_number_goes_on_under_the_new_one(adt, drafts, mapped, trigger):
    body = adt(trigger, more=["MRG|1001^^^NORTH^MR||||V4^^^NORTH^VN"])
    [part] = mapped(body).parts
    joined = drafts(body)["admission.joined"]
    assert (joined.visit, part.claim.visit) == (vn("V4"), vn("V5"))
    assert joined.data["into_admission_id"] is None
    assert joined.clear == {}
    assert part.changes == ()


@pytest.mark.parametrize("trigger", ["A42", "A50"])
def test_m5_a_visit_number_that_stays_changes_nothing(adt, drafts, mapped, trigger):
    assert list(drafts(adt(trigger, more=["MRG|||||V5^^^NORTH"]))) == ["patient.updated"]
    assert mapped(adt(trigger, more=["MRG|||||V5^^^NORTH"])).left_out == ()


@pytest.mark.parametrize("trigger", [one for one, rule in RULES.items() if rule.prior_visit])
def test_t25_a_change_of_a_visit_that_is_not_named_is_left_out_and_says_so(adt, mapped, trigger):
    account_only = {"pv1": False, "pid": {18: "ACC2"}, "more": ["MRG|||||V4^^^NORTH"]}
    bodies = [adt(trigger, pv1={19: ""}), adt(trigger, pv1={19: ""}, more=["MRG|2002"])]
    if trigger in {"A42", "A50"}:
        bodies += [
            adt(trigger),
            adt(trigger, more=["MRG|2002||ACC1"]),
            adt(trigger, **account_only),
        ]
    for body in bodies:
        facts = mapped(body)
        [part] = facts.parts
        assert [draft.event_type for draft in part.drafts] == ["patient.updated"]
        said = ("no visit number: the visit that changes, or its number, isn't named",)
        assert facts.left_out == (said if RULES[trigger].needs_visit else ())


def test_m5_an_account_number_is_a_visits_only_where_there_is_no_other(adt, drafts):
    accounts = {"pid": {18: "ACC2^^^NORTH"}, "more": ["MRG|||ACC1^^^NORTH"]}
    found = drafts(adt("A49", pv1=False, **accounts))
    assert found["admission.joined"].visit == an("ACC1")
    assert list(drafts(adt("A49", **accounts))) == ["patient.updated"]
    assert list(drafts(adt("A49"))) == ["patient.updated"]


def test_patients_and_those_who_give_way_are_bounded_together(adt, mapped):
    def body(patients, merges):
        lines = []
        for n in range(patients):
            lines += [f"PID|||{n}^^^NORTH^MR"] if n else []
            lines += [f"MRG|X{n}{m}^^^NORTH^MR" for m in range(merges)]
        return adt("A40", pv1=False, more=lines)

    assert len(mapped(body(10, 10)).parts) == 100
    refused(mapped, body(10, 11), "structure")
