"""A message's way on the command line: masked without a reason, written down, a tenant's own."""

from datetime import timedelta
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest

from ops import deploy, openings, tracing
from ops.cli import tracing as command
from ops.cli.visits import keyring
from schemas import identity, sealing
from sinks import tracing as rows
from streams.log import BrokerAway
from tests.ops.cli.conftest import PATIENT, SECRETS, START, taken_apart

NAME, CONTROL = "Rookcanary", "id-4711"
BODY = (
    f"MSH|^~\\&|APP|FAC|||20260302||ADT^A01|{CONTROL}|P|2.5||||||UNICODE UTF-8\r"
    f"PID|1||7^^^A^MR||{NAME}^Ann\x1b\r"
).encode()


@pytest.fixture
def told(visited, loaded):
    """A message of the visit's first event: folded by trajectory, dead in patients."""
    (feed,) = loaded(visited.run("feeds", "list", "--json"))
    with psycopg.connect(visited.superuser, autocommit=True) as connection:
        connection.execute("UPDATE events SET feed_id = %s", (feed["id"],))
        connection.execute("UPDATE events SET event_type = 'admission.created'")
        [event] = connection.execute(
            "SELECT event_id, message_id FROM events WHERE partition_seq = 1"
        ).fetchall()
    add(visited, feed["id"], message_id=event[1])
    for reader, last in (("trajectory", 1), ("relay", 2), ("patients", 1)):
        visited.insert(
            "subscriptions", subscription_id=reader, topic="clinical.events.v1", partition=0,
            last_position=last,
        )  # fmt: skip
    visited.insert(
        "dead_letters", tenant_id=deploy.DEMO_TENANT, subscription_id="admissions",
        topic="clinical.events.v1", partition=0, offset=0, event_id=event[0], stage="fold",
        cause="fold_failed", reason="fold raised: KeyError", record_sealed=b"x",
    )  # fmt: skip
    return visited, str(event[1]), str(event[0])


def add(desk, feed, *, message_id, control=CONTROL, body=BODY, **given) -> None:
    """A message of the demo tenant, sealed as the intake seals it."""
    key = sealing.Key.of(SECRETS.data, version=1, scope=sealing.Scope.TENANT)
    sealed = sealing.seal(
        body, key, tenant=deploy.DEMO_TENANT, person=None, record=message_id, field="body"
    )
    row = {
        "tenant_id": deploy.DEMO_TENANT, "feed_id": feed, "message_id": message_id,
        "topic": "emr.hl7v2.v1", "partition": 2, "offset": 17, "received_at": START,
        "recorded_at": START, "message_type": "ADT^A01", "outcome": "applied",
        "reason": "no visit number", "mapper_version": 5, "events": 1, "duplicates": 2,
        "body_sealed": sealed,
        "control_hmac": identity.control(SECRETS.identity, UUID(feed), control), **given,
    }  # fmt: skip
    desk.insert("messages", **row)


def opened(desk) -> list[dict]:
    file = desk.settings().home / "logs" / openings.FILE
    return [orjson.loads(each) for each in file.read_text().splitlines()]


def test_a_message_is_traced_by_its_msh_10_its_id_and_its_events(told, loaded):
    desk, message, event = told
    ways = [
        loaded(desk.run("trace", *asked, "--json", stdin=stdin))
        for asked, stdin in ((["-"], f" {CONTROL} \n"), ([message], None), ([event], None))
    ]
    assert ways[0] == ways[1] == ways[2]
    [way] = ways[0]["messages"]
    assert (way["feed"], way["message"]["message_id"]) == ("demo", message)
    assert (way["message"]["topic"], way["message"]["offset"]) == ("emr.hl7v2.v1", 17)
    assert (way["message"]["mapper_version"], way["message"]["duplicates"]) == (5, 2)
    assert (way["body"]["size"], way["body"]["answers"]) == (len(BODY), ["AA"])
    [followed] = way["events"]
    assert followed["what"]["event_id"] == event
    stands = {each["reader"]: each["state"] for each in followed["readers"]}
    assert stands["trajectory"] == "applied"
    assert stands["admissions"] == "dead"
    assert stands["timeline"] == "waiting"
    assert stands["relay"] == "published"
    [point] = way["points"]
    assert (point["what"]["track"], point["readers"][0]["state"]) == ("census", "waiting")


def test_what_a_terminal_shows_is_the_whole_way(told):
    desk, message, event = told
    result = desk.run("trace", message)
    assert result.exit_code == 0
    said = result.stdout
    for line in (
        f"message:      {message}",
        "received:     2026-03-02 08:00:00 UTC, and came again: 2",
        f"content:      {len(BODY)} bytes, charset UNICODE UTF-8; masked (hint: --reason)",
        "answer:       AA (not stored: it follows from the message and its feed's settings)",
        "record:       emr.hl7v2.v1/2@17",
        "ledger:       2026-03-02 08:00:00 UTC, applied, mapper 5, events: 1",
        "because:      no visit number",
        "  PID|x||x^^^x^x||x^x",
    ):
        assert line in said.splitlines()
    for part in (event, "0@1", "applied: trajectory", "waiting: ", "(1 to go)", "letter "):
        assert part in " ".join(said.split())


def test_nothing_of_a_patient_is_shown_without_a_reason(told):
    desk, message, _ = told
    for options in ((), ("--json",)):
        said = desk.run("trace", message, *options).output
        assert not [each for each in (NAME, "Ann", "7^^^A", "ED^1^A", CONTROL) if each in said]
    for options in ((), ("--json",)):
        said = desk.run("trace", message, "--reason", "ticket 12", *options).stdout
        assert NAME in said
        assert "ED^1^A" in said
        assert "\x1b" not in said


def test_who_traces_is_written_down_with_why_before_anything_is_shown(told):
    desk, message, _ = told
    desk.run("trace", message)
    desk.run("trace", "-", "--reason", "ticket 12", stdin=CONTROL)
    assert [(each["what"], each["why"]) for each in opened(desk)] == [
        ("trace", None), ("trace", "ticket 12"),
    ]  # fmt: skip
    assert CONTROL not in str(opened(desk))
    file = desk.settings().home / "logs" / openings.FILE
    file.unlink()
    file.mkdir()
    refused = desk.run("trace", message)
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_of_who_was_erased_nothing_is_opened(told):
    desk, message, _ = told
    with keyring(desk.settings()) as ring:
        ring.sealing([(deploy.DEMO_TENANT, PATIENT)])
    with psycopg.connect(desk.superuser, autocommit=True) as connection:
        connection.execute("UPDATE subject_keys SET wrapped = NULL, destroyed_at = now()")
    said = desk.run("trace", message, "--reason", "ticket 12").stdout
    assert f"content:      closed: {tracing.ERASED}" in said.splitlines()
    assert NAME not in said


def test_messages_of_one_msh_10_are_bounded(told, loaded, monkeypatch):
    desk, _, _ = told
    (feed,) = loaded(desk.run("feeds", "list", "--json"))
    add(desk, feed["id"], message_id=uuid4(), events=0, received_at=START + timedelta(hours=1))
    assert desk.run("trace", "-", stdin=CONTROL).stdout.count("message:  ") == 2
    for module in (command, rows):
        monkeypatch.setattr(module, "MESSAGES_MAX", 1)
    result = desk.run("trace", "-", stdin=CONTROL)
    assert result.stdout.count("message:  ") == 1
    assert "there are more messages of this MSH-10 than are shown: 1" in result.stderr
    assert loaded(desk.run("trace", "-", "--json", stdin=CONTROL))["cut"] is True


def test_events_and_points_are_bounded_and_it_is_said(told, loaded, monkeypatch):
    desk, message, event = told
    monkeypatch.setitem(command._BOUNDS, "points", 1)
    desk.insert(
        "trajectory_points", id=uuid4(), point_id=uuid4(), tenant_id=deploy.DEMO_TENANT,
        admission_id=desk.admission, patient_id=PATIENT, track="physical", location="X",
        **taken_apart("X"), effective_at=START, known_from=START, start_inferred=False,
        end_inferred=False, start_field="EVN-6", start_event_id=event, fold_version=1,
        partition=0, partition_seq=1, data={},
    )  # fmt: skip
    [way] = loaded(desk.run("trace", message, "--json"))["messages"]
    assert (len(way["points"]), way["points_cut"], way["events_cut"]) == (1, True, False)
    assert "there are more points than are shown: 1" in desk.run("trace", message).stderr


def test_what_the_ledger_does_not_have_is_told_with_where_to_look(told):
    desk, _, _ = told
    for asked, stdin in ((str(uuid4()), None), ("-", "id-0815")):
        result = desk.run("trace", asked, stdin=stdin)
        assert (result.exit_code, result.stdout) == (1, "")
        assert "the ledger has no such message of this tenant" in result.stderr
        assert "wardtrail lag" in result.stderr
        assert "0815" not in result.stderr


def test_an_msh_10_stands_on_standard_input_alone_and_is_bounded(bare, desk):
    result = bare.run("trace", CONTROL)
    assert result.exit_code == 2
    assert "MSH-10 never stands in a command line" in " ".join(result.stderr.split())
    assert CONTROL not in result.output
    assert "no MSH-10 on standard input" in desk.run("trace", "-", stdin="\n").stderr
    assert "at most so many bytes" in desk.run("trace", "-", stdin="x" * 1_025).stderr


def test_a_message_of_another_tenant_is_nowhere(told):
    desk, message, event = told
    other = uuid4()
    desk.insert("tenants", id=other, name="Other", subdomain="other")
    for asked in (message, event):
        result = desk.run("trace", asked, "--tenant", "other")
        assert result.exit_code == 1
        assert message not in result.stdout


def test_without_the_log_of_erasures_the_way_is_shown_and_the_content_stays_closed(
    told, monkeypatch
):
    desk, message, event = told

    def away(*_):
        raise BrokerAway("no broker")

    monkeypatch.setattr("ops.obeying.replay", away)
    result = desk.run("trace", message)
    assert result.exit_code == 0
    assert "closed: nothing is opened before the log of erasures is read" in result.stdout
    assert event in result.stdout
    assert desk.run("trace", message, "--reason", "ticket 12").exit_code == 1


def test_without_the_tenants_keys_the_way_is_shown_by_id_and_not_by_msh_10(told):
    desk, message, event = told
    desk.settings().root_key.write_text("cd" * 32)
    result = desk.run("trace", message)
    assert result.exit_code == 0
    assert "closed: the root key doesn't open" in result.stdout
    assert event in result.stdout
    assert desk.run("trace", "-", stdin=CONTROL).exit_code == 1
