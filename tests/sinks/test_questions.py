"""Where, whole paths, who is in a ward, who met whom: asked as the role of apps."""

from uuid import UUID, uuid4

import pytest

from sinks import queries, questions
from sinks.questions import AnswerTooLong
from tests.sinks.paths import HOUR, alias, fact, hour, insert, joined, person, stay, visit
from tests.sinks.provisioned import OURS, THEIRS

pytestmark = pytest.mark.stack


@pytest.fixture
def ask(store):
    """Asks a question in a snapshot of our tenant."""

    def one(question, *arguments, **named):
        with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
            return question(snapshot, *arguments, **named)

    return one


def places(seen):
    return [each.location for each in seen]


def met(contacts):
    """Contacts in short: which visit, from which hour, until which."""
    start = hour(0)
    return [
        (
            UUID(each.admission_id).int - 0x1000,
            (each.started_at - start) / HOUR,
            None if each.ended_at is None else (each.ended_at - start) / HOUR,
        )
        for each in contacts
    ]


def test_a_stay_says_where_it_came_from(store, ask):
    event = fact(store, 1, "created", 0, place="W^2^B^H^^^X^3")
    stay(store, 1, "W^2^B^H^^^X^3", 0, start_event_id=event, start_inferred=True)
    message = store.rows("SELECT message_id::text AS id FROM trajectory_facts")[0]["id"]
    [seen] = ask(queries.where, admission_id=visit(1))
    assert (seen.start_event_id, seen.message_id) == (str(event), message)
    assert (seen.start_field, seen.start_inferred, seen.end_inferred) == ("EVN-6", True, False)
    assert (seen.facility, seen.building, seen.floor) == ("H", "X", "3")
    assert (seen.point_of_care, seen.room, seen.bed) == ("W", "2", "B")
    assert seen.location == "W^2^B^H^^^X^3"
    assert (seen.reported_at, seen.known_from, seen.known_to) == (hour(0), hour(0), None)
    assert (seen.fold_version, seen.partition_seq) == (1, 1)


def test_a_stay_whose_fact_is_not_there_is_told_without_a_message(store, ask):
    stay(store, 1, "W^1^A", 0)
    assert [each.message_id for each in ask(queries.where, admission_id=visit(1))] == [None]


@pytest.mark.parametrize(
    ("at", "expected"), [(-0.1, []), (0, ["A"]), (0.9, ["A"]), (1, ["B"]), (99, ["B"])]
)
def test_a_stay_holds_its_start_and_not_its_end(store, ask, at, expected):
    stay(store, 1, "A", 0, 1)
    stay(store, 1, "B", 1)
    assert places(ask(queries.where, admission_id=visit(1), at=hour(at))) == expected


def test_where_gives_both_tracks_and_no_plan(store, ask):
    stay(store, 1, "W^1^A", 0)
    stay(store, 1, "XRAY", 1, track="physical")
    stay(store, 1, "ICU^1^A", 0, track="planned")
    found = ask(queries.where, admission_id=visit(1))
    assert [(each.track, each.location) for each in found] == [
        ("census", "W^1^A"), ("physical", "XRAY"),
    ]  # fmt: skip


def test_a_path_is_every_stay_in_order_and_a_track_of_it_if_asked(store, ask):
    stay(store, 1, "B", 2)
    stay(store, 1, "A", 0, 2)
    stay(store, 1, "P", 1, track="planned")
    assert places(ask(queries.path, admission_id=visit(1))) == ["A", "B", "P"]
    assert places(ask(queries.path, admission_id=visit(1), track="planned")) == ["P"]


def test_each_pair_of_times_has_its_own_answer(store, ask):
    point = UUID(int=9)
    stay(store, 1, "A", 0, point_id=point, known_from=hour(1), known_to=hour(5))
    stay(store, 1, "A", 0, 2, point_id=point, known_from=hour(5))
    stay(store, 1, "B", 2, known_from=hour(5))

    def found(at, known_at):
        return places(
            ask(queries.where, admission_id=visit(1), at=hour(at), known_at=hour(known_at))
        )

    assert found(3, 0.9) == []
    assert found(3, 1) == found(3, 4.9) == ["A"]
    assert found(3, 5) == found(3, 99) == ["B"]
    assert found(1, 1) == found(1, 5) == ["A"]


def test_a_retracted_point_is_no_stay_but_was_one(store, ask):
    point = UUID(int=9)
    stay(store, 1, "W^1", 0, point_id=point, known_to=hour(3))
    stay(store, 1, "W^1", 0, point_id=point, known_from=hour(3), retracted_at=hour(3))
    for known_at, count in ((None, 0), (hour(3), 0), (hour(2), 1)):
        assert len(ask(queries.where, admission_id=visit(1), known_at=known_at)) == count
        assert len(ask(queries.path, admission_id=visit(1), known_at=known_at)) == count
        assert len(ask(queries.census, "W", known_at=known_at)) == count


def test_a_patient_is_asked_over_all_visits(store, ask):
    stay(store, 1, "ED", 0)
    stay(store, 2, "W^1", 1, patient_id=person(1))
    stay(store, 3, "ELSEWHERE", 1)
    assert places(ask(queries.where, patient_id=person(1))) == ["ED", "W^1"]
    assert places(ask(queries.path, patient_id=person(1), track="census")) == ["ED", "W^1"]


def test_of_a_visit_and_a_patient_both_are_held_to(store, ask):
    stay(store, 1, "ED", 0)
    assert places(ask(queries.where, admission_id=visit(1), patient_id=person(1))) == ["ED"]
    assert ask(queries.where, admission_id=visit(1), patient_id=person(2)) == []


def test_a_question_about_nobody_is_our_bug(ask):
    with pytest.raises(AssertionError, match="whose path"):
        ask(queries.where)


def test_m3_aliases_are_followed_both_ways_and_along_chains(store, ask):
    alias(store, 1, 2, 1)
    alias(store, 2, 3, 2)
    alias(store, 4, 3, 2)
    for number in (1, 2, 3, 4, 5):
        stay(store, number, f"W^{number}", number)
    everybody = [f"W^{number}" for number in (1, 2, 3, 4)]
    for number in (1, 2, 3, 4):
        assert places(ask(queries.where, patient_id=person(number), at=hour(9))) == everybody
    assert places(ask(queries.where, patient_id=person(5), at=hour(9))) == ["W^5"]


def test_an_alias_holds_from_when_it_was_known_until_it_was_undone(store, ask):
    alias(store, 1, 2, 2, undone_at=hour(4))
    stay(store, 1, "A", 0)
    stay(store, 2, "B", 0)

    def found(known_at):
        return places(ask(queries.where, patient_id=person(2), known_at=known_at))

    assert found(hour(1.9)) == ["B"]
    assert found(hour(2)) == found(hour(3.9)) == ["A", "B"]
    assert found(hour(4)) == found(None) == ["B"]


def test_a_cycle_of_aliases_ends(store, ask):
    alias(store, 1, 2, 1)
    alias(store, 2, 1, 2)
    stay(store, 1, "A", 0)
    assert places(ask(queries.where, patient_id=person(2))) == ["A"]


def test_a_census_is_who_is_in_the_ward_by_room_and_bed(store, ask):
    stay(store, 1, "W^2^A", 0)
    stay(store, 2, "W^1^B", 0, 5)
    stay(store, 3, "W^1^A", 0)
    stay(store, 4, "OTHER^1^A", 0)
    stay(store, 5, "W^3", 0, track="physical")
    assert places(ask(queries.census, "W", at=hour(4))) == ["W^1^A", "W^1^B", "W^2^A"]
    assert places(ask(queries.census, "W", at=hour(5))) == ["W^1^A", "W^2^A"]
    assert places(ask(queries.census, "W", at=hour(4), track="physical")) == ["W^3"]
    assert ask(queries.census, "w", at=hour(4)) == []


@pytest.mark.parametrize("days", [29, 30, 31, 400])
def test_a_long_stay_is_in_the_census_all_the_time(store, ask, days):
    stay(store, 1, "W^1", 0, 24 * days)
    stay(store, 2, "W^1", 0, 24 * days, track="physical")
    stay(store, 3, "W^1", 24 * days - 1)
    for at, count in ((0, 1), (24 * days - 2, 1), (24 * days - 1, 2), (24 * days, 1)):
        assert len(ask(queries.census, "W", at=hour(at))) == count
    assert met(ask(queries.contacts, visit(3), level="room")) == [
        (1, 24 * days - 1, 24 * days), (2, 24 * days - 1, 24 * days),
    ]  # fmt: skip


def test_a_census_as_known_then_has_who_was_known_then(store, ask):
    stay(store, 1, "W^1", 0, known_from=hour(2), known_to=hour(6))
    stay(store, 2, "W^2", 0, known_from=hour(4))
    assert places(ask(queries.census, "W", at=hour(1), known_at=hour(1))) == []
    assert places(ask(queries.census, "W", at=hour(1), known_at=hour(5))) == ["W^1", "W^2"]
    assert places(ask(queries.census, "W", at=hour(1))) == ["W^2"]


def test_an_answer_that_is_too_long_is_none(store, ask, monkeypatch):
    monkeypatch.setattr(questions, "ANSWER_MAX", 2)
    for number in (1, 2):
        stay(store, number, "W", 0)
    assert len(ask(queries.census, "W")) == 2
    stay(store, 3, "W", 0)
    with pytest.raises(AnswerTooLong, match="an answer may have: 2"):
        ask(queries.census, "W")


def test_a_contact_is_the_time_that_two_visits_shared(store, ask):
    stay(store, 1, "W^1^A^H", 2, 6)
    stay(store, 2, "W^1^B^H", 0, 3)  # before
    stay(store, 3, "W^1^B^H", 3, 5)  # within
    stay(store, 4, "W^1^C^H", 5)  # beyond
    stay(store, 5, "W^1^C^H", 0, 2)  # ends when it begins
    stay(store, 6, "W^1^C^H", 6, 7)  # begins when it ends
    found = ask(queries.contacts, visit(1), level="room")
    assert met(found) == [(2, 2, 3), (3, 3, 5), (4, 5, 6)]
    assert [each.seconds for each in found] == [3600, 7200, 3600]
    assert {(each.level, each.point_of_care, each.room) for each in found} == {("room", "W", "1")}
    assert {each.patient_id for each in found} == {str(person(n)) for n in (2, 3, 4)}


def test_a_contact_that_goes_on_has_no_end(store, ask):
    stay(store, 1, "W^1^A", 0)
    stay(store, 2, "W^1^B", 1)
    [found] = ask(queries.contacts, visit(1), level="room")
    assert (found.started_at, found.ended_at, found.seconds) == (hour(1), None, None)


@pytest.mark.parametrize(
    ("other", "room", "ward"),
    [
        ("W^1^B^H^^^X^2", 1, 1),
        ("W^2^B^H^^^X^2", 0, 1),
        ("W^1^B^G^^^X^2", 0, 0),
        ("W^1^B^H^^^Y^2", 0, 0),
        ("W^1^B^H^^^X^3", 0, 0),
        ("V^1^B^H^^^X^2", 0, 0),
    ],
)
def test_a_room_is_one_by_its_whole_place_and_a_ward_without_the_room(
    store, ask, other, room, ward
):
    stay(store, 1, "W^1^A^H^^^X^2", 0)
    stay(store, 2, other, 0)
    assert len(ask(queries.contacts, visit(1), level="room")) == room
    assert len(ask(queries.contacts, visit(1), level="ward")) == ward


def test_places_that_name_no_room_or_no_ward_are_shared_with_nobody(store, ask):
    for number in (1, 2):
        stay(store, number, "W", 0)
        stay(store, number + 2, "^1^A", 0)
    assert ask(queries.contacts, visit(1), level="room") == []
    assert met(ask(queries.contacts, visit(1), level="ward")) == [(2, 0, None)]
    assert ask(queries.contacts, visit(3), level="ward") == []


def test_times_that_touch_are_one_contact_and_others_are_told_apart(store, ask):
    stay(store, 1, "W^1^A", 0, 2)
    stay(store, 1, "W^1^B", 2, 9)
    stay(store, 2, "W^1^C", 1, 3)
    stay(store, 2, "W^1^D", 3, 4)
    stay(store, 2, "W^1^C", 5, 6)
    assert met(ask(queries.contacts, visit(1), level="room")) == [(2, 1, 4), (2, 5, 6)]


def test_contacts_are_those_in_the_flesh_where_that_is_known(store, ask):
    for number in (1, 2, 3):
        stay(store, number, "W^1", 0)
    stay(store, 1, "W^1", 0, track="physical")
    stay(store, 2, "XRAY^1", 0, track="physical")
    assert met(ask(queries.contacts, visit(1), level="room")) == [(3, 0, None)]
    assert met(ask(queries.contacts, visit(1), level="room", track="census")) == [
        (2, 0, None), (3, 0, None),
    ]  # fmt: skip


def test_a_visit_without_physical_stays_was_where_its_census_has_it(store, ask):
    stay(store, 1, "W^1", 0)
    stay(store, 2, "W^1", 0, track="physical")
    assert met(ask(queries.contacts, visit(1), level="room")) == [(2, 0, None)]


def test_a_plan_is_no_contact(store, ask):
    stay(store, 1, "W^1", 0)
    stay(store, 2, "W^1", 0, track="planned")
    assert ask(queries.contacts, visit(1), level="room") == []


def test_nobody_is_their_own_contact_after_aliases_either(store, ask):
    stay(store, 1, "W^1^A", 0)
    stay(store, 2, "W^1^B", 0, patient_id=person(1))
    stay(store, 3, "W^1^C", 0)
    alias(store, 3, 1, 5)
    assert ask(queries.contacts, visit(1), level="room") == []
    assert met(ask(queries.contacts, visit(1), level="room", known_at=hour(4))) == [(3, 0, None)]


def test_contacts_are_as_they_were_known(store, ask):
    stay(store, 1, "W^1", 0)
    stay(store, 2, "W^1", 1, known_from=hour(1), known_to=hour(5))
    stay(store, 3, "W^1", 1, known_from=hour(5))
    assert met(ask(queries.contacts, visit(1), level="room", known_at=hour(2))) == [(2, 1, None)]
    assert met(ask(queries.contacts, visit(1), level="room")) == [(3, 1, None)]


def test_the_point_of_a_later_patient_is_found_by_that_patient(store, ask):
    point = UUID(int=9)
    stay(store, 1, "W", 0, point_id=point, known_to=hour(3))
    stay(store, 1, "W", 0, point_id=point, known_from=hour(3), patient_id=person(2))
    assert ask(queries.where, patient_id=person(1)) == []
    assert places(ask(queries.where, patient_id=person(2))) == ["W"]
    assert places(ask(queries.where, patient_id=person(1), known_at=hour(2))) == ["W"]


@pytest.fixture
def renumbered(store):
    """Visit 1 was told again as visit 2 at hour 5, and that one as visit 3 at hour 8."""
    for number, known_from, known_to in ((1, 0, 5), (2, 5, 8), (3, 8, None)):
        stay(
            store, number, "W^1^A", 0, patient_id=person(1), known_from=hour(known_from),
            known_to=None if known_to is None else hour(known_to),
        )  # fmt: skip
    stay(store, 9, "W^1^B", 1, known_from=hour(1))
    joined(store, 1, 2, 5)
    joined(store, 2, 3, 8)


@pytest.mark.parametrize(
    ("known_at", "expected"),
    [(None, {1: 3, 2: 3, 3: 3}), (8, {1: 3, 2: 3, 3: 3}), (7, {1: 2, 2: 2}), (4, {1: 1})],
)
def test_a_joined_visit_is_asked_for_by_any_of_its_numbers(ask, renumbered, known_at, expected):
    known = None if known_at is None else hour(known_at)
    for number in (1, 2, 3):
        for question in (queries.where, queries.path):
            found = ask(question, admission_id=visit(number), known_at=known)
            into = [str(visit(expected[number]))] if number in expected else []
            assert [each.admission_id for each in found] == into
        contacts = ask(queries.contacts, visit(number), known_at=known)
        assert met(contacts) == ([(9, 1, None)] if number in expected else [])


def test_a_joined_visit_is_asked_for_with_its_patient(store, ask, renumbered):
    for patient, count in ((person(1), 1), (person(9), 0)):
        assert len(ask(queries.path, admission_id=visit(1), patient_id=patient)) == count


def test_a_joined_visit_is_no_contact_of_itself_and_stands_once_in_its_ward(ask, renumbered):
    assert met(ask(queries.contacts, visit(9))) == [(3, 1, None)]
    found = ask(queries.census, "W", at=hour(9))
    assert {each.admission_id for each in found} == {str(visit(3)), str(visit(9))}


def test_another_tenants_join_leads_nowhere(store, ask):
    stay(store, 1, "W^1^A", 0)
    stay(store, 2, "W^1^B", 0)
    joined(store, 1, 2, 1, tenant_id=THEIRS)
    [seen] = ask(queries.where, admission_id=visit(1))
    assert seen.admission_id == str(visit(1))


def test_a_ring_of_joins_ends_the_question_and_not_the_server(store, ask):
    joined(store, 1, 2, 1)
    joined(store, 2, 1, 2)
    stay(store, 2, "W^1^A", 0)
    assert len(ask(queries.where, admission_id=visit(1))) == 1


def test_the_timeline_of_a_joined_visit_is_that_of_the_one_as_which_it_goes_on(store, ask):
    joined(store, 1, 2, 1)
    for number, kind in ((1, "admission.joined"), (2, "admission.created")):
        insert(
            store, "timeline_events", id=uuid4(), tenant_id=OURS, admission_id=visit(number),
            event_type=kind, occurred_at=hour(0), data={}, partition=0, partition_seq=1,
        )  # fmt: skip
    for number in (1, 2):
        told = ask(queries.timeline, visit(number))
        assert [each.event_type for each in told] == ["admission.created"]
