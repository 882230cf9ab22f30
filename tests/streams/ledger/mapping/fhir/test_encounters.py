"""Encounters to statements: whose, which visit, which places, when (rules T20, T22, T25, T27)."""

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from schemas.clock import instant
from schemas.events import TYPES
from schemas.identity import Identifier
from streams.ledger.mapping.facts import Facts, Ignored, Unmappable
from streams.ledger.mapping.fhir import locations, resource
from streams.ledger.mapping.fhir.document import PARTS_MAX, map_document
from streams.ledger.mapping.fhir.encounter import STAYS_MAX
from streams.ledger.mapping.fhir.references import Source
from tests.streams.ledger.mapping.fhir.resources import (
    BASE,
    FEED,
    RECEIVED,
    SOURCE,
    at,
    body,
    bundle,
    draft,
    encounter,
    location,
    mapped,
    mrn,
    patient,
    stay,
)


def places(*resources):
    """The places of the stays of an Encounter that comes with these resources."""
    facts = mapped(bundle(*resources))
    drafts = [each for part in facts.parts for each in part.drafts]
    [stated] = [each for each in drafts if each.event_type == "admission.encounter_stated"]
    return [each["place"] for each in stated.data["stays"]]


def at_location(reference):
    return encounter(stay("", "08:00", location={"reference": reference}))


def test_t27_a_version_is_one_statement_with_its_places_as_they_were_said():
    found = draft(
        encounter(stay("W1", "08:00", "10:00", "completed"), stay("W2", status="planned"))
    )
    assert found.event_type == "admission.encounter_stated"
    assert set(found.clear) == set(TYPES[found.event_type].sealed)
    assert (found.data["version"], found.data["version_number"]) == ("1", 1)
    assert found.data["status"] == "in-progress"
    assert [each["place"] for each in found.data["stays"]] == ["W1", "W2"]
    first, second = found.data["stays"]
    assert (first["status"], first["precision"]) == ("completed", "second")
    assert instant(first["ended_at"]) == datetime(2026, 3, 2, 10, tzinfo=UTC)
    assert (second["status"], second["started_at"], second["precision"]) == ("planned", None, None)


def test_t27_when_it_was_last_updated_is_told_and_is_no_time_of_a_move():
    found = draft(encounter(stay("W1", "09:00"), start=None))
    assert (found.occurred_field, found.occurred.text) == ("location.period", at("09:00"))
    assert instant(found.data["reported_at"]) == datetime(2026, 3, 3, 1, tzinfo=UTC)
    untimed = draft(encounter(stay("W1"), start=None))
    assert untimed.occurred_field == "meta.lastUpdated"
    assert untimed.data["stays"][0]["started_at"] is None
    silent = draft(encounter(start=None, meta={}))
    assert (silent.occurred_field, silent.data["reported_at"]) == ("received", None)


@pytest.mark.parametrize(
    ("sent", "number"),
    [("7", 7), ("007", 7), ("MTYxMjM", None),
     ("9" * 18, 10**18 - 1), ("9" * 19, None), ("٣", None)],
)  # fmt: skip
def test_t27_a_version_is_a_number_where_it_is_one(sent, number):
    found = draft(encounter(meta={"versionId": sent}))
    assert (found.data["version"], found.data["version_number"]) == (sent, number)


@pytest.mark.parametrize(("code", "letter"), [("IMP", "I"), ("AMB", "O"), ("OBSENC", "OBSENC")])
def test_t26_the_class_is_what_pv1_2_says_where_there_is_a_word_for_it(code, letter):
    assert draft(encounter(**{"class": {"code": code}})).data["patient_class"] == letter


def test_t20_a_place_is_the_most_granular_one_with_what_it_is_part_of():
    found = places(
        at_location("Location/b"),
        location("b", "bd", "Bed 3", "Location/r"),
        location("r", "ro", "R2", "Location/w"),
        location("w", "wa", "WARD1", "Location/f"),
        location("f", "lvl", "F2", "Location/h"),
        location("h", "bu", "MAIN", "Location/s"),
        location("s", "si", "NORTH"),
    )
    assert found == ["WARD1^R2^Bed 3^NORTH^^^MAIN^F2"]


def test_t20_an_identifier_names_a_place_before_its_name_does_and_its_id_at_last():
    coded = location("b", "bd", "Bed 3", "Location/w", identifier=[{"value": "B3"}])
    assert places(at_location("Location/b"), coded, location("w", "wa")) == ["w^^B3"]


def test_t20_a_place_of_no_type_or_of_one_that_pl_lacks_is_the_point_of_care():
    assert places(at_location("Location/x"), location("x", None, "Clinic")) == ["Clinic"]
    wing = location("x", "wi", "South^Wing", "Location/y")
    assert places(at_location("Location/x"), wing, location("y", "bu", "B")) == [
        "South\\S\\Wing^^^^^^B"
    ]
    assert places(at_location("Location/x"), location("x", "ho", "Rook's home")) == ["home"]


def test_t20_a_chain_may_be_contained_or_known_from_before_or_end_unknown():
    inside = {
        **encounter(stay("", "08:00", location={"reference": "#b"})),
        "contained": [location("b", "bd", "B", "#w"), location("w", "wa", "W", "Location/s")],
    }
    assert draft(inside).data["stays"][0]["place"] == "W^^B"
    known = replace(SOURCE, known={"Location/s": location("s", "si", "S")})
    assert draft(inside, known).data["stays"][0]["place"] == "W^^B^S"
    away = {**inside, "location": [stay("", "08:00", location={"reference": "Location/far"})]}
    assert draft(away).data["stays"][0]["place"] == "far"


def test_t20_a_place_that_is_part_of_itself_is_refused():
    ring = location("a", "wa", "A", "Location/b"), location("b", "ro", "B", "Location/a")
    with pytest.raises(Unmappable, match=r"part of itself: Location\.partOf"):
        places(at_location("Location/a"), *ring)


def chain(length):
    return [location(f"l{n}", "area", f"A{n}", f"Location/l{n + 1}") for n in range(length)]


def test_t20_a_chain_of_places_has_a_bound():
    assert places(at_location("Location/l0"), *chain(locations.CHAIN_MAX)) == ["A0"]
    with pytest.raises(Unmappable, match="part of itself"):
        places(at_location("Location/l0"), *chain(locations.CHAIN_MAX + 1))


def test_a_place_with_nothing_but_words_is_these_words_and_one_without_is_not_said():
    for said, place in (({"display": "Waiting Room"}, "Waiting Room"), ({}, None)):
        shown = {**encounter(), "location": [{"location": said}]}
        assert draft(shown).data["stays"][0]["place"] == place


def visit(*identifiers, **more):
    [part] = mapped(encounter(identifier=list(identifiers), **more)).parts
    assert part.drafts[0].clear == {"visit_number": part.claim.visit.value}
    return part.claim.visit


def test_t25_the_visit_is_the_one_that_pv1_19_would_name():
    plain, system = {"value": "X"}, {"value": "Y", "system": "urn:oid:1.2"}
    assert visit(plain, system, mrn("V1", kind="VN")) == Identifier(
        value="V1", authority="NORTH", type="VN"
    )
    assert visit(plain, system) == Identifier(value="Y", authority="urn:oid:1.2")
    assert visit(plain) == Identifier(value="X", authority="NORTH")
    assert visit(mrn("ACC", kind="AN"), {"value": "O", "use": "old"}).value == "e1"
    assert visit().authority == BASE


def test_t25_a_system_is_the_authority_that_the_feed_has_for_it():
    source = replace(SOURCE, systems={"urn:oid:1.2": "SOUTH"})
    [part] = mapped(encounter(identifier=[{"value": "Y", "system": "urn:oid:1.2"}]), source).parts
    assert part.claim.visit.authority == "SOUTH"


def test_t25_an_encounter_without_any_number_is_refused():
    nameless = encounter(identifier=[])
    del nameless["id"]
    with pytest.raises(Unmappable, match="no_visit: neither"):
        mapped(nameless)


def claimed(subject, *others):
    facts = mapped(bundle(encounter(subject=subject), *others))
    return [(one.value, one.authority) for one in facts.parts[0].claim.identifiers]


def test_the_patient_is_the_subjects_identifier_the_resource_or_its_id():
    assert claimed({"identifier": mrn("A")}) == [("A", "NORTH")]
    rook = patient("p1", "A")
    assert claimed({"reference": "Patient/p1"}, rook) == [("A", "NORTH"), ("p1", BASE)]
    assert claimed({"reference": f"{BASE}/Patient/p1/_history/2"}, rook)[0] == ("A", "NORTH")
    assert claimed({"reference": "Patient/p1"}) == [("p1", BASE)]
    assert claimed({"reference": f"{BASE}/Patient/p1"}) == [("p1", BASE)]
    elsewhere = "https://other.example/fhir"
    assert claimed({"reference": f"{elsewhere}/Patient/p1"}) == [("p1", elsewhere)]
    assert claimed({"reference": "urn:uuid:7"}) == [("7", BASE)]


def test_a_contained_patients_id_names_nobody():
    inside = {
        **encounter(subject={"reference": "#p"}),
        "contained": [patient("p", "A")],
    }
    [part] = mapped(inside).parts
    assert [one.value for one in part.claim.identifiers] == ["A"]


def test_ids_are_the_feeds_own_where_no_server_is_named():
    [part] = mapped(encounter(subject={"reference": "Patient/p1"}), Source(feed=FEED)).parts
    assert part.claim.identifiers[0].authority == f"urn:uuid:{FEED.feed_id}"


@pytest.mark.parametrize(
    "subject",
    [{}, {"display": "Rook"}, {"reference": "Group/g"}, {"reference": "Patient?identifier=A"},
     {"reference": "#nobody"}, {"identifier": {"system": "urn:oid:1"}}],
)  # fmt: skip
def test_an_encounter_of_nobody_is_refused(subject):
    with pytest.raises(Unmappable, match=r"no_patient: Encounter\.subject") as refused:
        mapped(encounter(subject=subject))
    assert "Rook" not in str(refused.value)


def test_t22_a_time_of_day_without_a_zone_is_refused_by_its_name():
    bad = encounter(stay("W1"))
    bad["location"][0]["period"] = {"start": "2026-03-02T10:00:00"}
    with pytest.raises(Unmappable, match=r"has no zone: Encounter\.location\.period\.start"):
        mapped(bad)


@pytest.mark.parametrize(
    "said", ["soon", "2026-13-01", "2026-03-02T25:00:00Z9", "26-03-02", "2026-03-02T10Z"]
)
def test_t22_what_is_no_time_is_refused_by_its_name(said):
    with pytest.raises(Unmappable, match=r"no time: Encounter\.period\.start"):
        mapped(encounter(period={"start": said}))


@pytest.mark.parametrize(
    ("said", "start", "end", "precision"),
    [
        ("2026", (2026, 1, 1), (2027, 1, 1), "year"),
        ("2026-12", (2026, 12, 1), (2027, 1, 1), "month"),
        ("2026-02", (2026, 2, 1), (2026, 3, 1), "month"),
        ("2026-03-02", (2026, 3, 2), (2026, 3, 3), "day"),
        ("2026-03-02T10:00:00.25Z", (2026, 3, 2, 10, 0, 0, 250_000), None, "fraction"),
        ("2026-03-02T12:00+02:00", (2026, 3, 2, 10), None, "minute"),
    ],
)
def test_t22_a_date_stays_a_date_and_a_period_includes_the_one_that_ends_it(
    said, start, end, precision
):
    found = draft(encounter(period={"start": said, "end": said}))
    begun, ended = (datetime(*each, tzinfo=UTC) for each in (start, end or start))
    assert instant(found.data["period_started_at"]) == begun
    assert instant(found.data["period_ended_at"]) == ended
    assert (found.occurred.precision, found.occurred.text) == (precision, said)


def test_t22_a_date_begins_in_the_feeds_zone():
    sydney = replace(SOURCE, feed=replace(FEED, zone=ZoneInfo("Australia/Sydney")))
    found = draft(encounter(period={"start": "2026-03-02", "end": "2026-03-02"}), sydney)
    assert found.occurred.at == datetime(2026, 3, 1, 13, tzinfo=UTC)
    assert instant(found.data["period_ended_at"]) == datetime(2026, 3, 2, 13, tzinfo=UTC)


# --- documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "no JSON"), (b"{", "no JSON"), (b"[]", "no resource"), (b"{}", "no resourceType"),
        (b'{"resourceType": 7}', "no text: resourceType"),
        (b'{"resourceType": "Encounter", "subject": 7}', r"Encounter\.subject"),
        (b'{"resourceType": "Patient", "identifier": {}}', r"Patient\.identifier"),
        (b'{"resourceType": "Patient", "id": "1", "active": "no"}', r"no boolean: Patient\.active"),
        (b'{"resourceType": "Patient", "id": "1", "name": [{"given": "Ada"}]}', r"name\.given"),
        (b'{"resourceType": "Bundle", "entry": [7]}', r"Bundle\.entry"),
        (b'{"resourceType": "Bundle", "entry": [{"resource": {}}]}', "no resourceType"),
    ],
)  # fmt: skip
def test_what_is_no_resource_is_refused_by_the_elements_name(sent, reason):
    with pytest.raises(Unmappable, match=reason) as refused:
        map_document(sent, SOURCE, received_at=RECEIVED)
    assert "Ada" not in str(refused.value)


def nested(depth):
    inner = b'{"resourceType":"Basic","x":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    return map_document(inner, SOURCE, received_at=RECEIVED)


def test_depth_has_a_bound():
    assert isinstance(nested(resource.DEPTH_MAX), Ignored)
    with pytest.raises(Unmappable, match="nested deeper"):
        nested(resource.DEPTH_MAX + 1)


def test_size_has_a_bound():
    whole = body({"resourceType": "Basic"}).ljust(resource.BODY_BYTES_MAX)
    assert isinstance(map_document(whole, SOURCE, received_at=RECEIVED), Ignored)
    with pytest.raises(Unmappable, match="more bytes"):
        map_document(whole + b" ", SOURCE, received_at=RECEIVED)


def test_lists_and_texts_have_a_bound():
    most = [stay("W", "08:00")] * STAYS_MAX
    assert len(draft(encounter(*most)).data["stays"]) == STAYS_MAX
    with pytest.raises(Unmappable, match=r"more than 500: Encounter\.location"):
        mapped(encounter(*most, stay("W")))
    names = [{"family": "Rook"}] * resource.ITEMS_MAX
    assert draft(patient("p", name=names))
    with pytest.raises(Unmappable, match=r"more than 1000: Patient\.name"):
        mapped(patient("p", name=[*names, {}]))
    assert places(encounter(stay("W" * resource.TEXT_CHARACTERS_MAX)))
    with pytest.raises(Unmappable, match="too long: "):
        mapped(encounter(stay("W" * (resource.TEXT_CHARACTERS_MAX + 1))))


def test_parts_of_a_bundle_have_a_bound():
    assert len(mapped(bundle(*[encounter()] * PARTS_MAX)).parts) == PARTS_MAX
    with pytest.raises(Unmappable, match="more parts"):
        mapped(bundle(*[encounter()] * (PARTS_MAX + 1)))


def test_entries_of_a_bundle_have_a_bound():
    empty = [{"request": {"method": "GET"}}] * resource.ENTRIES_MAX
    assert isinstance(mapped({"resourceType": "Bundle", "entry": empty}), Ignored)
    with pytest.raises(Unmappable, match=r"more than 10000: Bundle\.entry"):
        mapped({"resourceType": "Bundle", "entry": [*empty, {}]})


def test_a_byte_order_mark_is_no_part_of_it():
    facts = map_document(b"\xef\xbb\xbf" + body(encounter()), SOURCE, received_at=RECEIVED)
    assert isinstance(facts, Facts)


def test_what_tells_nothing_of_ours_is_ignored_with_its_reason():
    assert mapped({"resourceType": "Basic"}).reason == "resource type not mapped: Basic"
    odd = mapped({"resourceType": "Rook, Ada"})
    assert (odd.message_type, odd.reason) == ("?", "resource type not mapped: ?")
    assert mapped(bundle(location("l"))).reason == "nothing mapped in it"


def test_what_a_bundle_deletes_says_nothing():
    gone = {"resource": encounter(), "request": {"method": "DELETE"}}
    assert isinstance(mapped({"resourceType": "Bundle", "entry": [gone]}), Ignored)


def test_the_same_document_gives_the_same_drafts_each_told_apart():
    document = bundle(encounter(), patient("p", "A"), encounter(id="e2"))
    facts = mapped(document)
    assert mapped(document) == facts
    drafts = [each for part in facts.parts for each in part.drafts]
    assert len({(each.event_type, each.ordinal, each.role) for each in drafts}) == len(drafts) == 3
