"""Erasing from the command line: who is meant, what refuses, what is kept of it."""

import importlib
import uuid

import pytest

from ops import access
from ops.cli.errors import Failed
from ops.deploy import DEMO_TENANT
from ops.erasing import Eraser
from schemas import identity
from schemas.identity import Identifier
from sinks import erasing
from sinks.database import Database
from sinks.keyring import HELD_SECONDS
from tests.ops.cli.conftest import SECRETS

pytestmark = pytest.mark.stack
WHY = ("--reason", "asked for it", "--verified-by", "letter")


@pytest.fixture
def patient(desk):
    """Somebody of the tenant, by two numbers of one authority."""
    whom = uuid.uuid4()
    for number in ("4711-CANARY", "4712-CANARY"):
        hashed = identity.lookup(SECRETS.identity, Identifier(value=number, authority="NORTH"))
        desk.insert(
            "patient_identifiers", tenant_id=DEMO_TENANT, authority="NORTH",
            value_hmac=uuid.UUID(bytes=hashed), type="MR", patient_id=whom,
        )  # fmt: skip
    return whom


def asked(desk, *arguments, **given):
    result = desk.run("erase", *arguments, **given)
    assert "Traceback" not in result.output
    return result


def test_a_person_is_asked_for_by_id_or_by_number_on_standard_input(desk, patient, loaded):
    refused = asked(desk, "request", str(patient), *WHY)
    assert refused.exit_code == 1
    assert f"so many ids, each of which is erased: 1 ({patient})" in refused.output
    made = loaded(asked(desk, "request", str(patient), *WHY, "--confirm", "1", "--json"))
    assert (made["status"], made["verification_method"]) == ("pending", "letter")
    again = asked(
        desk, "request", "-", *WHY, "--confirm", "1", stdin="4711-CANARY^^^NORTH\n"
    )  # fmt: skip
    assert again.exit_code == 1
    assert "a request for this person is open" in again.output
    [listed] = loaded(asked(desk, "status", "--json"))
    assert listed["id"] == made["id"]
    assert asked(desk, "receipt", made["id"]).exit_code == 1
    gone = asked(desk, "cancel", made["id"], "--reason", "a mistake")
    assert gone.stdout == f"cancelled: {made['id']}\n"
    assert "cancelled" in asked(desk, "status").stdout
    assert "a mistake" in asked(desk, "status", made["id"]).stdout


def test_an_erasure_waits_for_the_longest_that_any_process_may_hold_a_key(desk, monkeypatch):
    waited = []

    def of(_, database, *, held_seconds, **__):
        waited.append(held_seconds)
        raise Failed("no further")

    monkeypatch.setattr(Eraser, "of", of)
    for seconds, given in ((60, ()), (1, ()), (1, ("--held", "1"))):
        monkeypatch.setenv("WARDTRAIL_HELD_SECONDS", str(seconds))
        assert "no further" in asked(desk, "run", *given).output
    assert waited == [HELD_SECONDS, HELD_SECONDS, 1]
    monkeypatch.setenv("WARDTRAIL_HELD_SECONDS", "2")
    refused = asked(desk, "run", "--held", "1")
    assert "held_seconds is longer here: 2 (hint: a longer --held)" in refused.output
    assert len(waited) == 3


def test_a_request_that_waits_is_carried_out_however_many_were_ended_since(
    desk, patient, monkeypatch
):
    waiting = asked(desk, "request", str(patient), *WHY, "--confirm", "1").stdout.strip()
    other = uuid.uuid4()
    desk.insert(
        "patient_identifiers", tenant_id=DEMO_TENANT, authority="NORTH",
        value_hmac=uuid.uuid4(), type="MR", patient_id=other,
    )  # fmt: skip
    ended = asked(desk, "request", str(other), *WHY, "--confirm", "1").stdout.strip()
    asked(desk, "cancel", ended, "--reason", "a mistake")
    monkeypatch.setattr(erasing, "OPEN_MAX", 1)
    commands = importlib.import_module("ops.cli.erase")  # whose name is also the group's
    worker = Database.open(access.role_url(desk.settings(), "wt_worker"), name="t", size=1)
    try:
        assert [str(each) for each in commands._open(worker, DEMO_TENANT)] == [waiting]
    finally:
        worker.close()


def test_a_number_that_nobody_has_is_told_and_not_repeated(desk, patient):
    result = asked(desk, "request", "-", *WHY, stdin="4799-CANARY\n")
    assert result.exit_code == 1
    assert "no patient has this number" in result.output
    assert "4799" not in result.output


def test_an_mrn_in_the_command_line_of_an_erasure_is_refused_and_not_repeated(desk):
    for command in ("request", "hold", "release"):
        more = WHY if command == "request" else ("--reason", "x") if command == "hold" else ()
        result = asked(desk, command, "4711-9", *more)
        assert result.exit_code == 2
        assert "an MRN never stands in a command line" in result.output
        assert "4711" not in result.output


def test_a_hold_is_placed_listed_and_released_and_refuses_meanwhile(desk, patient, loaded):
    assert asked(desk, "hold", str(patient), "--reason", "a lawsuit").exit_code == 0
    [standing] = loaded(asked(desk, "holds", "--json"))
    assert (standing["patient_id"], standing["reason"]) == (str(patient), "a lawsuit")
    assert "a lawsuit" in asked(desk, "holds").stdout
    refused = asked(desk, "request", str(patient), *WHY, "--confirm", "1")
    assert refused.exit_code == 1
    assert "a legal hold stands" in refused.output
    assert asked(desk, "release", str(patient)).stdout == "released: 1\n"
    assert asked(desk, "request", str(patient), *WHY, "--confirm", "1").exit_code == 0


def test_without_the_log_of_erasures_nothing_is_opened_and_a_line_says_so(desk):
    desk.environ["KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    result = desk.run("find", "--json", stdin='{"name": "Nobody"}')
    assert result.exit_code == 1
    assert "nothing is opened before the log of erasures is read" in result.output
    assert result.output.count("\n") == 1


def test_a_tenant_says_whether_erased_people_come_anew(desk):
    def policy():
        database = Database.open(access.role_url(desk.settings(), "wt_worker"), name="t", size=1)
        with database.connection() as connection, connection.transaction():
            connection.execute("SELECT set_config('wt.tenants', %s, true)", (f"{{{DEMO_TENANT}}}",))
            said = connection.execute("SELECT erased_people FROM tenants").fetchone()
        database.close()
        return said["erased_people"]

    assert policy() == "dark"
    assert desk.run("tenants", "set", "demo", "--erased-people", "anew").exit_code == 0
    assert policy() == "anew"
    assert desk.run("tenants", "set", "demo", "--erased-people", "gone").exit_code == 2
