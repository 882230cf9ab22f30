"""How well feeds tell: each count over facts that make it, as the role of apps."""

from uuid import UUID, uuid4

import pytest

from sinks import beds, quality, queries
from tests.sinks.paths import alias, fact, hour, insert, stay, visit
from tests.sinks.provisioned import FEED, OURS, THEIRS

pytestmark = pytest.mark.stack

OTHER = str(UUID(int=0xFEE2))


@pytest.fixture
def card(store):
    """Gives the scorecard of our feed."""
    for tenant, feeds in ((OURS, {"ours": FEED, "beside": OTHER}), (THEIRS, {"theirs": uuid4()})):
        insert(store, "tenants", id=tenant, name=tenant)
        for name, feed in feeds.items():
            insert(store, "feeds", id=feed, tenant_id=tenant, name=name)

    def ask(feed="ours", since=None):
        with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
            conflicts = quality.bed_conflicts(snapshot, since=since)
            [found] = quality.scorecards(snapshot, conflicts, feed=feed, since=since)
        return found

    return ask


def moved(store, number, at, place, prior, **changed):
    """A move and the stay that it begins."""
    event = fact(store, number, "location_changed", at, place=place, prior_place=prior, **changed)
    stay(store, number, place, at, start_event_id=event)
    return event


def test_a_feed_that_told_nothing_has_no_shares(card):
    found = card()
    assert (found.feed_id, found.feed) == (FEED, "ours")
    assert (found.messages, found.facts, found.late.count, found.late.max_s) == (0, 0, 0, None)
    assert set(found.shares.values()) == {None}


def test_every_feed_of_the_tenant_has_a_card_and_no_other(store, card):
    with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
        assert [each.feed for each in quality.scorecards(snapshot, [])] == ["beside", "ours"]
        assert quality.scorecards(snapshot, [], feed="theirs") == []


def test_messages_are_counted_by_what_became_of_them(store, card):
    for outcome in ("applied", "applied", "ignored", "dead"):
        for feed, tenant in ((FEED, OURS), (OTHER, OURS)):
            insert(
                store, "messages", tenant_id=tenant, feed_id=feed, message_id=uuid4(),
                topic="t", partition=0, offset=1, received_at=hour(0), recorded_at=hour(0),
                message_type="ADT^A01", outcome=outcome, mapper_version=1, events=1,
                body_sealed=b"x",
            )  # fmt: skip
    found = card()
    assert (found.messages, found.ignored, found.dead) == (4, 1, 1)
    assert found.shares["ignored"] == 0.25
    assert card(since=hour(1)).messages == 0


def test_messages_that_use_the_number_of_another_one_are_counted(store, card):
    used, once = uuid4(), uuid4()
    for control in (used, used, used, once, None, None):
        insert(
            store, "messages", tenant_id=OURS, feed_id=FEED, message_id=uuid4(), topic="t",
            partition=0, offset=1, received_at=hour(0), recorded_at=hour(0),
            message_type="ADT^A01", control_hmac=control, outcome="applied", mapper_version=1,
            events=1, body_sealed=b"x",
        )  # fmt: skip
    found = card()
    assert (found.messages, found.reused_control_ids) == (6, 2)
    assert found.shares["reused_control_ids"] == 2 / 6


def test_the_share_without_evn6_is_of_messages_and_not_of_facts(store, card):
    message = uuid4()
    for field in ("EVN-2", "EVN-2"):
        fact(store, 1, "created", 0, effective_field=field, message_id=message)
    fact(store, 2, "created", 0, effective_field="EVN-6")
    fact(store, 3, "created", 0, effective_field="ZBE-2")
    fact(store, 4, "created", 0, effective_field="MSH-7", feed_id=OTHER)
    found = card()
    assert (found.facts, found.told, found.without_evn6) == (4, 3, 1)
    assert found.shares["without_evn6"] == pytest.approx(1 / 3)


def test_t11_a_prior_place_that_is_not_where_we_had_the_patient_is_counted(store, card):
    stay(store, 1, "A^1^1", 0, 1)
    moved(store, 1, 1, "B^1^1", "A^1^1")
    stay(store, 2, "A^1^1", 0, 1)
    moved(store, 2, 1, "B^1^1", "C^1^1")
    moved(store, 3, 1, "B^1^1", "C^1^1")
    moved(store, 4, 1, "B^1^1", "")
    moved(store, 5, 1, "B^1^1", None)
    found = card()
    assert (found.with_prior, found.prior_mismatched, found.prior_unknown) == (3, 1, 1)
    assert found.shares["prior_mismatched"] == pytest.approx(1 / 3)


def test_the_stay_that_a_move_implies_before_it_does_not_hide_the_mismatch(store, card):
    event = fact(store, 1, "location_changed", 2, place="B", prior_place="C")
    stay(store, 1, "A", 0, 1.9, end_event_id=event, end_inferred=True)
    stay(store, 1, "C", 1.9, 2, start_event_id=event, start_inferred=True)
    stay(store, 1, "B", 2, start_event_id=event)
    assert card().prior_mismatched == 1


def test_after_a_discharge_we_have_the_patient_nowhere(store, card):
    stay(store, 1, "A", 0, 1)
    moved(store, 1, 3, "B", "A")
    found = card()
    assert (found.prior_mismatched, found.prior_unknown) == (0, 1)


def test_t20_a_prior_place_is_compared_by_what_makes_it_a_place(store, card):
    stay(store, 1, "A^1^1^H", 0, 1)
    moved(store, 1, 1, "B", ' A ^1^1^H^OCCUPIED^N^""^^description')
    moved(store, 2, 1, "B", "^^^^OCCUPIED")
    found = card()
    assert (found.with_prior, found.prior_mismatched) == (1, 0)


def test_facts_out_of_order_are_told_with_by_how_much(store, card):
    fact(store, 1, "created", 0, recorded_at=hour(1))
    fact(store, 1, "location_changed", 8, recorded_at=hour(8))
    for late, recorded in ((7, 9), (6, 10), (4, 11)):
        fact(store, 1, "location_changed", late, recorded_at=hour(recorded))
    fact(store, 2, "created", 2, recorded_at=hour(12))  # another visit
    late = card().late
    assert (late.count, late.median_s, late.max_s) == (3, 2 * 3600, 4 * 3600)
    assert late.p95_s == pytest.approx(3.8 * 3600)
    assert card().shares["late"] == 0.5


def test_t2_a_cancellation_is_not_late_for_telling_when_the_cancelled_happened(store, card):
    fact(store, 1, "created", 0)
    fact(store, 1, "location_changed", 2)
    fact(store, 1, "cancelled", 0, recorded_at=hour(3))
    assert card().late.count == 0


def test_t8_an_update_that_names_another_place_is_a_discrepancy(store, card):
    stay(store, 1, "A^1^1", 0, 5)
    for at, place in ((1, "A^1^1^^O"), (1, "B^1^1"), (1, ""), (1, None), (9, "B^1^1")):
        fact(store, 1, "updated", at, place=place)
    found = card()
    assert (found.updates, found.discrepancies) == (2, 1)
    assert found.shares["discrepancies"] == 0.5


def joined(store, number, into):
    """Visit `number` goes on as visit `into`; its facts are told again there."""
    insert(
        store, "admission_aliases", tenant_id=OURS, admission_id=visit(number),
        into_admission_id=visit(into), event_id=uuid4(), recorded_at=hour(9),
    )  # fmt: skip


def test_m5_facts_told_again_when_a_number_was_changed_are_neither_late_nor_told_twice(store, card):
    messages = [uuid4() for _ in range(3)]
    for message, kind, at in zip(
        messages, ("created", "location_changed", "location_changed"), (0, 1, 2), strict=True
    ):
        told = {"message_id": message, "place": "B", "effective_field": "EVN-2"}
        fact(store, 1, kind, at, **told)
        fact(store, 2, kind, at, **told, recorded_at=hour(9 + at / 100))
    fact(store, 2, "created", 5)
    before = card()
    assert (before.late.count, before.facts) == (3, 7)
    joined(store, 1, 2)
    found = card()
    assert (found.late.count, found.facts, found.told, found.without_evn6) == (0, 4, 4, 3)


def test_m5_what_is_late_after_a_number_was_changed_is(store, card):
    joined(store, 1, 2)
    message = uuid4()
    fact(store, 1, "created", 4, message_id=message)
    fact(store, 2, "created", 4, message_id=message, recorded_at=hour(9))
    fact(store, 2, "location_changed", 3, recorded_at=hour(10))
    assert (card().late.count, card().late.max_s) == (1, 3600)


def test_m5_a_joined_visit_is_judged_by_the_path_of_the_number_that_stays(store, card):
    joined(store, 1, 2)
    message = uuid4()
    stay(store, 2, "A^1^1", 0, 1)
    told = {"place": "B^1^1", "prior_place": "A^1^1", "message_id": message}
    fact(store, 1, "location_changed", 1, **told)
    fact(store, 1, "cancelled", 1, message_id=message)
    moved = fact(store, 2, "location_changed", 1, **told)
    fact(store, 2, "created", 1, message_id=message)
    fact(store, 2, "cancelled", 1, message_id=message)
    stay(store, 2, "B^1^1", 1, start_event_id=moved)
    found = card()
    assert (found.with_prior, found.prior_unknown, found.prior_mismatched) == (1, 0, 0)
    assert found.unresolved_cancels == 0


@pytest.mark.parametrize(
    ("cancel", "original"),
    [
        ("cancelled", "created"),
        ("location_change_cancelled", "location_changed"),
        ("discharge_cancelled", "discharged"),
        ("departure_cancelled", "departed"),
        ("arrival_cancelled", "arrived"),
        ("leave_cancelled", "leave_started"),
        ("return_cancelled", "leave_ended"),
        ("plan_cancelled", "planned"),
    ],
)
def test_t4_a_cancellation_of_what_was_never_told_is_unresolved(store, card, cancel, original):
    fact(store, 1, cancel, 1)
    assert card().unresolved_cancels == 1
    fact(store, 1, original, 2)
    assert card().unresolved_cancels == 1
    fact(store, 1, original, 1)
    assert card().unresolved_cancels == 0


def test_t6_a_cancellation_without_its_time_takes_any_that_was_reported_before(store, card):
    fact(store, 1, "cancelled", 3, effective_field="EVN-2")
    fact(store, 1, "created", 5)
    assert card().unresolved_cancels == 1
    fact(store, 1, "created", 1)
    assert card().unresolved_cancels == 0


def test_t2_a_coarse_cancellation_names_all_that_its_time_means(store, card):
    fact(store, 1, "cancelled", 1, effective_precision="hour")
    fact(store, 1, "created", 2)
    assert card().unresolved_cancels == 1
    fact(store, 1, "created", 1.5)
    assert card().unresolved_cancels == 0
    fact(store, 2, "discharge_cancelled", 3)
    fact(store, 2, "discharged", 1, effective_precision="day")
    assert card().unresolved_cancels == 0


def test_t6_a_cancellation_that_calls_off_a_preadmission_is_resolved(store, card):
    fact(store, 1, "cancelled", 3)
    fact(store, 1, "planned", 1, plan="transfer")
    assert card().unresolved_cancels == 1
    fact(store, 1, "planned", 1, plan="preadmit")
    assert card().unresolved_cancels == 0


def placed(store, number, place, start, end=None, **changed):
    event = fact(store, number, "created", start, place=place, **changed)
    stay(store, number, place, start, end, start_event_id=event)


def test_two_patients_in_one_bed_are_a_conflict_while_they_both_are(store, card):
    placed(store, 1, "W^1^A", 0, 3)
    placed(store, 2, "W^1^A", 2, 5)
    placed(store, 3, "W^1^A", 5)
    placed(store, 4, "W^1^A", 6, feed_id=OTHER)
    placed(store, 5, "W^1^A^H", 6)
    with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
        conflicts = quality.bed_conflicts(snapshot)
    assert [
        (each.admission_id, each.other_admission_id, each.started_at, each.ended_at)
        for each in conflicts
    ] == [
        (str(visit(4)), str(visit(3)), hour(6), None),
        (str(visit(2)), str(visit(1)), hour(2), hour(3)),
    ]
    assert [each.feed_ids for each in conflicts] == [(OTHER, FEED), (FEED,)]
    found = card()
    assert (found.bed_conflicts, found.bed_conflicts_now) == (2, 1)
    assert card("beside").bed_conflicts == 1
    assert card(since=hour(4)).bed_conflicts == 1


def test_places_without_a_bed_are_nobodys_alone(store, card):
    placed(store, 1, "W^1", 0)
    placed(store, 2, "W^1", 0)
    assert card().bed_conflicts == 0


def test_all_that_an_early_stay_overlaps_are_conflicts_with_it(store, card):
    placed(store, 1, "W^1^A", 0)
    placed(store, 2, "W^1^A", 1, 2)
    placed(store, 3, "W^1^A", 3, 4)
    assert (card().bed_conflicts, card().bed_conflicts_now) == (2, 0)


def test_of_very_many_at_once_each_is_held_against_those_that_last_the_longest(store, card):
    placed(store, 1, "W^1^A", 0)
    for number in range(2, 6):
        placed(store, number, "W^1^A", number, 10 + number)
    with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
        assert len(quality.bed_conflicts(snapshot)) == 1 + 2 + 3 + 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beds, "AT_ONCE_MAX", 2)
        with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
            conflicts = quality.bed_conflicts(snapshot)
    assert [(each.admission_id, each.other_admission_id) for each in conflicts] == [
        (str(visit(number)), str(visit(other)))
        for number, others in ((5, (1, 4)), (4, (1, 3)), (3, (1, 2)), (2, (1,)))
        for other in others
    ]


def test_the_newest_conflicts_are_told_up_to_the_limit(store, card, monkeypatch):
    for number in range(1, 6):
        placed(store, number, f"W^1^{number % 2}", number)
    monkeypatch.setattr(beds, "CONFLICTS_MAX", 2)
    with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
        conflicts = quality.bed_conflicts(snapshot)
    assert [each.started_at for each in conflicts] == [hour(5), hour(5)]


def test_a_bed_of_very_many_stays_without_an_end_is_told_in_time(store, card):
    store.run(
        """INSERT INTO trajectory_points (
            id, point_id, tenant_id, admission_id, patient_id, track, location, facility, building,
            floor, point_of_care, room, bed, effective_at, known_from, start_inferred,
            end_inferred, start_field, start_event_id, fold_version, partition, partition_seq, data)
        SELECT gen_random_uuid(), gen_random_uuid(), %s, gen_random_uuid(), gen_random_uuid(),
            'census', 'W^1^A', '', '', '', 'W', '1', 'A', %s::timestamptz + n * interval '1 minute',
            %s, false, false, 'EVN-2', gen_random_uuid(), 1, 0, n, '{}'
        FROM generate_series(1, 20000) AS n""",
        OURS, hour(0), hour(0),
    )  # fmt: skip
    with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
        assert len(quality.bed_conflicts(snapshot)) == beds.CONFLICTS_MAX


def test_m4_two_visits_of_one_patient_in_a_bed_are_flagged_apart(store, card):
    placed(store, 1, "W^1^A", 0)
    placed(store, 2, "W^1^A", 1)
    assert (card().bed_conflicts, card().visit_overlaps) == (1, 0)
    alias(store, 1, 3, 2)
    alias(store, 3, 4, 2)
    alias(store, 2, 4, 2)
    assert (card().bed_conflicts, card().visit_overlaps) == (0, 1)


def test_what_is_looked_at_is_bounded_to_the_newest(store, card, monkeypatch):
    for at in range(4):
        fact(store, 1, "created", at, effective_field="EVN-2" if at < 2 else "EVN-6")
    monkeypatch.setattr(quality, "FACTS_MAX", 2)
    assert (card().facts, card().without_evn6) == (2, 0)


def test_a_cycle_of_aliases_ends(store, card):
    placed(store, 1, "W^1^A", 0)
    placed(store, 2, "W^1^A", 1)
    alias(store, 1, 2, 0)
    alias(store, 2, 1, 0)
    assert card().bed_conflicts + card().visit_overlaps == 1


def test_the_questions_of_quality_end_by_themselves(store, card):
    with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
        quality.bed_conflicts(snapshot)
        assert snapshot.execute("SHOW statement_timeout").fetchone() == {"statement_timeout": "30s"}
