"""Appointments, documents, dispenses, problems, charges: what of them is told, and as which."""

import pytest

from streams.ledger.mapping.message import FIELD_CHARACTERS_MAX
from tests.streams.ledger.mapping.messages import PATIENT, VISIT, mapped, message, segment, utc

PLAIN_SCH = {1: "P1^CPOE", 2: "F1^RIS"}


def told(kind, *segments, name=None):
    """The drafts beside the patient's, and what was left out."""
    facts = mapped(message(kind, *segments))
    drafts = [each for each in facts.parts[0].drafts if each.stream_type != "patient"]
    return [each for each in drafts if name in {None, each.stream_type}], facts.left_out


def one(kind, *segments, name=None):
    (draft,), _ = told(kind, *segments, name=name)
    return draft


def siu(fields=None, *more, trigger="S12"):
    return one(f"SIU^{trigger}", segment("SCH", PLAIN_SCH | (fields or {})), *more)


def txa(fields=None, *more, trigger="T02"):
    plain = {2: "DS", 12: "DOC1^HIS"}
    return told(f"MDM^{trigger}", segment("TXA", plain | (fields or {})), *more)


def at(year, month, day, *clock):
    return int(utc(year, month, day, *clock).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("fields", "more", "starts", "ends"),
    [
        ({11: "^^^20260501090000^20260501093000"}, (), (9, 0), (9, 30)),
        ({11: "^^^202605010900", 9: "45", 10: "min"}, (), (9, 0), (9, 45)),
        ({9: "2", 10: "HR"}, ("AIS|1|A|X|202605011000",), (10, 0), (12, 0)),
        ({9: "45"}, ("AIL|1|A|CT|||202605011000",), (10, 0), (10, 45)),
        ({}, ("AIP|1|A|D1|||202605011000",), (10, 0), None),
        ({}, ("TQ1|1||||||202605011000|202605011030",), (10, 0), (10, 30)),
        ({11: "^^^202605011000^202605010900"}, (), (10, 0), None),
        ({11: "^^^soon", 9: "45"}, (), None, None),
        ({11: "^^^202605010900", 9: "4.5"}, (), (9, 0), None),
        ({11: "^^^202605010900", 9: "45", 10: "moons"}, (), (9, 0), None),
    ],
)
def test_an_appointment_is_when_the_first_field_says_it_is(fields, more, starts, ends):
    data = siu(fields, *more).data
    assert data["starts_at"] == (starts and at(2026, 5, 1, *starts))
    assert data["ends_at"] == (ends and at(2026, 5, 1, *ends))


def test_a_day_alone_has_no_end_by_its_duration():
    data = siu({11: "^^^20260501", 9: "45"}).data
    assert (data["starts_precision"], data["ends_at"]) == ("day", None)


def test_every_trigger_of_one_appointment_is_in_its_stream():
    made = [siu(trigger=trigger).stream for trigger in ("S12", "S13", "S15", "S26")]
    assert len(set(made)) == 1
    assert siu({2: ""}).stream != made[0]
    assert siu({2: "F2^RIS"}).stream != made[0]


def test_an_appointment_told_before_its_patient_is_the_same():
    body = message("SIU^S12", segment("SCH", PLAIN_SCH), PATIENT, "AIL|1|A|CT^R2")
    [draft] = [each for each in mapped(body).parts[0].drafts if each.stream_type == "appointment"]
    assert draft.stream == siu().stream
    assert draft.data["place"] == "CT^R2"


def test_a_status_outside_the_table_is_text():
    assert siu({25: "BOOKED^Booked^HL70278"}).data["status"] == "booked"
    odd = siu({25: "Mrs Rook rang"})
    assert odd.data["status"] is None
    assert odd.clear["text"]["status"] == ["Mrs Rook rang"]


def test_reasons_are_codes_only_where_a_system_vouches_for_them():
    draft = siu({7: "a fall^^L", 8: "N1^New^SCT"}, "AIP|1|A|D1^Reed^Lou")
    assert draft.data["reason_codes"] == []
    assert draft.data["type_codes"] == [{"system": "SCT", "code": "N1"}]
    assert set(draft.clear["text"]["reasons"]) >= {"a fall", "New"}
    assert [each.value for each in draft.staff] == ["D1"]
    assert draft.clear["text"]["people"] == ["Lou Reed"]


def test_an_appointment_without_a_number_is_left_out():
    drafts, left_out = told("SIU^S12", "SCH|||||||why")
    assert drafts == []
    assert left_out == ("an appointment without a number: SCH-1 and SCH-2 are empty",)


@pytest.mark.parametrize(
    ("trigger", "fields", "field"),
    [
        ("T02", {4: "202603020700", 6: "202603020600"}, "TXA-6"),
        ("T02", {4: "202603020700"}, "TXA-4"), ("T05", {6: "202603020600"}, "TXA-6"),
        ("T07", {6: "202603020600", 8: "202603020800"}, "TXA-8"),
        ("T07", {6: "202603020600"}, "MSH-7"), ("T03", {6: "202603020600"}, "MSH-7"),
        ("T11", {8: "202603020600"}, "MSH-7"),
    ],
)  # fmt: skip
def test_a_documents_time_is_that_of_what_was_done_to_it(trigger, fields, field):
    (draft,), _ = txa(fields, trigger=trigger)
    assert draft.occurred_field == field


def test_an_addendum_names_the_document_that_it_belongs_to():
    (whole,), _ = txa()
    (addendum,), _ = txa({12: "DOC2^HIS", 13: "DOC1^HIS"}, trigger="T05")
    assert addendum.parent == whole.stream != addendum.stream
    assert whole.parent is None


def test_a_document_is_known_by_its_order_where_it_has_no_number():
    (draft,), _ = txa({12: "", 15: "F1^RIS"})
    assert draft.order.value == "F1"
    drafts, left_out = txa({12: ""})
    assert drafts == []
    assert left_out == ("a document without a number: TXA-12, TXA-14 and TXA-15 are empty",)


def test_content_is_kept_as_text_and_documents_stay_with_their_message():
    (draft,), left_out = txa({}, "OBX|1|FT|1^Body^L||one\\.br\\two", "OBX|2|ED|2^P^L||x^y^z")
    assert draft.clear["text"]["content"] == [{"name": ["Body"], "text": "one\ntwo"}]
    assert left_out == ("a document, which its message alone keeps",)


def test_content_over_the_limit_stays_with_its_message():
    half = "x" * (FIELD_CHARACTERS_MAX // 2)
    (fits,), left_out = txa({}, f"OBX|1|TX|1||{half}", f"OBX|2|TX|2||{half}")
    assert len(fits.clear["text"]["content"]) == 2
    assert left_out == ()
    (over,), left_out = txa({}, f"OBX|1|TX|1||{half}", f"OBX|2|TX|2||{half}y")
    assert "content" not in over.clear["text"]
    assert left_out == ("a document's text too long to keep beside its message",)


def rds(*segments):
    return told("RDS^O13", *segments, name="dispense")[0]


def test_a_dispense_stands_beside_its_order():
    drafts, _ = told("RDS^O13", "ORC|RE|P1^CPOE|F1^RX", "RXD|1|0409^Drug^NDC|202603020730|30|TAB")
    assert [each.event_type for each in drafts] == ["order.stated", "dispense.recorded"]
    dispensed = drafts[1]
    assert (dispensed.data["amount"], dispensed.data["unit"]) == (30.0, "TAB")
    assert (dispensed.occurred_field, dispensed.order.value) == ("RXD-3", "P1")


def test_a_correction_of_a_dispense_is_in_its_stream_and_a_refill_is_not():
    control = "ORC|RE|P1^CPOE|F1^RX"
    [first] = rds(control, "RXD|1|0409^Drug^NDC|202603020730|30")
    [again] = rds(control, "RXD|1|0409^Drug^NDC|202603020730|28")
    [refill] = rds(control, "RXD|2|0409^Drug^NDC|202603090730|30")
    assert first.stream == again.stream != refill.stream


def test_a_dispense_of_nothing_is_left_out():
    _, left_out = told("RDS^O13", "ORC|RE|P1|F1", "RXD|1||202603020730")
    assert "a dispense of nothing: RXD-2 is empty" in left_out


@pytest.mark.parametrize(
    ("action", "trigger", "event"),
    [
        ("AD", "PC2", "added"), ("UP", "PC1", "updated"), ("CO", "PC1", "updated"),
        ("DE", "PC2", "deleted"), ("", "PC1", "added"), ("", "PC3", "deleted"),
        ("UC", "PC2", "updated"),
    ],
)  # fmt: skip
def test_a_problems_action_says_what_becomes_of_it(action, trigger, event):
    draft = one(f"PPR^{trigger}", f"PRB|{action}|202603020730|I10^Hypertension^I10|PRB1")
    assert draft.event_type == f"problem.{event}"


def test_a_problem_is_the_patients_by_its_number_or_what_it_is():
    by_number = one("PPR^PC1", "PRB|AD||I10^H^I10|PRB1")
    assert by_number.stream == one("PPR^PC2", "PRB|UP||I11^H^I10|PRB1").stream
    assert by_number.stream.of_patient
    by_code = one("PPR^PC1", "PRB|AD||I10^H^I10")
    assert by_code.stream == one("PPR^PC3", "PRB|DE||I10^h^I10").stream
    drafts, left_out = told("PPR^PC1", "PRB|AD|202603020730")
    assert drafts == []
    assert left_out == ("a problem that names nothing: PRB-3 and PRB-4 are empty",)


def test_notes_belong_to_the_problem_that_they_follow():
    drafts, _ = told("PPR^PC1", "PRB|AD||I10^H^I10|1", "NTE|1||mild", "PRB|AD||I11^H^I10|2")
    assert drafts[0].clear["text"]["notes"] == ["mild"]
    assert "notes" not in drafts[1].clear["text"]
    assert drafts[0].ordinal != drafts[1].ordinal


def test_charges_are_kept_whole_and_never_read():
    lines = ["FT1|1|T1||20260302||CG|99213^Visit\\T\\Co", "GT1|1||Rook^Uncle"]
    draft = one("DFT^P03", VISIT, *lines, "ZF1|own")
    assert draft.clear == {"statement": {"segments": [VISIT, *lines]}}
    assert draft.data["segments"] == 3
    assert draft.stream.of_patient


def test_charges_of_one_account_are_one_stream():
    patient = segment("PID", {3: "1001^^^NORTH^MR", 18: "A1^^^NORTH"})
    first, second = (one(kind, patient, "FT1|1") for kind in ("DFT^P03", "BAR^P05"))
    assert first.stream == second.stream
    assert not first.stream.of_patient


def test_charges_over_the_limit_stay_with_their_message():
    fits = "FT1|" + "x" * (FIELD_CHARACTERS_MAX - 4)
    assert one("DFT^P03", fits).clear["statement"]["segments"] == [fits]
    drafts, left_out = told("DFT^P03", fits + "x")
    assert drafts == []
    assert left_out == ("charges too long to keep beside their message",)


def test_two_patients_of_one_message_are_told_of_each_by_themselves():
    body = message("DFT^P03", PATIENT, "FT1|1|A", PATIENT.replace("1001", "1002"), "FT1|2|B")
    facts = mapped(body)
    said = [each for part in facts.parts for each in part.drafts if each.role == "ft1"]
    assert [each.clear["statement"]["segments"] for each in said] == [["FT1|1|A"], ["FT1|2|B"]]
    assert len({(each.event_type, each.ordinal, each.role) for each in said}) == 2
