"""Rules V1 to V13 from outside: told over MLLP and HTTP, known by row, topic, query and command.

Every scenario has people and rules of its own on one line, and :meth:`Judging.judged` holds row,
topic and query against each other. No feed brings FHIR resources yet: what rules V3 and V12 say
of them is told to the ledger's own transaction as evidence of a MedicationAdministration, and
goes from there through relay, projection and judge like all else. Fetching what a notification
announced, and holding back at a hole of its eventNumber (V12), are the intake's and not here.
"""

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.line.messages import adt, fhir, iso, oru, ras, vxu
from tests.line.north import NORTH
from tests.line.verifying import Judging

pytestmark = [pytest.mark.stack, pytest.mark.alone]

DUE = iso("10:00")  # the window is half an hour around it
GIVEN = {"evidence_kinds": ["administration"], "codes": [{"system": "NDC", "code": "0093-0058-01"}]}
VACCINATED = {"evidence_kinds": ["immunization"], "codes": [{"system": "CVX", "code": "115"}]}
SOON = {"allowance_s": 3600}  # absence is told of once the feeds have passed 11:30


@pytest.fixture(scope="module")
def line() -> Iterator[Judging]:
    with Judging.up() as up:
        yield up


def test_v1_a_result_is_recomputed_whenever_evidence_rule_or_task_change(line: Judging) -> None:
    person = line.person()
    rule = line.rule()
    task = line.task(rule, person, DUE)
    assert line.judged(task).outcomes == ["pending"]
    first = oru(person, "v1", "10:05", value="39.0")
    line.tell(first)
    verified = line.judged(task)
    assert (verified.outcome, verified.row["rule_version"]) == ("verified", 1)
    line.revise(rule, thresholds={"low": None, "high": 38.0, "unit": "Cel"})
    limited = line.judged(task)
    assert (limited.outcome, limited.row["rule_version"]) == ("pending", 2)
    assert limited.differing == {"value"}
    line.tell(oru(person, "v1", "10:05", reported="10:20", state="C", value="37.5"))
    corrected = line.judged(task)
    assert corrected.outcome == "verified"
    assert corrected.evidence == verified.evidence
    assert corrected.row["evidence"][0]["event_id"] != verified.row["evidence"][0]["event_id"]
    line.command("task.edit", task, {"due_at": iso("14:00")})
    assert line.judged(task).outcome == "pending"
    line.command("task.edit", task, {"due_at": DUE})
    line.tell(first)
    again = line.judged(task)
    assert again.outcomes == [
        "pending", "verified", "pending", "verified", "pending", "verified",
    ]  # fmt: skip
    ids = [UUID(each["result_id"]) for each in again.history]
    assert {each.version for each in ids} == {5}
    assert (ids[2], ids[3]) == (ids[4], ids[5]), "what stands on the same has the same id"
    assert len(set(ids)) == 4
    assert "verified: it was done, in time" in line.line.run("verify", task).stdout


def test_v2_obx_11_says_whether_a_result_is_evidence(line: Judging) -> None:
    rule = line.rule()
    said = {
        **dict.fromkeys("FVUABC", ("verified", "evidence")),
        **dict.fromkeys("PRIS", ("pending", "evidence_pending")),
        **dict.fromkeys("NODW", ("pending", "no_evidence_yet")),
        "X": ("refuted", "evidence_unobtainable"),
    }
    people = {state: line.person() for state in said}
    tasks = {state: line.task(rule, person, DUE) for state, person in people.items()}
    line.tell(*(oru(people[state], f"v2-{state}", "10:00", state=state) for state in said))
    found = dict(zip(tasks, line.each(*tasks.values()), strict=True))
    assert {state: (each.outcome, *each.reasons) for state, each in found.items()} == said


@pytest.mark.parametrize("state", ["D", "W"])
def test_v2_a_result_that_is_deleted_or_another_patients_is_revoked(
    line: Judging, state: str
) -> None:
    person = line.person()
    task = line.task(line.rule(), person, DUE)
    number = f"v2-revoked-{state}"
    line.tell(oru(person, number, "10:00"))
    assert line.judged(task).outcome == "verified"
    line.tell(oru(person, number, "10:00", reported="11:00", state=state))
    revoked = line.judged(task)
    assert (revoked.outcomes[-2:], revoked.evidence) == (["verified", "pending"], [])


def test_v2_a_correction_replaces_a_result_and_is_looked_at_again(line: Judging) -> None:
    person = line.person()
    limits = {"low": None, "high": 38.0, "unit": "Cel"}
    task = line.task(line.rule(thresholds=limits), person, DUE)
    line.tell(oru(person, "v2-c", "10:00"))
    assert line.judged(task).outcome == "verified"
    line.tell(oru(person, "v2-c", "10:00", reported="11:00", state="C", value="39.5"))
    corrected = line.judged(task)
    assert (corrected.outcome, corrected.differing) == ("pending", {"value"})
    assert "not within the thresholds" in line.explained(task)


def test_v3_an_administration_says_by_its_completion_what_was_done(line: Judging) -> None:
    rule = line.rule(**GIVEN)
    said = {
        "CP": ("verified", "evidence"), "PA": ("pending", "evidence_partial"),
        "RE": ("refuted", "evidence_refused"), "NA": ("refuted", "evidence_not_administered"),
        "QQ": ("unknown_stale", "evidence_unknown"),
    }  # fmt: skip
    people = {code: line.person() for code in said}
    tasks = {code: line.task(rule, person, DUE) for code, person in people.items()}
    line.tell(*(ras(people[code], f"v3-{code}", "10:00", completion=code) for code in said))
    found = dict(zip(tasks, line.each(*tasks.values()), strict=True))
    assert {code: (each.outcome, *each.reasons) for code, each in found.items()} == said
    line.tell(ras(people["CP"], "v3-CP", "10:00", reported="11:00", action="D"))
    deleted = line.judged(tasks["CP"])
    assert (deleted.outcome, deleted.evidence) == ("pending", [])
    assert "it was done in part: a person must look" in line.explained(tasks["PA"])


def test_v3_the_status_of_a_fhir_administration_says_what_was_done(line: Judging) -> None:
    rule = line.rule(**GIVEN)
    said = {
        "final": "verified", "pending": "pending", "refuted": "refuted", "partial": "pending",
        "revoked": "pending", "unknown": "unknown_stale",
    }  # fmt: skip
    people = {state: line.person() for state in said}
    tasks = {state: line.task(rule, person, DUE) for state, person in people.items()}
    for state, person in people.items():
        line.append(fhir(person, f"v3-{state}", "10:00", state=state, version="1"), person)
    found = dict(zip(tasks, line.each(*tasks.values()), strict=True))
    assert {state: each.outcome for state, each in found.items()} == said
    assert found["final"].versions == ["1"]
    assert found["revoked"].evidence == []


def test_v4_an_order_is_no_act_and_its_end_voids_the_task_unless_it_was_done(
    line: Judging,
) -> None:
    person, done = line.person(), line.person()
    rule = line.rule(**GIVEN)
    tasks = [
        line.task(rule, person, DUE, order_id=line.order("v4")),
        line.task(rule, done, DUE, order_id=line.order("v4-done")),
    ]
    ordered = {"completion": "", "control": "NW", "reported": "09:00"}
    line.tell(
        ras(person, "v4", "10:00", order="v4", **ordered),
        ras(done, "v4-done", "10:00", order="v4-done", **ordered),
    )
    assert [each.outcome for each in line.each(*tasks)] == ["pending", "pending"]
    line.tell(
        ras(person, "v4", "10:00", order="v4", completion="", control="CA", reported="09:30"),
        ras(done, "v4-done", "10:00", order="v4-done"),
        ras(done, "v4-end", "12:00", order="v4-done", completion="", control="CA"),
    )
    ended, given = line.each(*tasks)
    assert (ended.outcome, ended.reasons) == ("void", ("order_cancelled",))
    assert (given.outcome, given.reasons) == ("verified", ("evidence",))
    assert "its order was cancelled" in line.explained(tasks[0])


def test_v4_evidence_of_another_order_is_none(line: Judging) -> None:
    person = line.person()
    task = line.task(line.rule(), person, DUE, order_id=line.order("v4-mine"))
    line.tell(oru(person, "v4-other", "10:00", order="v4-other"))
    other = line.judged(task)
    assert (other.outcome, other.differing) == ("pending", {"order_id"})
    line.tell(oru(person, "v4-mine", "10:10", order="v4-mine"))
    assert line.judged(task).outcome == "verified"


def test_v5_rxa_20_and_21_say_what_became_of_an_immunization(line: Judging) -> None:
    rule = line.rule(**VACCINATED)
    said = {"CP": "verified", "PA": "pending", "RE": "refuted", "NA": "refuted"}
    people = {code: line.person() for code in said}
    tasks = {code: line.task(rule, person, DUE) for code, person in people.items()}
    line.tell(*(vxu(people[code], f"v5-{code}", "10:00", completion=code) for code in said))
    found = dict(zip(tasks, line.each(*tasks.values()), strict=True))
    assert {code: each.outcome for code, each in found.items()} == said
    line.tell(
        vxu(people["CP"], "v5-CP", "10:00", reported="11:00", action="D"),
        vxu(people["RE"], "v5-later", "10:20"),
    )
    deleted, mended = line.each(tasks["CP"], tasks["RE"])
    assert (deleted.outcome, deleted.evidence) == ("pending", [])
    assert mended.outcomes[-2:] == ["refuted", "verified"]


def test_v6_the_clinical_time_decides_and_late_charting_is_told(line: Judging) -> None:
    early, late, charted = line.person(), line.person(), line.person()
    rule = line.rule()
    tasks = [line.task(rule, early, DUE), line.task(rule, late, DUE)]
    tasks.append(line.task(line.rule(**SOON), charted, DUE))
    line.tell(
        oru(early, "v6-early", "08:00", reported="10:00"),
        oru(late, "v6-late", "10:10", reported="13:00"),
        oru(charted, "v6-charted", "10:10", reported="15:00"),
    )
    before, within, after = line.each(*tasks)
    assert (before.outcome, before.differing) == ("pending", {"performed_at"})
    assert (within.outcome, within.differing) == ("verified", set())
    assert (after.outcome, after.differing) == ("verified_late", {"reported_at"})
    assert "outside the window" in line.explained(tasks[0])
    assert "verified late" in line.explained(tasks[2])


def test_v7_evidence_of_another_encounter_is_none_unless_the_rule_says_so(line: Judging) -> None:
    person = line.person()
    line.tell(
        adt("A01", person, "06:00", visit="V7A"), adt("A01", person, "06:00", visit="V7B")
    )  # fmt: skip
    line.rest()
    same, whichever = line.rule(encounter_policy="same"), line.rule()
    visit = line.visit("V7A")
    tasks = [line.task(each, person, DUE, admission_id=visit) for each in (same, whichever)]
    line.tell(oru(person, "v7-b", "10:00", visit="V7B"))
    strict, loose = line.each(*tasks)
    assert (strict.outcome, strict.differing) == ("pending", {"admission_id"})
    assert loose.outcome == "verified"
    line.tell(oru(person, "v7-a", "10:10", visit="V7A"))
    assert line.judged(tasks[0]).outcome == "verified"


def test_v7_a_merge_makes_the_retired_patients_evidence_the_survivors(line: Judging) -> None:
    retired, survivor = line.person(), line.person()
    rule = line.rule()
    task, theirs = line.task(rule, survivor, DUE), line.task(rule, retired, iso("16:00"))
    line.tell(oru(retired, "v7-merged", "10:00"))
    assert line.judged(task).outcome == "pending"
    line.tell(adt("A40", survivor, "12:00", merges=retired))
    merged, moved = line.each(task, theirs)
    assert merged.outcomes == ["pending", "verified"]
    assert moved.row["patient_id"] == line.patient(survivor)
    _, listed = line.ask(f"/verifications?patient={line.patient(retired)}")
    assert {each["task_id"] for each in listed["verifications"]} == {task, theirs}
    line.tell(oru(retired, "v7-after", "16:00"))
    assert line.judged(theirs).outcome == "verified", "what comes under the old number counts"


def test_v7_a_moved_visit_takes_its_evidence_along(line: Judging) -> None:
    wrong, right = line.person(), line.person()
    rule = line.rule()
    tasks = [line.task(rule, wrong, DUE), line.task(rule, right, DUE)]
    line.tell(adt("A01", wrong, "06:00", visit="V7M"), oru(wrong, "v7-moved", "10:00", visit="V7M"))
    assert [each.outcome for each in line.each(*tasks)] == ["verified", "pending"]
    line.tell(adt("A45", right, "12:00", visit="V7M", merges=wrong, merges_visit="V7M"))
    left, taken = line.each(*tasks)
    assert (left.outcomes[-2:], taken.outcomes) == (
        ["verified", "pending"], ["pending", "verified"],
    )  # fmt: skip


def test_v8_codes_count_by_system_and_code_and_units_are_made_one(line: Judging) -> None:
    names = ("local", "words", "fahrenheit", "fever", "bare")
    people = {name: line.person() for name in names}
    rule = line.rule(
        codes=[{"system": "http://loinc.org", "code": "8310-5"}],
        thresholds={"low": 36.0, "high": 38.0, "unit": "Cel"},
    )
    tasks = {name: line.task(rule, person, DUE) for name, person in people.items()}
    line.tell(
        oru(people["local"], "v8-local", "10:00", code="8310-5^Body temperature^99WARD"),
        oru(people["words"], "v8-words", "10:00", code="8867-4^Body temperature^LN"),
        oru(people["fahrenheit"], "v8-f", "10:00", value="100.0", unit="[degF]"),
        oru(people["fever"], "v8-fever", "10:00", value="102.2", unit="[degF]"),
        oru(people["bare"], "v8-bare", "10:00", unit=""),
    )
    found = dict(zip(tasks, line.each(*tasks.values()), strict=True))
    assert {name: (each.outcome, each.differing) for name, each in found.items()} == {
        "local": ("pending", set()), "words": ("pending", set()),
        "fahrenheit": ("verified", set()), "fever": ("pending", {"value"}),
        "bare": ("pending", {"value"}),
    }  # fmt: skip


def test_v9_one_piece_of_evidence_satisfies_the_instance_that_is_due_nearest(
    line: Judging,
) -> None:
    person = line.person()
    rule = line.rule()
    tasks = [line.task(rule, person, iso(due)) for due in ("10:00", "10:20")]
    line.tell(oru(person, "v9-1", "10:18"))
    first, second = line.each(*tasks)
    assert (first.outcome, second.outcome) == ("pending", "verified")
    line.tell(oru(person, "v9-2", "10:02"))
    one, other = line.each(*tasks)
    assert (one.outcome, other.outcome) == ("verified", "verified")
    assert not set(one.evidence) & set(other.evidence)
    line.tell(oru(person, "v9-3", "10:19"))
    third, last = line.each(*tasks)
    assert third.evidence == one.evidence
    assert len(last.evidence) == 1
    assert "it counts for another task" in line.explained(tasks[0])


def test_v10_absence_is_told_once_the_feed_has_passed_and_unknown_where_it_is_silent(
    line: Judging,
) -> None:
    person, other = line.person(), line.person()
    north = {"tenant": NORTH}
    line.tell(oru(other, "v10-other", "02:00"), feed="lab")
    task = line.task(line.rule(**SOON, **north), person, DUE, **north)
    assert line.judged(task, **north).outcome == "pending"
    line.tell(adt("A31", other, "12:00"), feed="ward")
    silent = line.judged(task, **north)
    assert (silent.outcome, silent.reasons) == ("unknown_stale", ("feed_silent",))
    line.tell(adt("A31", other, "11:30"), feed="lab")
    assert line.judged(task, **north).outcome == "pending", "it hasn't passed the allowance"
    line.tell(adt("A31", other, "11:31"), feed="lab")
    absent = line.judged(task, **north)
    assert (absent.outcome, absent.reasons) == ("refuted", ("no_evidence",))
    assert line.feed("lab") in line.explained(task, tenant="north")
    line.tell(oru(person, "v10-late", "10:05", reported="15:00"), feed="lab")
    assert line.judged(task, **north).outcomes == [
        "pending", "unknown_stale", "pending", "refuted", "verified_late",
    ]  # fmt: skip


def test_v11_a_decision_that_did_not_know_the_evidence_is_in_conflict_with_it(
    line: Judging,
) -> None:
    person = line.person()
    task = line.task(line.rule(), person, DUE)
    line.decide(task, person, "verified", reason="seen by the bed")
    decided = line.judged(task)
    assert decided.outcome == "verified"
    assert decided.row["verified_by"] is not None
    line.tell(oru(person, "v11", "10:00", state="X"))
    conflict = line.judged(task)
    assert (conflict.outcome, conflict.reasons[-1]) == ("conflict", "decided_otherwise")
    assert len(conflict.row["decisions"]) == len(conflict.evidence) == 1
    seen = conflict.row["vector_clock"]["emr"]
    assert "verification.resolve" in line.explained(task)
    line.decide(task, person, "refuted", resolves=True, evidence_seen=seen)
    settled = line.judged(task)
    assert (settled.outcome, settled.reasons[-1]) == ("refuted", "decided_alike")
    assert settled.outcomes[-3:] == ["verified", "conflict", "refuted"]


def test_v11_decisions_of_devices_that_did_not_know_of_each_other_are_both_kept(
    line: Judging,
) -> None:
    person = line.person()
    task = line.task(line.rule(), person, DUE)
    for outcome, device, micros in (("verified", "tablet-a", 9), ("refuted", "tablet-b", 1)):
        clock = {"clock": {device: 1}, "replica": device, "hlc_micros": micros, "hlc_counter": 0}
        line.decide(task, person, outcome, **clock)
    conflict = line.judged(task)
    assert (conflict.outcome, len(conflict.row["decisions"])) == ("conflict", 2)
    assert conflict.row["hlc_node"] == "tablet-a", "the later is shown first, and decides nothing"
    assert conflict.row["vector_clock"] == {"tablet-a": 1, "tablet-b": 1}
    line.decide(task, person, "refuted", resolves=True)
    settled = line.judged(task)
    assert (settled.outcome, len(settled.row["decisions"])) == ("refuted", 1)
    said = line.explained(task)
    assert said.count("overruled since") == 2


def test_v12_evidence_is_bound_to_the_version_that_was_fetched(line: Judging) -> None:
    rule = line.rule(**GIVEN)
    announced = {"state": "pending", "version": "3", "reported": "10:20"}
    fetched = {"state": "final", "version": "10", "reported": "10:10"}
    for name, order in (("first", (announced, fetched)), ("last", (fetched, announced))):
        person = line.person()
        task = line.task(rule, person, DUE)
        for each in order:
            line.append(fhir(person, f"v12-{name}", "10:00", **each), person)
        found = line.judged(task)
        assert (found.outcome, found.versions) == ("verified", ["10"])
        assert found.history[-1]["evidence"][0]["version"] == "10"


def test_v13_another_tenants_evidence_never_verifies(line: Judging) -> None:
    person = line.person()
    task = line.task(line.rule(), person, DUE)
    theirs = line.task(line.rule(tenant=NORTH), person, DUE, tenant=NORTH)
    line.tell(oru(person, "v13", "10:00"), feed="ward")
    assert line.judged(theirs, tenant=NORTH).outcome == "verified"
    assert line.judged(task).outcomes == ["pending"]
    assert line.ask(f"/verifications/{theirs}")[0] == 404
    assert line.line.run("verify", theirs, check=False).returncode == 1
    assert "no evidence of the kind and code" in line.explained(task)


def test_v13_evidence_of_a_patient_who_was_parted_again_never_verifies(line: Judging) -> None:
    retired, survivor = line.person(), line.person()
    task = line.task(line.rule(), survivor, DUE)
    line.tell(oru(retired, "v13-parted", "10:00"), adt("A40", survivor, "12:00", merges=retired))
    assert line.judged(task).outcome == "verified"
    line.tell(adt("A37", survivor, "13:00", merges=retired))
    parted = line.judged(task)
    assert (parted.outcomes[-2:], parted.evidence) == (["verified", "pending"], [])


def test_v13_a_dead_feed_verifies_and_refutes_nothing(line: Judging) -> None:
    person, north = line.person(), {"tenant": NORTH}
    rule = line.rule(feeds=[line.feed("lab")], **SOON, **north)
    task = line.task(rule, person, iso("+10 10:00"), **north)
    for clock in ("+10 12:00", "+10 23:00", "+40 12:00"):
        line.tell(adt("A31", person, clock), feed="ward")
        dead = line.judged(task, **north)
        assert (dead.outcome, dead.reasons) == ("unknown_stale", ("feed_silent",))
    said = line.explained(task, tenant="north")
    assert "unknown: nobody can say, and perhaps nobody will" in said
    assert f"feed {line.feed('lab')}" in said


def test_work_and_outcomes_of_all_this_are_the_same_after_a_rebuild(line: Judging) -> None:
    """The last one: what every scenario left, dropped and made anew out of the ledger."""
    before = line.held()
    assert all(before[name] for name in ("tasks", "verification_decisions", "emr_verifications"))
    folded = line.line.json("rebuild", "work", "verification", "--yes")
    assert [each["projection"] for each in folded] == ["work", "verification"]
    assert line.held() == before
