"""What the busy hospital charts tells its truth, on both tracks, to who reads it by the rules."""

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from ops.simulator import (
    FULL,
    Scenario,
    Shares,
    Ward,
    days_for,
    disordered,
    several,
    simulate,
    sized,
    truth,
)
from ops.simulator.messages import PLAIN_TRIGGERS, STRUCTURES
from ops.simulator.scenario import ELSEWHERE
from tests.ops.simulator.replay import (
    CANCELS,
    PATH,
    PLANS,
    Paths,
    Said,
    replayed,
    said,
    survivor,
    true_paths,
)

SEEDS = range(10)
PATIENTS = 500
LONDON = ZoneInfo("Europe/London")
FEW_BEDS = (
    Ward(code="ED", rooms=1, beds=1, emergency=True),
    Ward(code="A", rooms=1, beds=2),
    Ward(code="B", rooms=1, beds=1),
)
BROUGHT = {  # by each share alone, besides what a plain hospital sends
    "leaves": {"A21", "A22", "A52", "A53"},
    "temporary": {"A09", "A10", "A32", "A33"},
    "transits": {"A09", "A10", "A32", "A33"},
    "swaps": {"A17"},
    "class_changes": {"A06", "A07"},
    "plans": {"A05", "A14", "A15", "A16", "A25", "A26", "A27", "A38"},
    "merges": {"A40"},
    "wrong_patients": {"A45"},
    "deletions": {"A23"},
    "days_late": set(),
}


played = lru_cache(maxsize=12)(simulate)


def busy(seed: int, **changes) -> Scenario:
    changes = {"seed": seed, "patients": PATIENTS, "days": days_for(PATIENTS), **changes}
    return Scenario.busy(**changes)


def all_said(scenario: Scenario) -> list[Said]:
    return [each for message in played(scenario).messages for each in said(message, scenario)]


def true(scenario: Scenario) -> tuple[Paths, Paths]:
    day = played(scenario)
    return true_paths(day.stays), true_paths(day.physical)


@pytest.mark.parametrize("seed", SEEDS)
def test_messages_and_truth_agree_on_both_tracks(seed):
    scenario = busy(seed)

    assert replayed(played(scenario).messages, scenario) == true(scenario)


def test_messages_and_truth_agree_when_messages_come_late_and_twice():
    scenario = busy(0)
    arrived = disordered(played(scenario).messages, 0, duplicates=0.2, resends=0.1, window=60)

    assert replayed(arrived, scenario) == true(scenario)


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("seed", SEEDS)
def test_messages_and_truth_agree_in_feeds_with_quirks(seed, number):
    scenario = several(seed, patients=80)[number]

    assert replayed(played(scenario).messages, scenario) == true(scenario)


@pytest.mark.parametrize(
    "changes",
    [
        {"wards": FEW_BEDS, "patients": 60, "days": 3},
        {"zone": LONDON, "start": datetime(2026, 10, 24, 15, tzinfo=UTC)},
        {"zone": LONDON, "start": datetime(2026, 3, 28, 15, tzinfo=UTC)},
        {"shares": Shares(**dict.fromkeys(BROUGHT, 0.5))},
        {"shares": Shares(swaps=1.0)},
    ],
    ids=["few beds", "clocks go back", "clocks go forward", "too much", "swaps alone"],
)
@pytest.mark.parametrize("seed", range(2))
def test_messages_and_truth_agree_in_hard_times(seed, changes):
    scenario = busy(seed, **{"patients": 120, "days": 1, **changes})

    assert replayed(played(scenario).messages, scenario) == true(scenario)


@pytest.mark.parametrize("trigger", sorted(PATH))
def test_a_lost_message_shows_as_another_path(trigger):
    scenario = busy(0)
    kept = tuple(each for each in played(scenario).messages if each.trigger != trigger)

    assert len(kept) < len(played(scenario).messages)
    assert replayed(kept, scenario) != true(scenario)


@pytest.mark.parametrize("trigger", ["A40", "A45"])
def test_without_its_merge_or_move_nobody_knows_whose_a_visit_is(trigger):
    scenario = busy(0)
    kept = tuple(each for each in played(scenario).messages if each.trigger != trigger)

    with pytest.raises(ValueError, match="too many values"):
        replayed(kept, scenario)


def test_everything_happens_in_a_busy_hospital():
    assert {message.trigger for message in played(busy(0)).messages} == set(STRUCTURES)


@pytest.mark.parametrize("share", sorted(BROUGHT))
def test_a_share_brings_what_it_names_and_nothing_else(share):
    shares = Shares(**{share: 0.5})
    brought = {
        message.trigger for seed in range(2)
        for message in simulate(busy(seed, patients=200, shares=shares)).messages
    }  # fmt: skip

    assert brought == PLAIN_TRIGGERS | BROUGHT[share]
    assert set(BROUGHT) == set(Shares.__slots__)


def test_the_census_is_the_truth_where_no_track_is_named():
    scenario = busy(2)
    day = played(scenario)

    assert truth(scenario) == truth(scenario, track="census") == day.stays
    assert truth(scenario, track="physical") == day.physical
    assert {stay.track for stay in day.stays} == {"census"}
    assert {stay.track for stay in day.physical} == {"physical"}


def test_in_a_plain_hospital_patients_are_in_their_beds():
    census, physical = true(Scenario(seed=3))

    assert physical == census


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "changes", [{}, {"wards": FEW_BEDS, "patients": 60, "days": 3}], ids=["usual", "few beds"]
)
def test_no_bed_ever_holds_two_patients_on_either_track(seed, changes):
    scenario = busy(seed, **changes)
    day = played(scenario)
    places = {place for ward in scenario.wards for place in scenario.places(ward)}
    for stays in (day.stays, day.physical):
        beds = defaultdict(list)
        for stay in stays:
            if stay.location in places:
                beds[stay.location].append(stay)
            else:
                assert stay.track == "physical"
                assert stay.location in scenario.elsewhere
        for held in beds.values():
            held.sort(key=lambda stay: stay.effective_at)
            for before, after in pairwise(held):
                assert before.ended_at is not None
                assert before.ended_at <= after.effective_at


@pytest.mark.parametrize("seed", SEEDS)
def test_who_is_somewhere_has_a_bed_and_is_there_or_away(seed):
    census, physical = true(busy(seed))
    away, gaps = 0, 0
    for visit, (patient, path) in physical.items():
        owner, beds = census[visit]
        assert owner == patient
        for place, since, until in path:
            held = [bed for bed, start, end in beds if start <= since and (not end or since < end)]
            assert len(held) == 1
            assert place in (held[0], *ELSEWHERE)
            assert until is None or since < until
            away += place != held[0]
        for (_, _, until), (_, since, _) in pairwise(path):
            assert until is not None
            assert until <= since
            gaps += until < since
        for (_, _, until), (_, since, _) in pairwise(beds):
            assert until == since  # the bed stays the patient's whatever happens
    assert away > 10
    assert gaps > 10


@pytest.mark.parametrize("seed", SEEDS)
def test_t2_every_cancel_carries_the_time_of_what_it_cancels(seed):
    happened = defaultdict(set)
    cancels = []
    for each in all_said(busy(seed)):
        happened[each.visit, each.trigger].add((each.at, each.recorded))
        if each.trigger in CANCELS | PLANS:
            cancels.append(each)
    for cancel in cancels:
        originals = (CANCELS | PLANS)[cancel.trigger]
        assert cancel.exact
        assert any(
            at == cancel.at and recorded < cancel.recorded
            for trigger in originals
            for at, recorded in happened[cancel.visit, trigger]
        )


def test_corrections_come_days_late_and_so_do_charts():
    everything = all_said(busy(4))
    late = Counter(
        each.trigger for each in everything if each.recorded - each.at > timedelta(days=1)
    )

    assert late["A12"]
    assert late["A02"]
    assert late["A01"]


def test_a_feed_that_never_says_when_charts_at_once():
    scenario = several(5)[0]
    for message in simulate(scenario).messages:
        for each in said(message, scenario):
            assert not each.exact
            assert message.at - each.at < timedelta(minutes=1)


def test_m3_some_still_chart_under_an_mrn_that_was_merged_away():
    everything = all_said(busy(6))
    merges = {each.prior_mrn: each for each in everything if each.trigger == "A40"}
    late = [
        each for each in everything
        if each.mrn in merges and each.trigger != "A40"
        and each.recorded > merges[each.mrn].recorded
    ]  # fmt: skip
    assert late
    chains = [each for each in merges.values() if each.mrn in merges]
    assert chains
    merged = {retired: each.mrn for retired, each in merges.items()}
    assert {survivor(mrn, merged) for mrn in merged}.isdisjoint(merged)


def test_a_merged_or_moved_visit_is_its_last_patients():
    scenario = busy(7)
    everything = all_said(scenario)
    retired = {each.prior_mrn for each in everything if each.trigger == "A40"}
    moved = {each.visit: each.mrn for each in everything if each.trigger == "A45"}

    stays = truth(scenario)
    assert retired.isdisjoint(stay.mrn for stay in stays)
    assert {stay.mrn for stay in stays if stay.visit_number in moved} == set(moved.values())
    assert moved
    assert retired


def test_a_sized_busy_hospital_gives_at_least_the_messages_asked_for():
    for seed in range(3):
        assert len(simulate(sized(2_000, seed=seed, shares=FULL)).messages) >= 2_000


def test_several_feeds_have_no_name_in_common():
    scenarios = several(8, patients=40)

    assert len({each.application for each in scenarios}) == len(scenarios)
    assert len({each.authority for each in scenarios}) == len(scenarios)
