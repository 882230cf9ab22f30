"""Orders from outside: asked for over MLLP, done over MLLP, known in rows and on the topic."""

import json
import time
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from schemas.topics import VERIFICATIONS
from streams.ledger.commands.verifications import DUE, stream_of
from tests.line.conftest import Line

pytestmark = pytest.mark.alone

SECONDS = 120.0  # until the judge has said what is to be said, however busy the machine
RULE = {
    "name": "glucose, as ordered", "evidence_kinds": ["observation"],
    "codes": [{"system": "LN", "code": "2345-7"}],
    "order_codes": [{"system": "C4", "code": "82947"}],
    "window_before_s": 1800, "window_after_s": 7200, "allowance_s": 3600,
    "encounter_policy": "any", "feeds": [], "stale_after_s": 86400,
}  # fmt: skip
PATIENT = "PID|1||4711^^^WARD^MR||Canaryname^Ada"
TASKS = """
SELECT task.task_id::text, task.order_id::text, task.patient_id::text, told.status::text,
       told.reasons
FROM verification_tasks AS task LEFT JOIN emr_verifications AS told USING (task_id)
WHERE task.rule_id = %s ORDER BY task.due_at
"""


def message(kind: str, control_id: str, sent: str, *segments: str) -> str:
    head = f"MSH|^~\\&|CPOE|WARD|||{sent}||{kind}|{control_id}|P|2.5.1"
    return "\r".join([head, PATIENT, *segments, ""])


def order(number: str, control: str, sent: str, starts: str) -> str:
    return message(
        "ORM^O01", f"o-{number}-{control}", sent, f"ORC|{control}|{number}^CPOE|||||||{sent}",
        f"TQ1|1||||||{starts}||S", f"OBR|1|{number}^CPOE||82947^Glucose^C4",
    )  # fmt: skip


def result(number: str, sent: str, done: str) -> str:
    return message(
        "ORU^R01", f"r-{number}", sent,
        f"OBR|1|{number}^CPOE|F-{number}^LAB|82947^Glucose^C4|||{done}",
        "OBX|1|NM|2345-7^Glucose^LN||5.4|mmol/L|||||F",
    )  # fmt: skip


@pytest.fixture(scope="module")
def rule(line: Line) -> str:
    """A rule that makes tasks of orders for a glucose."""
    stream = str(uuid4())
    command(line, "verification_rule.define", stream, RULE)
    return stream


def command(line: Line, name: str, stream: str, data: Any) -> None:
    asked = (name, "--stream", stream, "--id", str(uuid4()), "--wait", "10")
    deadline = time.monotonic() + SECONDS
    while (said := line.json("command", *asked, stdin=json.dumps(data)))["outcome"] == "pending":
        assert time.monotonic() < deadline, said
    assert said["outcome"] == "accepted", said


def tell(line: Line, text: str) -> None:
    assert line.json("send", "-", stdin=text)["answers"]["AA"] == 1
    line.settle()


def tasks(line: Line, rule: str, *statuses: str) -> list[dict[str, Any]]:
    """The tasks of the rule by their due times, once they have come to these outcomes."""
    server = line.settings.postgres
    assert server is not None
    deadline = time.monotonic() + SECONDS
    url = server.superuser_url(server.database)
    with psycopg.connect(url, connect_timeout=5, autocommit=True, row_factory=dict_row) as found:
        while True:
            rows = found.execute(TASKS, (rule,)).fetchall()
            if [row["status"] for row in rows] == list(statuses):
                return rows
            assert time.monotonic() < deadline, rows
            time.sleep(0.2)


def test_an_order_is_a_task_that_its_result_verifies(line: Line, rule: str):
    tell(line, order("P1", "NW", "20260301080000", "20260301100000"))
    (task,) = tasks(line, rule, "pending")
    assert task["order_id"]
    tell(line, order("P2", "NW", "20260301080100", "20260301150000"))
    tell(line, result("P1", "20260301103000", "20260301100500"))
    one, other = tasks(line, rule, "verified", "pending")
    assert (one["task_id"], one["reasons"]) == (task["task_id"], ["evidence"])
    assert line.json("verify", one["task_id"])["result"]["status"] == "verified"
    assert "verified: it was done" in line.run("verify", one["task_id"]).stdout
    tell(line, order("P2", "CA", "20260301110000", "20260301150000"))
    tasks(line, rule, "verified", "void")
    line.settle()
    newest = {
        each["task_id"]: each for each in line.published(VERIFICATIONS)
    }  # by revision: of one partition
    assert newest[one["task_id"]]["outcome"] == "verified"
    assert newest[other["task_id"]]["outcome"] == "void"
    assert "its order was cancelled" in line.run("verify", other["task_id"]).stdout


def test_v9_an_order_twice_a_day_for_three_days_is_six_tasks_of_which_each_act_does_one(
    line: Line, rule: str
):
    placed = message(
        "ORM^O01", "o-P9-NW", "20260401080000",
        "ORC|NW|P9^CPOE|||||^BID^D3^20260402||20260401080000",
        "OBR|1|P9^CPOE||82947^Glucose^C4",
    )  # fmt: skip
    tell(line, placed)
    tell(line, result("P9", "20260402171500", "20260402161500"))
    before = ("verified", "void")
    found = tasks(line, rule, *before, "pending", "verified", *["pending"] * 4)
    assert len({row["order_id"] for row in found[2:]}) == 1


def test_v11_a_person_decides_on_a_task_that_an_order_makes(line: Line, rule: str):
    tell(line, order("P3", "NW", "20260401090000", "20260401100000"))
    after = ("pending", "verified", *["pending"] * 4)  # the order of the days that follow
    task = tasks(line, rule, "verified", "void", "refuted", *after)[2]
    named = {name: task[name] for name in ("task_id", "order_id", "patient_id")}
    shown = line.json("verify", task["task_id"])
    asked = {
        **named, **{name: shown[name] for name in DUE}, "rule_id": rule, "outcome": "verified",
        "reason": "seen at the bedside",
    }  # fmt: skip
    command(line, "verification.decide", stream_of(task["task_id"]), asked)
    tasks(line, rule, "verified", "void", "verified", *after)
    assert line.json("verify", task["task_id"])["order_id"] == task["order_id"]
    assert "a person decided" in line.run("verify", task["task_id"]).stdout
