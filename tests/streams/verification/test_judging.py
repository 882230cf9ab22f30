"""Facts through the real projection and judge: order, splits, rebuild, kills, numbers."""

import itertools
import random
import threading

import pytest

from schemas.failpoints import FailPoint
from sinks import judged, verification
from sinks.tables.verification import FACTS
from streams.verification import judging
from streams.verification.judging import Judge
from streams.verification.rows import asked_for
from tests.sinks.provisioned import made
from tests.streams.verification import told
from tests.streams.verification.cases import uid
from tests.streams.verification.told import Line

pytestmark = pytest.mark.stack

OWNED = (*(table.name for table in FACTS), "emr_verifications")
ORDERS = 20  # of each suite, the first and last among them; of one suite all
OTHER_FEED = uid("other feed")
SUITES = {
    "retraction": [
        told.rule(), told.task(), told.evidence(),
        told.evidence(reported="11:00", state="revoked"), told.spoke("23:00"),
    ],
    "merge": [
        told.rule(), told.task(), told.evidence(patient="q"), told.merged("q", "p"),
        told.parted("q", "p"),
    ],
    "recurring": [
        told.rule(), told.task("a", due="09:50"), told.task("b", due="10:10"),
        told.evidence("x", "10:05"), told.spoke("23:00"),
    ],
    "visit": [
        told.rule(), told.task(patient="q", admission_id=uid("v")),
        told.evidence(visit="w"), told.moved("v", "q", "p"), told.joined("w", "v", "p"),
    ],
    "decision": [
        told.rule(), told.task(), told.evidence(), told.decided("refuted", {"tablet": 1}),
        told.spoke("23:00", OTHER_FEED),
    ],
}  # fmt: skip


def clear(store, *tables):
    store.run("; ".join(f"DELETE FROM {table}" for table in tables))


@pytest.fixture
def line(store):
    return Line(store)


def test_what_was_told_is_judged_and_published_once_for_each_change(line):
    line.tell(told.rule(), told.task())
    assert line.outcome() == "pending"
    line.tell(told.evidence())
    assert line.outcome() == "verified"
    line.tell(told.evidence("f", "15:00"))
    results = line.store.rows(
        "SELECT revision, partition_seq, result->>'outcome' AS outcome"
        " FROM verification_results ORDER BY partition_seq"
    )
    assert [(row["revision"], row["partition_seq"], row["outcome"]) for row in results] == [
        (1, 1, "pending"), (2, 2, "verified"),
    ]  # fmt: skip
    assert line.store.rows("SELECT FROM verification_due") == []


def test_patients_with_many_marks_are_judged_together_the_longest_waiting_first(line):
    names = [f"p{number}" for number in range(40)]
    facts = [told.evidence(f"{name}/{hour}", f"{hour}:00", patient=name)
             for name in names for hour in range(10, 18)]  # fmt: skip
    line.tell(*facts, judge=False)
    with verification.due(line.store.database, asked_for) as work:
        assert set(work.patients) == {uid(name) for name in names}
    line.tell(*facts, judge=False)
    with verification.due(line.store.database, asked_for, limit=3) as work:
        assert set(work.patients) == {uid(name) for name in names[:3]}


def test_nobody_of_a_tenant_whose_deletion_has_begun_is_judged(line, monkeypatch):
    line.tell(told.rule(), told.task(), told.evidence(), judge=False)
    verification.expand(line.store.database)
    lock = verification._locked

    def begun(connection, named):  # by then; a judge that comes later finds nobody
        line.store.run("INSERT INTO deleted_tenants (id, name_sha256) SELECT id, '' FROM tenants")
        return lock(connection, named)

    monkeypatch.setattr(verification, "_locked", begun)
    for _ in range(2):
        with verification.due(line.store.database, asked_for) as work:
            assert work is None
    assert line.store.rows("SELECT FROM verification_results") == []


def test_nothing_new_is_written_when_nothing_changed(line):
    line.tell(told.rule(), told.task(), told.evidence())
    before = line.store.rows("SELECT * FROM emr_verifications, verification_results")
    line.tell(told.spoke("09:00"), told.merged("x", "y"))
    assert line.store.rows("SELECT * FROM emr_verifications, verification_results") == before


@pytest.mark.parametrize("suite", SUITES)
def test_every_order_of_arrival_gives_the_same_rows(stack, suite):
    expected = None
    rng = random.Random(suite)
    orders = list(itertools.permutations(SUITES[suite]))
    if suite != "merge":
        orders = [orders[0], *rng.sample(orders, ORDERS), orders[-1]]
    with made(stack) as store:
        line = Line(store)
        for order in orders:
            clear(store, *OWNED, "verification_results")
            cut = rng.randrange(len(order) + 1)
            line.tell(*order[:cut], judge=rng.random() < 0.5)
            line.tell(*order[cut:])
            expected = expected or line.rows()
            assert line.rows() == expected, [each["event_type"] for each in order]
    assert expected


def test_facts_of_one_patient_in_two_partitions_give_the_same_as_in_one(store):
    one, other = Line(store, 0), Line(store, 1)
    one.tell(told.rule(), told.task(), told.merged("q", "p"))
    other.tell(told.evidence(patient="q"))
    assert one.outcome() == "verified"
    other.tell(told.parted("q", "p", "10:30"))
    assert one.outcome() == "pending"


def test_a_rebuild_gives_the_rows_that_stood(line):
    facts = [*itertools.chain(*(SUITES[name] for name in ("retraction", "decision")))]
    facts += [told.task("u", due="12:00", patient="q"), told.evidence("y", "12:05", patient="q")]
    for fact in facts:
        line.tell(fact)
    before = line.store.rows("SELECT * FROM emr_verifications ORDER BY task_id")
    published = line.store.rows("SELECT * FROM verification_results")
    clear(line.store, *OWNED)
    line.tell(*facts)
    assert line.store.rows("SELECT * FROM emr_verifications ORDER BY task_id") == before
    assert line.store.rows("SELECT * FROM verification_results") == published


@pytest.mark.parametrize("point", ["judge: locked", "judge: written"])
def test_what_ends_before_the_commit_changes_nothing_and_is_due_again(line, armed, point):
    line.tell(told.rule(), told.task(), told.evidence(), judge=False)
    armed(f"{point}=raise")
    with pytest.raises(FailPoint):
        line.settle()
    assert line.rows() == []
    assert line.store.rows("SELECT FROM verification_due WHERE due = 'patient'")
    armed("")
    line.settle()
    assert line.outcome() == "verified"


def test_what_ends_after_the_commit_is_not_written_again(line, armed):
    line.tell(told.rule(), told.task(), told.evidence(), judge=False)
    armed("judge: committed=raise")
    with pytest.raises(FailPoint):
        line.settle()
    armed("")
    line.settle()
    assert len(line.store.rows("SELECT FROM verification_results")) == 1


def test_absence_is_told_when_the_feeds_have_passed_and_taken_back_by_late_evidence(line):
    line.tell(told.rule(), told.task(), told.evidence("other", "02:00", patient="z"))
    assert line.outcome() == "pending"
    line.tell(told.spoke("11:30"))
    assert line.outcome() == "pending"
    line.tell(told.spoke("11:31"))
    assert line.outcome() == "refuted"
    line.tell(told.evidence("late", "10:05", reported="15:00"))
    assert line.outcome() == "verified_late"


def test_a_feed_that_falls_silent_leaves_it_unknown_until_it_speaks_again(line):
    line.tell(told.rule(), told.task(), told.evidence("other", "02:00", patient="z"))
    line.tell(told.spoke("12:00", OTHER_FEED))
    assert line.outcome() == "unknown_stale"
    line.tell(told.spoke("11:31"))
    assert line.outcome() == "refuted"


def test_a_feed_whose_clock_is_days_ahead_moves_no_watermark(line):
    line.tell(told.rule(), told.task(), told.evidence("other", "02:00", patient="z"))
    line.tell(told.spoke("9 00:00"))
    assert line.outcome() == "pending"


def test_a_rule_that_changes_judges_its_tasks_anew(line):
    line.tell(told.rule(), told.task(), told.evidence())
    limits = {"low": 38.0, "high": None, "unit": "Cel"}
    line.tell(told.rule(version=2, thresholds=limits))
    assert line.outcome() == "pending"
    line.tell(told.rule(version=3))
    assert line.outcome() == "verified"
    [row] = line.rows()
    assert row["rule_version"] == 3


def test_a_cancelled_task_is_void_and_frees_its_evidence(line):
    line.tell(told.rule(), told.task("a"), told.task("b", due="10:20"), told.evidence())
    assert (line.outcome("a"), line.outcome("b")) == ("verified", "pending")
    line.tell(told.task("a", status="cancelled", version=2))
    assert (line.outcome("a"), line.outcome("b")) == ("void", "verified")


def test_evidence_that_turns_out_to_be_anothers_is_taken_from_the_one_and_given_to_the_other(line):
    line.tell(told.rule(), told.task("a"), told.task("b", patient="q"), told.evidence())
    line.tell(told.evidence(reported="11:00", state="corrected", patient="q"))
    assert (line.outcome("a"), line.outcome("b")) == ("pending", "verified")


def test_a_patient_who_cannot_be_judged_is_set_aside_and_stops_no_other(line, monkeypatch):
    real = judging.results

    def fails(work):
        if uid("bad") in work.patients:
            raise ZeroDivisionError("made for this test")
        return real(work)

    monkeypatch.setattr(judging, "results", fails)
    line.tell(told.rule(), told.task("a", patient="bad"), told.task("b", patient="good"))
    assert line.outcomes() == {uid("b"): "pending"}
    marks = line.store.rows("SELECT DISTINCT due_id::text, failed FROM verification_due")
    assert marks == [{"due_id": uid("bad"), "failed": "ZeroDivisionError"}]
    monkeypatch.undo()
    line.tell(told.evidence(patient="bad"))
    assert line.outcome("a") == "verified"
    assert line.store.rows("SELECT FROM verification_due") == []


def test_two_judges_at_once_write_each_change_once_and_number_without_a_hole(store):
    lines = [Line(store, number) for number in range(3)]
    names = [f"{number}" for number in range(60)]
    for index, line in enumerate(lines):
        mine = names[index::3]
        rules = [told.rule()] if index == 0 else []
        line.tell(
            *rules,
            *(told.task(name, patient=name) for name in mine),
            *(told.evidence(f"e{name}", patient=name) for name in mine),
            judge=False,
        )
    judges = [Judge(database=store.open()) for _ in range(2)]

    def work(judge):
        while judge.round():
            pass

    threads = [threading.Thread(target=work, args=(judge,)) for judge in judges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines[0].settle()
    assert set(lines[0].outcomes().values()) == {"verified"}
    found = store.rows("SELECT * FROM verification_results ORDER BY partition, partition_seq")
    for partition, rows in itertools.groupby(found, key=lambda row: row["partition"]):
        listed = [row["partition_seq"] for row in rows]
        assert listed == list(range(1, len(listed) + 1)), partition


def test_the_loop_judges_what_it_is_told_of_and_ends_when_it_is_told_to(line):
    stop = threading.Event()
    judge = Judge(database=line.store.database)
    thread = threading.Thread(target=judge.run, args=(stop,))
    thread.start()
    line.tell(told.rule(), told.task(), told.evidence(), judge=False)
    with line.store.database.connection() as connection:
        connection.autocommit = True
        connection.execute("LISTEN wardtrail_verifications")
        while not line.rows():
            next(connection.notifies(timeout=5, stop_after=1), None)
        connection.autocommit = False
    stop.set()
    thread.join()
    assert judge.failure is None
    assert line.outcome() == "verified"


def test_who_reads_sees_what_waits(line):
    line.tell(told.rule(), told.task(), judge=False)
    with line.store.open("app").connection() as connection:
        connection.execute("SELECT set_config('wt.tenant', %s, false)", (told.OURS,))
        marks = connection.execute(
            "SELECT count(*) AS due FROM verification_due WHERE failed IS NULL"
        ).fetchone()
        assert marks["due"] > 0
        assert judged.current(connection, uid("t")) is None
