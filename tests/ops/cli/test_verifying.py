"""`wardtrail verify` says what was asked, what is known, what was looked at, as of when."""

import uuid

import pytest

from ops import access, deploy
from sinks.database import Database
from tests.sinks.provisioned import Store
from tests.streams.verification import told
from tests.streams.verification.cases import uid
from tests.streams.verification.told import Line

pytestmark = pytest.mark.stack


@pytest.fixture
def tell(desk):
    """Puts facts about the demo tenant through the projection and the judge."""
    url = access.role_url(desk.settings(), "wt_worker")
    opened = Database.open(url, name="test", size=4)
    line = Line(
        Store(admin=desk.superuser, name="", worker=url, app="", migrate="", database=opened)
    )
    yield lambda *facts: line.tell(
        *({**fact, "tenant_id": str(deploy.DEMO_TENANT)} for fact in facts)
    )
    opened.close()


def test_a_verified_task_is_explained_by_its_evidence(desk, tell):
    tell(told.rule(), told.task(), told.evidence("near", "10:05"), told.evidence("far", "08:00"))
    said = desk.run("verify", uid("t"))
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    assert lines[0].startswith("asked: temperature (rule ")
    assert "verified: it was done, in time" in lines
    assert "  because evidence says so" in lines
    assert f"evidence {uid('near')} of 2026-03-01 10:05:00 counts" in lines
    [far] = [line for line in lines if line.startswith(f"evidence {uid('far')}")]
    assert "does not count: outside the window (asked 2026-03-01T09:30" in far


def test_a_refuted_task_says_how_far_the_feeds_have_told(desk, tell):
    tell(told.rule(), told.task(), told.evidence("other", "02:00", patient="z"))
    assert "pending: nobody can say yet" in desk.run("verify", uid("t")).stdout
    tell(told.spoke("12:00"))
    said = desk.run("verify", uid("t")).stdout
    assert "refuted: it was not done" in said
    assert f"feed {told.FEED} has told until 2026-03-01 12:00:00\n" in said
    assert "no evidence of the kind and code for this patient" in said


def test_a_conflict_names_both_sides(desk, tell):
    tell(told.rule(), told.task(), told.evidence(), told.decided("refuted", {"tablet": 1}))
    said = desk.run("verify", uid("t")).stdout
    assert "in conflict: people and feeds contradict each other" in said
    assert f"decision of user {uid('nurse')}: refuted\n" in said
    assert f"evidence {uid('e')} of 2026-03-01 10:00:00 counts" in said


def test_programs_get_the_same_as_data(desk, tell, loaded):
    tell(told.rule(), told.task(), told.evidence("far", "08:00"))
    found = loaded(desk.run("verify", uid("t"), "--json"))
    assert found["result"]["status"] == "pending"
    assert [each["differs"][0]["field"] for each in found["evidence"]] == ["performed_at"]
    assert list(found["watermarks"]) == [told.FEED]


def test_a_task_that_an_order_makes_names_it_for_who_would_decide(desk, tell, loaded):
    codes = [{"system": "LN", "code": "24323-8"}]
    tell(told.rule(order_codes=codes), told.order(starts="10:00"), told.task(due="10:00"))
    assert f"  for order {uid('o')}" in desk.run("verify", told.asked_of("o")).stdout
    assert loaded(desk.run("verify", told.asked_of("o"), "--json"))["order_id"] == uid("o")
    due = [loaded(desk.run("verify", each, "--json"))["due_at"] for each in (
        told.asked_of("o"), uid("t"),
    )]  # fmt: skip
    assert due == ["2026-03-01T10:00:00+00:00", None]
    assert loaded(desk.run("verify", uid("t"), "--json"))["order_id"] is None


def test_a_decision_about_a_time_that_the_order_left_is_shown_and_counts_for_nothing(
    desk, tell, loaded
):
    codes = [{"system": "LN", "code": "24323-8"}]
    later = told.order("o", "changed", reported="09:30", starts="11:00")
    one = told.decided("verified", {"ledger": 1}, order="o", due="10:00")
    tell(told.rule(order_codes=codes), told.order(starts="10:00"), one)
    of_user = f"decision of user {uid('nurse')}: verified for 2026-03-01 10:00:00"
    assert f"{of_user}\n" in desk.run("verify", told.asked_of("o")).stdout
    tell(later)
    said = desk.run("verify", told.asked_of("o")).stdout
    assert "pending: nobody can say yet" in said
    assert f"{of_user}, counts for nothing\n" in said
    assert "a decision is about a time at which its order is not due now" in said
    [told_of] = loaded(desk.run("verify", told.asked_of("o"), "--json"))["decisions"]
    assert told_of["counts_for_nothing"] == "decided_for_another_time"


def test_a_task_that_nobody_knows_is_one_line(desk, tell):
    unknown = str(uuid.uuid4())
    said = desk.run("verify", unknown)
    assert said.exit_code == 1
    assert said.stderr.strip() == f"wardtrail: no task of this tenant has this id: {unknown}"


def test_what_is_no_id_is_misuse(desk):
    assert desk.run("verify", "somebody").exit_code == 2
