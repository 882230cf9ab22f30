"""Tasks that orders ask for: when, how often, under which rule, and in whatever order (V4, V9)."""

import itertools
import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.clock import micros
from sinks import judged as judged_rows
from sinks.verification import expand
from streams.verification import rows
from streams.verification.judge import judge
from streams.verification.timing import OCCURRENCES_MAX, Instance, Timing, instances
from tests.streams.verification import told
from tests.streams.verification.cases import at, uid
from tests.streams.verification.test_judging import OWNED, clear
from tests.streams.verification.test_orders import Memory, placed
from tests.streams.verification.told import Line

PANEL = [{"system": "http://loinc.org", "code": "24323-8"}]
SIX = timedelta(hours=6)


def asking(**given):
    return told.rule(**{"order_codes": PANEL, **given})


def judged(*facts):
    """Outcome and reasons of each task, by due time."""
    memory = Memory()
    memory.tell(placed(facts))
    known = memory.facts()
    due = {task.task_id: (task.due_at or task.window_ends_at, task.task_id) for task in known.tasks}
    results = sorted(judge(known), key=lambda each: due[each.task_id])
    return [(each.outcome, *each.reasons) for each in results]


def tasks(*facts):
    memory = Memory()
    memory.tell(placed(facts))
    return sorted(memory.facts().tasks, key=lambda task: task.due_at or task.window_ends_at)


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        ({}, [Instance(due_at=at("08:00"))]),
        ({"starts_at": at("09:00")}, [Instance(due_at=at("09:00"))]),
        ({"ends_at": at("11:00")}, [Instance(ends_at=at("11:00"))]),
        (
            {"starts_at": at("09:00"), "ends_at": at("11:00")},
            [Instance(starts_at=at("09:00"), ends_at=at("11:00"))],
        ),
        (
            {"starts_at": at("09:00"), "interval_s": 21_600, "occurrences": 3},
            [Instance(due_at=at("09:00") + SIX * each) for each in range(3)],
        ),
        (
            {"starts_at": at("09:00"), "interval_s": 21_600, "ends_at": at("21:00")},
            [Instance(due_at=at("09:00")), Instance(due_at=at("15:00"))],
        ),
        (
            {"starts_at": at("09:00"), "interval_s": 21_600, "ends_at": at("21:01"),
             "occurrences": 2},
            [Instance(due_at=at("09:00")), Instance(due_at=at("15:00"))],
        ),
        (
            {"starts_at": at("00:00"), "ends_at": at("1 00:00"), "coarse": True, "occurrences": 2},
            [Instance(starts_at=at("00:00"), ends_at=at("1 00:00"))] * 2,
        ),
        ({"starts_at": at("09:00"), "interval_s": 60}, [Instance(due_at=at("09:00"))]),
        ({"occurrences": 5}, [Instance(due_at=at("08:00"))]),
        (
            {"starts_at": at("09:00"), "interval_s": 60, "occurrences": OCCURRENCES_MAX + 1},
            [Instance(due_at=at("09:00"))],
        ),
        (
            {"starts_at": at("09:00"), "interval_s": 60, "occurrences": 2, "simple": False},
            [Instance(due_at=at("09:00"))],
        ),
        (  # Q9999W, a hundred times: no calendar has the last
            {"starts_at": at("09:00"), "interval_s": 9_999 * 604_800, "occurrences": 100},
            [Instance(due_at=at("09:00"))],
        ),
    ],
)  # fmt: skip
def test_an_order_is_as_many_instances_as_it_plainly_says_else_one(timing, expected):
    assert list(instances(Timing(**timing), at("08:00"))) == expected


def test_at_the_bound_each_occurrence_is_an_instance():
    many = Timing(starts_at=at("09:00"), interval_s=60, occurrences=OCCURRENCES_MAX)
    assert len(instances(many, at("08:00"))) == OCCURRENCES_MAX


def test_an_order_whose_code_a_rule_names_is_a_task_with_its_window_and_order():
    (task,) = tasks(asking(), told.order(starts="10:00", ends="11:00", visit="v"))
    assert (task.patient_id, task.admission_id) == (uid("p"), uid("v"))
    assert (task.order_id, task.rule_id) == (uid("o"), uid("r"))
    assert (task.window_starts_at, task.window_ends_at) == (at("10:00"), at("11:00"))


def test_an_order_without_times_is_due_around_the_time_it_was_placed():
    (task,) = tasks(asking(), told.order(ordered="09:30"))
    assert (task.due_at, task.window_starts_at) == (at("09:30"), None)


def test_no_rule_no_code_or_another_code_makes_no_task():
    assert tasks(told.rule(), told.order()) == []
    assert tasks(asking(), told.order(code=None)) == []
    assert tasks(asking(), told.order(code="2345-7")) == []
    assert tasks(asking(tenant_id=uid("theirs")) | {"tenant_id": uid("theirs")}, told.order()) == []


@pytest.mark.parametrize("said", ["placed", "changed", "released", "held", "stated"])
def test_v4_an_order_never_verifies_whatever_is_told_of_it(said):
    order = told.order("o", said, starts="10:00")
    late = told.spoke("23:00")
    outcome, *_ = judged(asking(feeds=[told.FEED]), order, late)[0]
    assert outcome == ("pending" if said == "held" else "refuted")


@pytest.mark.parametrize("said", ["cancelled", "discontinued"])
def test_v4_an_order_that_is_taken_back_voids_its_task_unless_it_was_done(said):
    facts = [asking(), told.order(starts="10:00"), told.order("o", said, reported="09:30")]
    for order in itertools.permutations(facts):
        assert judged(*order) == [("void", "order_cancelled")]
    assert judged(*facts, told.evidence(order="o")) == [("verified", "evidence")]


def test_v4_a_cancellation_of_an_order_that_never_was_makes_no_task():
    assert tasks(asking(), told.order("o", "cancelled")) == []


def test_v4_what_is_told_at_once_ends_an_order_and_what_is_told_later_places_it_again():
    ended = told.order("o", "cancelled")
    assert judged(asking(), ended, told.order()) == [("void", "order_cancelled")]
    again = told.order(reported="09:10", ordered="10:00")
    assert judged(asking(), ended, told.order(), again)[0][0] == "pending"


def test_v4_a_change_or_a_status_after_a_cancellation_places_nothing_again():
    for said in ("changed", "stated"):
        facts = [told.order(), told.order("o", "cancelled", reported="09:10"),
                 told.order("o", said, reported="09:20")]  # fmt: skip
        assert judged(asking(), *facts) == [("void", "order_cancelled")]


def test_v4_a_cancelled_order_voids_the_tasks_of_commands_that_name_it():
    task = told.task(order_id=uid("o"))
    assert judged(told.rule(), task, told.order("o", "cancelled"))[0] == ("void", "order_cancelled")


def test_an_order_on_hold_leaves_its_task_pending_until_it_is_released():
    facts = [asking(feeds=[told.FEED]), told.order(starts="10:00"), told.spoke("23:00"),
             told.order("o", "held", reported="09:10")]  # fmt: skip
    assert judged(*facts) == [("pending", "order_held")]
    released = told.order("o", "released", reported="09:20")
    assert judged(*facts, released) == [("refuted", "no_evidence")]


def test_v9_each_occurrence_takes_evidence_of_its_own():
    order = told.order(starts="10:00", interval_s=3600, occurrences=3)
    done = [told.evidence("x", "10:05"), told.evidence("y", "12:10")]
    assert [outcome for outcome, *_ in judged(asking(), order, *done)] == [
        "verified", "pending", "verified",
    ]  # fmt: skip
    assert [outcome for outcome, *_ in judged(asking(), order, done[0])].count("verified") == 1


def test_the_times_that_were_told_last_count_and_what_is_silent_changes_nothing():
    first = told.order(starts="08:00", interval_s=3600, occurrences=3)
    then = told.order("o", "changed", reported="09:10", starts="10:00", code=None)
    status = told.order("o", "stated", reported="09:20")
    (task,) = tasks(asking(), first, then, status)
    assert task.due_at == at("10:00")


def test_a_rule_that_is_revised_or_retired_asks_for_what_it_asks_now():
    order = told.order(starts="12:30", ordered="11:00")
    assert tasks(asking(), asking(version=2, order_codes=[]), order) == []
    assert len(tasks(told.rule(), asking(version=2), order)) == 1
    assert len(tasks(asking(), told.retired(occurred="11:01"), order)) == 1
    assert tasks(asking(), told.retired(occurred="11:00"), order) == []


def test_an_order_under_its_fillers_number_is_the_placers_once_that_is_told():
    alone = told.order("f", starts="10:00")
    both = told.order("o", filler="f", starts="10:00", reported="09:10")
    done = told.evidence(order="f")
    for facts in itertools.permutations([alone, both, done]):
        assert judged(asking(), *facts) == [("verified", "evidence")]
    (task,) = tasks(asking(), alone, both)
    assert task.order_id == uid("o")
    gone = told.order("f", "cancelled", reported="09:20")
    assert judged(asking(), alone, both, gone) == [("void", "order_cancelled")]


def test_a_fillers_number_of_several_orders_names_none_of_them():
    one, other = (told.order(name, filler="f", starts="10:00") for name in "op")
    assert judged(asking(), one, other, told.evidence(order="f")) == [
        ("pending", "no_evidence_yet"), ("pending", "no_evidence_yet"),
    ]  # fmt: skip


def test_v13_a_fillers_number_of_another_patients_order_is_not_this_one():
    """Or what is judged would depend on who is judged beside."""
    theirs = [
        told.order("f", patient="q", starts="10:00"), told.evidence(patient="q", order="f"),
    ]  # fmt: skip
    ours = told.order(filler="f", starts="11:00")
    assert judged(asking(), *theirs) == [("verified", "evidence")]
    assert judged(asking(), *theirs, ours) == [
        ("verified", "evidence"), ("pending", "no_evidence_yet"),
    ]  # fmt: skip
    assert len(judged(asking(), *theirs, ours, told.merged("q", "p"))) == 1


def test_v7_an_order_is_of_who_the_patient_is_now():
    facts = [asking(), told.order(patient="q", starts="10:00"), told.evidence(order="o")]
    assert judged(*facts)[0][0] == "pending"
    assert judged(*facts, told.merged("q", "p")) == [("verified", "evidence")]


def daily(*hours, days=("1",), **given):
    """The times of a pattern of days, each of which may be done on all of its day."""
    spread = [
        {"due_at": f"{day} {hour}:00", "starts_at": f"{day} 00:00",
         "ends_at": f"{int(day) + 1} 00:00"}
        for day in days for hour in hours
    ]  # fmt: skip
    due = [{name: micros(at(each)) for name, each in one.items()} for one in spread]
    return told.order(starts=f"{days[0]} 00:00", day=True, due=due, as_needed=False, **given)


def test_v9_twice_a_day_for_three_days_are_six_tasks_that_six_acts_verify():
    order = daily("00", "12", days="123", repeats="BID")
    assert len(tasks(asking(), order)) == 6
    acts = [f"{day} {clock}" for day in "123" for clock in ("09:00", "16:00")]
    done = [told.evidence(f"e{each}", each) for each in acts]
    assert [outcome for outcome, *_ in judged(asking(), order, *done)] == ["verified"] * 6
    outcomes = [outcome for outcome, *_ in judged(asking(), order, *done[1:])]
    assert outcomes == ["refuted", *["verified"] * 5]


def test_v9_a_third_act_on_a_day_of_two_counts_for_no_other_day():
    order = daily("00", "12", days="01", repeats="BID")
    done = [told.evidence(f"e{clock}", f"0 {clock}") for clock in ("08:00", "14:00", "20:00")]
    spoke = told.spoke("2 02:00")
    assert [outcome for outcome, *_ in judged(asking(feeds=[told.FEED]), order, *done, spoke)] == [
        "verified", "verified", "refuted", "refuted",
    ]  # fmt: skip


def test_what_is_carried_out_as_needed_is_nobodys_task():
    prn = told.order(starts="10:00", as_needed=True, repeats="PRN", due=[])
    assert tasks(asking(), prn) == []
    (task,) = tasks(asking(), prn, told.order("o", "changed", reported="09:10", starts="11:00"))
    assert task.due_at == at("11:00")
    later = told.order(
        "o", "changed", reported="09:10", as_needed=True, repeats="PRN", due=[], code=None
    )
    for facts in itertools.permutations([asking(), told.order(starts="10:00"), later]):
        assert tasks(*facts) == []


def test_more_times_than_the_bound_are_cut_there():
    due = [{"due_at": micros(at("1 00:00")) + each, "starts_at": None, "ends_at": None}
           for each in range(OCCURRENCES_MAX + 1)]  # fmt: skip
    order = told.order(starts="1 00:00", due=due, as_needed=False, repeats="BID")
    assert len(tasks(asking(), order)) == OCCURRENCES_MAX


ORDERS = [
    asking(order_codes=[*PANEL, {"system": "LN", "code": "2345-7"}]),
    told.order(starts="08:00"), told.evidence("x", "10:05", order="f"),
    told.order("o", "changed", reported="09:10", starts="10:00", interval_s=3600, occurrences=2,
               filler="f"),
    told.order("o", "stated", reported="09:20", code="2345-7"),
    told.order("f", starts="10:00"), told.order("p", patient="q", starts="10:00"),
    told.order("p", "cancelled", reported="09:10", patient="q", code=None),
    told.merged("q", "p"), told.spoke("11:15"),
    daily("00", "12", days="12", name="d", repeats="BID"), told.evidence("y", "1 09:00", order="d"),
    told.order("d", "changed", reported="10:00", as_needed=True, repeats="PRN", due=[], code=None),
    daily("00", "08", "16", name="d", said="changed", reported="10:30", repeats="TID"),
    told.decided("refuted", {"tablet": 1}, order="d", due="1 08:00"),
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.permutations(ORDERS), st.lists(st.integers(1, len(ORDERS) - 1), max_size=3))
def test_any_order_of_orders_rules_and_evidence_asks_for_the_same_with_the_same_results(
    order, cuts
):
    expected = Memory()
    expected.tell(placed(ORDERS))
    memory = Memory()
    for start, end in itertools.pairwise([0, *sorted(set(cuts)), len(order)]):
        memory.tell(placed(order)[start:end])
    assert judge(memory.facts()) == judge(expected.facts())
    assert len(memory.facts().tasks) == 6


def test_an_order_row_holds_no_more_than_what_was_said_last_of_each_thing():
    memory = Memory()
    said = [told.order(reported=f"09:{minute:02}", starts="10:00") for minute in range(50)]
    memory.tell(placed(said))
    (row,) = memory.around().orders
    assert set(row["said"]) == {"whose", "ordered", "codes", "state", "timing", "most"}
    assert rows.facts(memory.around()).orders[0].most == 1


def stored(line):
    asked = "SELECT task_id, version, due_at, cancelled FROM verification_tasks ORDER BY task_id"
    judged = "SELECT * FROM emr_verifications ORDER BY task_id"
    return [line.store.rows(query) for query in (asked, judged)]


@pytest.fixture
def line(store):
    return Line(store)


@pytest.mark.stack
def test_an_order_becomes_a_task_that_its_result_verifies_and_its_cancellation_voids(line):
    line.tell(asking(), told.order(starts="10:00"), told.order("p", starts="10:10"))
    assert line.asked() == [("pending", "no_evidence_yet")] * 2
    line.tell(told.evidence(order="p"))
    assert line.asked() == [("pending", "no_evidence_yet"), ("verified", "evidence")]
    line.tell(told.order("o", "cancelled", reported="09:10"))
    assert line.asked() == [("void", "order_cancelled"), ("verified", "evidence")]
    assert line.store.rows("SELECT FROM verification_due") == []


@pytest.mark.stack
def test_v7_an_order_is_of_who_its_visit_is_now(line):
    """Whoever of those it was told of is judged again."""
    line.tell(
        asking(), told.order(filler="f", starts="10:00"),
        told.order("f", "cancelled", reported="09:10", patient="q", visit="v", code=None),
    )  # fmt: skip
    assert line.asked() == [("pending", "no_evidence_yet")]
    line.tell(told.moved("v", "p", "q"))
    assert line.asked() == [("void", "order_cancelled")]
    line.tell(asking(version=2, window_after_s=900))
    assert line.asked() == [("void", "order_cancelled")]


@pytest.mark.stack
def test_a_rule_that_comes_later_makes_tasks_of_the_orders_before_and_takes_them_back(line):
    line.tell(told.order(starts="10:00"), told.order("p", patient="q", starts="10:00"))
    assert line.asked() == []
    line.tell(asking())
    assert line.asked() == [("pending", "no_evidence_yet")] * 2
    line.tell(asking(version=2, order_codes=[]))
    assert line.asked() == [("void", "cancelled")] * 2
    line.tell(told.order("later", starts="10:00"))
    assert line.asked() == [("void", "cancelled")] * 2
    line.tell(asking(version=3))
    assert line.asked() == [("pending", "no_evidence_yet")] * 3


@pytest.mark.stack
def test_an_order_that_turns_out_to_be_anothers_takes_its_task_along(line):
    line.tell(asking(), told.order(starts="10:00"), told.evidence(order="o", patient="q"))
    assert line.asked() == [("pending", "no_evidence_yet")]
    line.tell(told.order("o", "changed", patient="q", reported="09:10"))
    assert line.asked() == [("verified", "evidence")]
    (row,) = line.rows()
    assert str(row["patient_id"]) == uid("q")


@pytest.mark.stack
def test_absence_of_what_was_ordered_is_told_when_the_feeds_have_passed(line):
    line.tell(asking(), told.order(starts="10:00"), told.evidence("e", "02:00", patient="z"))
    assert line.asked() == [("pending", "no_evidence_yet")]
    line.tell(told.spoke("11:31"))
    assert line.asked() == [("refuted", "no_evidence")]


@pytest.mark.stack
def test_orders_in_every_order_of_arrival_give_the_same_rows(line):
    rng, expected = random.Random(5), None
    for turn in range(6):
        order = rng.sample(ORDERS, len(ORDERS)) if turn else ORDERS
        clear(line.store, *OWNED, "verification_results")
        cut = rng.randrange(len(order) + 1)
        line.tell(*order[:cut], judge=False)
        line.tell(*order[cut:])
        expected = expected or line.rows()
        assert line.rows() == expected, [each["event_type"] for each in order]
    assert len(expected) == 6


@pytest.mark.stack
def test_facts_told_again_give_the_tasks_of_orders_that_stood_with_those_taken_back(line):
    facts = [asking(), told.order(starts="10:00"), told.order("p", starts="10:00", patient="q"),
             told.evidence(order="o"), asking(version=2, order_codes=[]),
             told.order("later", starts="10:00")]  # fmt: skip
    for fact in facts:
        line.tell(fact)
    before = stored(line)
    clear(line.store, *OWNED)
    line.tell(*facts)
    assert stored(line) == before
    assert len(before[0]) == 2


@pytest.mark.stack
def test_a_decision_on_a_task_of_an_order_counts_whichever_is_folded_first(line):
    (task,) = tasks(asking(), told.order(starts="10:00"))
    assert task.task_id == told.asked_of("o")
    facts = [
        told.decided("refuted", {"tablet": 1}, order="o", due="10:00"),
        asking(),
        told.order(starts="10:00"),
    ]
    for order in itertools.permutations(facts):
        clear(line.store, *OWNED, "verification_results")
        for fact in order:
            line.tell(fact)
        assert line.asked() == [("refuted", "decided", "no_evidence_yet")]
        assert line.store.rows("SELECT FROM verification_due") == []


@pytest.mark.stack
def test_v11_a_decision_and_evidence_that_did_not_know_of_each_other_are_both_kept(line):
    line.tell(asking(), told.order(starts="10:00"), told.evidence(order="o"))
    line.tell(told.decided("refuted", {"tablet": 1}, order="o", due="10:00"))
    assert line.asked() == [("conflict", "evidence", "decided_otherwise")]
    knew = {"tablet": 1, "ledger": 1, "emr": 1}
    line.tell(told.decided("refuted", knew, order="o", due="10:00", version=2))
    assert line.asked() == [("refuted", "decided_over", "evidence")]


@pytest.mark.stack
def test_a_decision_that_comes_while_its_task_is_being_made_is_judged_too(line, monkeypatch):
    """Its mark is worked off before the task can be seen: the order's own is still there."""
    line.tell(asking(), told.order(starts="10:00"), judge=False)
    written = judged_rows.record

    def meanwhile(connection, results):
        monkeypatch.setattr(judged_rows, "record", written)
        line.tell(told.decided("refuted", {"tablet": 1}, order="o", due="10:00"), judge=False)
        expand(line.store.database)
        return written(connection, results)

    monkeypatch.setattr(judged_rows, "record", meanwhile)
    line.settle()
    assert line.asked() == [("refuted", "decided", "no_evidence_yet")]
