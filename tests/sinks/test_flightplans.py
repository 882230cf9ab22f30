"""Questions to flight plans, over rows that the projection wrote: one, an admission's, all."""

from uuid import UUID

import pytest

from sinks import flightplans
from sinks import transaction as sink
from sinks.pages import CursorInvalid
from sinks.transaction import Recorded
from streams.read_models import FLIGHTPLANS
from tests.sinks.provisioned import LINE, OURS, THEIRS
from tests.sinks.test_work import every, reader
from tests.streams.ledger.commands.test_flightplans import (
    ALERT,
    FALL,
    GOAL,
    MILESTONE,
    SURGERY,
    TASK,
    VISIT,
    Plan,
    asked,
)
from tests.streams.ledger.commands.working import PATIENT, named

pytestmark = pytest.mark.stack


def plan(visit=VISIT, patient=PATIENT, *more):
    one = Plan(visit)
    asked(one, "create", admission_id=visit, patient_id=patient, title="Home by Friday")
    for what, given in more:
        assert isinstance(asked(one, what, **given), list), what
    return one


def apply(store, *plans, tenant=OURS, partition=0):
    held, batch = store.take("flightplans", partition), []
    for seq, event in enumerate((event for one in plans for event in one.told), 1):
        placed = {"tenant_id": tenant, "partition": partition, "partition_seq": seq}
        batch.append(Recorded(seq - 1, b"key", b"", {**event, **placed}))
    sink.apply(store.database, FLIGHTPLANS, held, batch, line=LINE)


def of_visit(snapshot, visit):
    return every(flightplans.flightplans, snapshot, admission=UUID(visit))


def test_a_plan_is_found_by_its_id_and_by_its_admission(store):
    one = plan(
        VISIT, PATIENT,
        ("add_goal", {**GOAL, "name": "A"}), ("add_task", {**TASK, "name": "B"}),
        ("add_milestone", {**SURGERY, "name": "C"}), ("set_risk", {"score": 0.75}),
        ("raise_alert", FALL), ("activate", {}),
    )  # fmt: skip
    apply(store, one)
    with reader(store) as snapshot:
        found = flightplans.flightplan(snapshot, UUID(one.stream_id))
        assert found is not None
        assert (found.admission_id, found.patient_id) == (VISIT, PATIENT)
        assert (found.status, found.risk_score, found.version) == ("active", 0.75, 7)
        assert [goal["goal_id"] for goal in found.goals] == [GOAL["goal_id"]]
        assert [task["task_id"] for task in found.tasks] == [TASK["task_id"]]
        assert [each["completed"] for each in found.milestones] == [False]
        assert [each["milestone_id"] for each in found.milestones] == [MILESTONE["milestone_id"]]
        assert [alert["alert_id"] for alert in found.alerts] == [ALERT["alert_id"]]
        assert of_visit(snapshot, VISIT) == [found]
        assert of_visit(snapshot, named("no visit")) == []
        assert flightplans.flightplan(snapshot, UUID(VISIT)) is None


def test_plans_are_listed_page_by_page_and_filtered(store):
    made = [plan(named(f"visit {n}"), named(f"patient {n % 2}")) for n in range(5)]
    asked(made[0], "activate")
    apply(store, *made)
    with reader(store) as snapshot:
        found = every(flightplans.flightplans, snapshot)
        assert [one.id for one in found] == sorted(one.stream_id for one in made)
        for given, expected in (
            ({"status": "active"}, made[:1]),
            ({"status": "completed"}, []),
            ({"patient": UUID(named("patient 1"))}, made[1::2]),
            ({"admission": UUID(named("visit 3"))}, made[3:4]),
            ({"admission": UUID(named("visit 0")), "status": "draft"}, []),
        ):
            some = every(flightplans.flightplans, snapshot, **given)
            assert {one.id for one in some} == {one.stream_id for one in expected}, given
        with pytest.raises(CursorInvalid):
            flightplans.flightplans(snapshot, cursor="none of ours")


def test_the_plans_of_joined_visits_are_found_by_each_of_their_numbers(store):
    former, later = named("former number"), named("later number")
    apply(store, plan(former), plan(later), plan(VISIT))
    store.run(
        "INSERT INTO admission_aliases (tenant_id, admission_id, into_admission_id, event_id,"
        " recorded_at) VALUES (%s, %s, %s, %s, now())",
        OURS, former, later, named("joined"),
    )  # fmt: skip
    with reader(store) as snapshot:
        for visit in (former, later):
            found = of_visit(snapshot, visit)
            assert {one.admission_id for one in found} == {former, later}
        (other,) = of_visit(snapshot, VISIT)
        assert other.admission_id == VISIT


def test_another_tenants_plans_are_not_there(store):
    apply(store, plan(), tenant=THEIRS)
    with reader(store) as snapshot:
        assert every(flightplans.flightplans, snapshot) == []
        assert of_visit(snapshot, VISIT) == []
