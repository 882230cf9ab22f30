"""A message becomes drafts of events by the table, or says why it doesn't."""

import gc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import Identifier
from streams.ledger.mapping import triggers
from streams.ledger.mapping.facts import CAUSES, Facts, Ignored, Unmappable
from streams.ledger.mapping.table import CANCELS, IGNORED, RULES
from streams.ledger.mapping.tellers import TELLERS

TIMES = {"ZBE-2": "2026030206", "EVN-6": "2026030207", "PV1-44": "2026022708",
         "PV1-45": "2026022809", "EVN-2": "202603020859", "MSH-7": "20260302090000"}  # fmt: skip


ZBE = ["ZBE|M1^NORTH|2026030206||UPDATE|N|A02"]
VISITS = [rule for rule in RULES.values() if rule.visit_event]
ONE_VISIT = [rule for rule in VISITS if not rule.prior_visit and rule.trigger != "Z99"]


def timed(adt, trigger, *fields):
    """A message in which exactly these fields hold a time."""
    given = {field: TIMES[field] if field in fields else "" for field in TIMES}
    return adt(
        trigger,
        msh={7: given["MSH-7"]},
        evn={2: given["EVN-2"], 6: given["EVN-6"]},
        pv1={44: given["PV1-44"], 45: given["PV1-45"]},
        more=ZBE if "ZBE-2" in fields else (),
    )


def refused(mapped, body, cause, feed=None):
    with pytest.raises(Unmappable) as raised:
        mapped(body, feed) if feed else mapped(body)
    assert raised.value.cause == cause
    return raised.value


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.trigger)
def test_a_trigger_gives_the_events_of_its_rule(whole, mapped, rule):
    facts = mapped(whole(rule.trigger))
    assert (facts.message_type, facts.trigger, facts.control_id) == (
        f"ADT^{rule.trigger}", rule.trigger, "77",
    )  # fmt: skip
    [part] = facts.parts
    patient, *visits = part.drafts
    assert (patient.event_type, patient.stream_type) == (rule.patient_event, "patient")
    assert rule.visit_event in [None, *(draft.event_type for draft in visits)]
    assert {draft.stream_type for draft in visits} <= {"admission"}
    assert {draft.data["trigger"] for draft in part.drafts} == {rule.trigger}
    kinds = [(change.kind, change.event_type, change.trigger) for change in part.changes]
    said = rule.change
    assert kinds == ([(said.kind, said.event_type, rule.trigger)] if said else [])


@pytest.mark.parametrize("rule", ONE_VISIT, ids=lambda rule: rule.trigger)
def test_t1_the_first_field_of_the_ladder_that_holds_a_time_gives_it(adt, visit, rule):
    for number, field in enumerate(rule.ladder[:-1]):
        draft = visit(timed(adt, rule.trigger, *rule.ladder[number:]))
        assert (draft.occurred_field, draft.occurred.text) == (field, TIMES[field])


@pytest.mark.parametrize("rule", ONE_VISIT, ids=lambda rule: rule.trigger)
def test_t1_without_any_time_it_is_when_it_was_received(adt, visit, received_at, rule):
    draft = visit(timed(adt, rule.trigger))
    assert (draft.occurred.at, draft.occurred_field) == (received_at, "received")
    assert (draft.occurred.precision, draft.occurred.text) == ("fraction", "")
    assert draft.data["reported_at"] is None


def test_t1_a_transfer_ignores_when_the_visit_began(adt, visit):
    draft = visit(timed(adt, "A02", "EVN-6", "PV1-44", "EVN-2", "MSH-7"))
    assert draft.occurred.at == datetime(2026, 3, 2, 7, tzinfo=UTC)
    assert visit(timed(adt, "A02", "PV1-44", "EVN-2", "MSH-7")).occurred_field == "EVN-2"


def test_t1_nonsense_in_one_field_leaves_the_next(adt, visit):
    draft = visit(adt(evn={6: "soon", 2: "00000000"}))
    assert draft.occurred_field == "MSH-7"


def test_t1_reported_is_evn_2_then_msh_7(adt, visit):
    assert visit(timed(adt, "A01", *TIMES)).data["reported_at"] == 1772441940_000000
    assert visit(timed(adt, "A01", "EVN-6", "MSH-7")).data["reported_at"] == 1772442000_000000


CANCELLING = sorted(set(CANCELS.values()))


@pytest.mark.parametrize("trigger", CANCELLING)
def test_t2_a_cancel_carries_the_time_of_what_it_cancels(adt, mapped, trigger):
    clocks = ("EVN-6", "PV1-44", "PV1-45", "EVN-2", "MSH-7")
    patient, visit = mapped(timed(adt, trigger, *clocks)).parts[0].drafts
    assert visit.occurred_field == "EVN-6"
    assert visit.occurred.at == datetime(2026, 3, 2, 7, tzinfo=UTC)
    assert patient.occurred_field == "EVN-2"


@pytest.mark.parametrize("trigger", CANCELLING)
def test_t2_a_cancel_without_evn_6_says_that_its_time_is_another(adt, visit, trigger):
    draft = visit(timed(adt, trigger, "PV1-44", "PV1-45", "EVN-2"))
    assert draft.occurred_field == "EVN-2"


def test_t3_a_cancelled_transfer_is_not_a_second_transfer(adt, visit):
    draft = visit(adt("A12", pv1={3: "W1", 6: "W2^R1"}))
    assert draft.event_type == "admission.location_change_cancelled"
    assert (draft.data["place"], draft.data["prior_place"]) == ("W1", "W2^R1")


@pytest.mark.parametrize("trigger", ["A08", "A31", "A54", "A55", "A60", "A61", "A62"])
def test_t8_an_update_moves_nobody(adt, drafts, trigger):
    assert list(drafts(adt(trigger, pv1={3: "W9"}))) == ["patient.updated", "admission.updated"]
    assert list(drafts(adt(trigger, pv1={3: "W9", 19: ""}))) == ["patient.updated"]


def test_t8_a_person_added_has_no_visit(adt, drafts):
    assert list(drafts(adt("A28", pv1={3: "W9"}))) == ["patient.registered"]


def test_t8_an_update_whose_class_is_not_applicable_clears_nothing(adt, visit, mapped):
    assert visit(adt("A08", pv1={2: "N"})).data["patient_class"] is None
    bare = mapped(adt("A08", pv1={2: "N", 3: "", 19: ""}))
    assert [draft.event_type for draft in bare.parts[0].drafts] == ["patient.updated"]
    assert visit(adt("A01", pv1={2: "N"})).data["patient_class"] == "N"


def test_i6_an_update_creates_no_admission_and_needs_none(adt, mapped):
    facts = mapped(adt("A08", pv1=False))
    assert facts.parts[0].claim.visit is None
    assert [draft.event_type for draft in facts.parts[0].drafts] == ["patient.updated"]
    account_only = mapped(adt("A08", pv1=False, pid={18: "ACC1"}))
    assert [draft.role for draft in account_only.parts[0].drafts] == ["patient"]


def test_t21_what_is_empty_is_unsaid_and_null_is_said_to_be_unknown(adt, visit):
    empty = visit(adt(pv1={2: "", 3: "", 4: "", 6: "", 10: ""})).data
    names = ("patient_class", "place", "admission_type", "prior_place", "hospital_service")
    assert {empty[name] for name in names} == {None}
    null = visit(adt(pv1=dict.fromkeys((2, 3, 4, 6, 10), '""'))).data
    assert {null[name] for name in names} == {""}


def test_details_are_as_sent(adt, visit):
    draft = visit(
        adt(pv1={2: "DAY CASE", 4: "E^Emergency", 10: "MED", 7: "^Hill~D3^Hill^^^^^^^STAFF"})
    )
    assert draft.data["patient_class"] == "DAY CASE"
    assert draft.data["admission_type"] == "E"
    assert draft.data["hospital_service"] == "MED"
    assert draft.data["attending_id"] is None
    assert draft.attending == Identifier(value="D3", authority="STAFF")


def test_t22_times_without_offset_are_in_the_feeds_zone(adt, visit, feed):
    draft = visit(adt(evn={6: "20260701100000"}), replace(feed, zone=ZoneInfo("Europe/London")))
    assert draft.occurred.at == datetime(2026, 7, 1, 9, tzinfo=UTC)


def test_t25_a_visit_is_its_number_and_authority(adt, mapped, feed):
    def visit(pv1, pid=None):
        return mapped(adt(pv1=pv1, pid=pid), replace(feed, authority="OURS")).parts[0].claim.visit

    assert visit({19: "V5^^^NORTH&1.2.3&ISO^VN"}) == Identifier(
        value="V5", authority="NORTH", type="VN"
    )
    assert visit({19: "V5^^^&1.2.3&ISO"}).authority == "1.2.3"
    assert visit({19: "V5"}).authority == "OURS"
    assert visit({19: "V5"}, {18: "ACC1^^^BILL"}).value == "V5"


@pytest.mark.parametrize("number", ["", '""', "^^^NORTH"])
def test_t25_the_account_number_stands_in_for_a_visit_number(adt, mapped, number):
    facts = mapped(adt(pv1={19: number}, pid={18: "ACC1^^^BILL"}))
    assert facts.parts[0].claim.visit == Identifier(value="ACC1", authority="BILL", type="AN")
    assert facts.parts[0].drafts[1].clear == {"visit_number": "ACC1"}


NO_VISIT = ("no visit number: PV1-19 and PID-18 are empty",)


@pytest.mark.parametrize("rule", ONE_VISIT, ids=lambda rule: rule.trigger)
def test_t25_without_a_visit_number_the_visits_part_is_left_out_and_says_so(adt, mapped, rule):
    def only_the_patient(body):
        facts = mapped(body)
        [part] = facts.parts
        assert [draft.event_type for draft in part.drafts] == [rule.patient_event]
        assert part.claim.visit is None
        return facts.left_out

    assert only_the_patient(adt(rule.trigger, pv1={19: "", 44: "20260302"})) == NO_VISIT
    bare = only_the_patient(adt(rule.trigger, pv1=False))
    assert bare == (NO_VISIT if rule.needs_visit else ())


def test_t25_a_visit_part_that_says_nothing_is_not_left_out(adt, mapped):
    assert mapped(adt("A08", pv1={2: "N", 19: ""})).left_out == ()
    assert mapped(adt("A28", pv1={19: ""})).left_out == ()
    assert mapped(adt("A01")).left_out == ()


def test_t25_a_swap_leaves_out_only_the_part_without_a_visit_number(adt, mapped):
    more = ["PID|2||1002^^^NORTH^MR", "PV1|2|I|W9^R9^B9"]
    facts = mapped(adt("A17", more=more))
    assert [len(part.drafts) for part in facts.parts] == [2, 1]
    assert facts.left_out == NO_VISIT


def test_what_a_part_says_of_nobody_is_left_out_of_the_others(adt, mapped):
    facts = mapped(adt("A17", more=["PID|2||", "PV1|2|I|W9^R9^B9|||||||||||||||||V6"]))
    assert [part.claim.visit.value for part in facts.parts] == ["V5"]
    assert facts.left_out == ("no patient: PID-3 holds no identifier of a person",)


def test_a_patient_is_claimed_by_the_feeds_preferred_type_first(adt, mapped, feed):
    body = adt(pid={3: "7^^^NAT^NN~A1^^^N^AN~V1^^^N^VN~8^^^N^PI~9^^^N^MR~8^^^N^PI~^^^N^MR"})
    claim = mapped(body, replace(feed, identifier_types=("MR", "PI"))).parts[0].claim
    assert [(one.value, one.type) for one in claim.identifiers] == [
        ("9", "MR"), ("8", "PI"), ("7", "NN"),
    ]  # fmt: skip


def test_an_identifier_without_authority_is_of_the_feeds(adt, mapped, feed):
    claim = mapped(adt(pid={3: "9"}), replace(feed, authority="OURS")).parts[0].claim
    assert claim.identifiers == (Identifier(value="9", authority="OURS"),)


@pytest.mark.parametrize("pid", [{3: ""}, {3: '""'}, {3: "A1^^^N^AN"}, {3: "^^^NORTH^MR"}, False])
def test_a_message_that_names_no_patient_is_ignored_with_the_reason(adt, mapped, pid):
    ignored = mapped(adt(pid=pid))
    assert isinstance(ignored, Ignored)
    assert ignored.message_type == "ADT^A01"
    said = "PID-3 holds no identifier of a person" if pid else "there is no PID"
    assert (ignored.reason, ignored.cause) == (f"no patient: {said}", "no_patient")


def test_a_repeated_pid_must_name_the_same_patient(adt, mapped):
    assert isinstance(mapped(adt(more=["PID|||1001^^^NORTH^MR"])), Facts)
    refused(mapped, adt(more=["PID|||1002^^^NORTH^MR"]), "structure")


@pytest.mark.parametrize(
    ("kind", "evn", "trigger"),
    [
        ("ADT^A02", "A03", "A02"), ("ADT^A02", "", "A02"), ("ADT", "A03", "A03"),
        ("", "A03", "A03"), ("adt^a02", "", "A02"), ("ADT_A02", "", "A02"),
        ("ADT^A02^ADT_A01  ", "A01", "A02"),
    ],
)  # fmt: skip
def test_msh_9_is_trusted_and_evn_1_fills_its_silence(adt, mapped, kind, evn, trigger):
    assert mapped(adt(msh={9: kind}, evn={1: evn})).trigger == trigger


@pytest.mark.parametrize(("kind", "evn"), [("", ""), ("ADT", ""), ("ADT^", "?"), ("???", "A01"),
                                           ("", "P01"), ("ADT^transfer", "A02")])  # fmt: skip
def test_a_message_that_does_not_say_what_it_is_is_refused(adt, mapped, kind, evn):
    refused(mapped, adt(msh={9: kind}, evn={1: evn}), "required_field")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("ADT^A99", "trigger not mapped: A99"), ("ADT^Z98", "trigger not mapped: Z98"),
        *((f"ADT^{trigger}", f"{reason}: {trigger}") for trigger, reason in IGNORED.items()),
        ("ORU^R40", "trigger not mapped: ORU^R40"), ("REF^I12", "message type not mapped: REF"),
        ("SIU^S99", "trigger not mapped: SIU^S99"),
        *((f"{kind}^{trigger}", f"{reason}: {kind}^{trigger}")
          for (kind, trigger), reason in triggers.IGNORED.items()),
        ("ORM", "message type not mapped: ORM"), ("ACK", "acknowledgement"),
        ("ACK^A01", "acknowledgement"), ("ORU^Rook^Ada", "message type not mapped: ORU"),
    ],
)  # fmt: skip
def test_what_is_not_mapped_is_ignored_with_its_reason(adt, mapped, kind, reason):
    ignored = mapped(adt(msh={9: kind}, pid=False))
    assert isinstance(ignored, Ignored)
    assert (ignored.reason, ignored.control_id) == (reason, "77")
    typed = reason.startswith(("message type", "acknowledgement"))
    told_of = kind.startswith("ADT") or (not typed and kind[:3] in {each for each, _ in TELLERS})
    assert ignored.cause == ("trigger" if told_of else "message_type")


def test_the_same_bytes_give_the_same_facts(adt, mapped):
    assert mapped(adt("A02")) == mapped(adt("A02"))
    assert (
        len({(one.event_type, one.ordinal, one.role) for one in mapped(adt()).parts[0].drafts}) == 2
    )


def test_no_text_of_a_patient_is_in_what_is_shown(adt, mapped):
    facts = mapped(adt(pid={5: "Rookery"}, pv1={7: "D3"}))
    for shown in (repr(facts), repr(facts.parts[0].claim), repr(facts.parts[0].drafts)):
        assert not [one for one in ("Rookery", "1001", "V5", "D3") if one in shown]
    for body in (adt(msh={9: "Rookery"}), b"Rookery"):
        with pytest.raises(Unmappable) as raised:
            mapped(body)
        assert "Rookery" not in f"{raised.value!r} {raised.value} {raised.value.reason}"


def survives(mapped, body):
    try:
        result = mapped(body)
    except Unmappable as dead:
        result = dead
    assert isinstance(result, Facts | Ignored) or result.cause in CAUSES


@given(body=st.binary(max_size=400))
def test_any_bytes_are_mapped_ignored_or_refused(mapped, body):
    survives(mapped, body)
    survives(mapped, b"MSH|^~\\&|" + body)


@given(
    trigger=st.sampled_from(sorted(RULES)),
    edits=st.lists(
        st.tuples(
            st.integers(0, 300),
            st.integers(0, 12),
            st.binary(max_size=8) | st.sampled_from([b"|", b"^", b"~", b"\\", b"&", b"\r", b'""']),
        ),
        max_size=6,
    ),
)
def test_any_damage_is_mapped_ignored_or_refused(whole, mapped, trigger, edits):
    body = whole(trigger, pv1={7: "D3^Hill", 44: "20260302"}, pid={11: "1 High St", 13: "020"})
    for start, length, insert in edits:
        body = body[:start] + insert + body[start + length :]
    survives(mapped, body)


@given(fields=st.dictionaries(st.integers(2, 45), st.text(max_size=30), max_size=8))
def test_any_text_in_any_field_is_mapped_ignored_or_refused(adt, mapped, fields):
    survives(mapped, adt("A02", evn=fields, pid=fields, pv1=fields))


@pytest.mark.timeout(60)
@pytest.mark.parametrize("filler", ["x", "\\", "~", "^", "&", "\\X41\\", '""', "\r\n", "^^^A~"])
@pytest.mark.parametrize("field", [3, 5, 7, 11, 13])
def test_megabytes_in_a_field_are_refused_and_not_chewed_on(adt, mapped, filler, field):
    survives(mapped, adt(pid={field: filler * (1_000_000 // len(filler))}))


@pytest.mark.parametrize(
    ("trigger", "evn", "pv1", "sent", "field", "at"),
    [
        ("A03", {2: "202603021500"}, {45: "20260302"}, "", "EVN-2", 15),
        ("A02", {2: "202603021000", 6: "20260302"}, {}, "", "EVN-2", 10),
        ("A01", {2: "202603031000"}, {44: "20260302"}, "202603031000", "PV1-44", 0),
        ("A03", {2: "202603031000"}, {45: "202603"}, "", "EVN-2", 34),
        ("A03", {2: "20260302"}, {45: "20260302"}, "202603020900", "MSH-7", 9),
    ],
)
def test_t22_a_day_is_not_midnight_where_a_further_field_says_when(
    adt, visit, trigger, evn, pv1, sent, field, at
):
    draft = visit(adt(trigger, msh={7: sent}, evn=evn, pv1=pv1))
    assert draft.occurred_field == field
    assert draft.occurred.at == datetime(2026, 3, 2, tzinfo=UTC) + timedelta(hours=at)


@pytest.fixture
def uncollected():
    """Nothing is collected but what is asked for."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_what_was_read_of_a_message_is_freed_without_a_collection(whole, mapped):
    bodies = [whole(trigger) for trigger in RULES]
    for body in bodies:
        mapped(body)  # what is made once and remembered
    gc.collect()
    for body in bodies:
        mapped(body)
    assert gc.collect() == 0


@pytest.mark.usefixtures("uncollected")
def test_what_holds_itself_is_found_by_a_collection():
    itself = []
    itself.append(itself)
    del itself
    assert gc.collect() == 1
