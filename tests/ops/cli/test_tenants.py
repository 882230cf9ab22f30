"""Tenants are made, described, suspended, written out and deleted, on a real database."""

import hashlib
import json
import re
import shlex
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from ops import access, deploy, feed_copy, openings
from ops.cli.tenants import held_until
from ops.cli.visits import keyring
from ops.deploy import DEMO_TENANT
from ops.feeds import LocalFeeds
from producers.intake import sender_hmac
from schemas import sealing
from sinks.database import Database
from tests.keyed import erase
from tests.ops.cli.conftest import PATIENT, SECRETS, START, VISIT_NUMBER

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/adding-a-feed.md").read_text("utf-8")
MANY = json.dumps(dict.fromkeys(map(str, range(101))))


def rows(desk, query):
    with psycopg.connect(desk.superuser, autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(query).fetchall()


def published(desk):
    """As if the relay had published what there is."""
    desk.insert("partitions", topic="clinical.events.v1", partition=0)
    desk.insert(
        "subscriptions", subscription_id="relay", topic="clinical.events.v1", partition=0,
        last_position=10,
    )  # fmt: skip


def test_a_tenant_is_created_once_with_its_keys_and_its_feed_of_commands(desk, loaded):
    said = (
        "--plan", "enterprise", "--features", '{"analytics": true}',
        "--enabled-specialties", '["ortho", "cardiac"]', "--branding", '{"colour": "#123"}',
        "--integrations", '{"paging": {"url": "https://example.org"}}',
    )  # fmt: skip
    first = desk.run("tenants", "create", "City Hospital", "--subdomain", "city", *said)
    assert first.exit_code == 0, first.output
    again = desk.run("tenants", "create", "City Hospital", "--subdomain", "city")
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert "there already" in again.stderr
    found = {each["subdomain"]: each for each in loaded(desk.run("tenants", "list", "--json"))}
    city = found["city"]
    assert (city["plan"], city["active"]) == ("enterprise", True)
    assert city["features"] == {"analytics": True}
    assert city["enabled_specialties"] == ["cardiac", "ortho"]
    assert city["branding"] == {"colour": "#123"}
    keys = rows(desk, f"SELECT purpose FROM tenant_keys WHERE tenant_id = '{city['tenant_id']}'")
    assert sorted(row["purpose"] for row in keys) == ["data", "identity"]
    feeds = rows(desk, f"SELECT name FROM feeds WHERE tenant_id = '{city['tenant_id']}'")
    assert feeds == [{"name": "app"}]
    assert "City Hospital" in desk.run("tenants", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("Other", "--subdomain", "demo"), "the subdomain belongs to another tenant: Demo"),
        (("Demo hospital", "--subdomain", "new"), "has another subdomain: demo"),
        (("New", "--subdomain", "No.Label"), "a subdomain is a label of a host name"),
        (("New", "--subdomain", "www"), "and none of"),
        ((" ", "--subdomain", "new"), "1 to 255 printable characters"),
        (("New", "--subdomain", "new", "--features", "[]"), "features must be a JSON object"),
        (("New", "--subdomain", "new", "--features", '{"a": 1}'), "a feature is true or false: a"),
        (("New", "--subdomain", "new", "--features", "{"), "features must be JSON"),
        (("New", "--subdomain", "new", "--branding", "[" * 9), "branding must be JSON"),
        (("New", "--subdomain", "new", "--integrations", '{"a": 1}'), "an object of settings: a"),
        (("New", "--subdomain", "new", "--enabled-specialties", '["A B"]'), "a specialty is"),
        (("New", "--subdomain", "new", "--plan", "x" * 65), "a plan is a word"),
        (
            ("New", "--subdomain", "new", "--branding", json.dumps({"a": "x" * 17_000})),
            "branding must have at most so many bytes",
        ),
        (
            ("New", "--subdomain", "new", "--branding", '{"a":' * 6 + "{}" + "}" * 6),
            "branding must have at most so many levels",
        ),
        (
            (
                "New",
                "--subdomain",
                "new",
                "--branding",
                MANY,
            ),
            "at most so many items on a level",
        ),
    ],
)
def test_what_cannot_be_a_tenant_is_told_and_nothing_made(desk, arguments, line):
    result = desk.run("tenants", "create", *arguments)
    assert result.exit_code in (1, 2)
    assert line in result.stderr
    assert len(rows(desk, "SELECT FROM tenants")) == 1


def test_a_tenant_is_suspended_and_resumed(desk, loaded):
    assert desk.run("tenants", "suspend", "demo").exit_code == 0
    assert "was suspended" in desk.run("tenants", "suspend", "demo").stderr
    [tenant] = loaded(desk.run("tenants", "list", "--json"))
    assert not tenant["active"]
    assert "suspended" in desk.run("tenants", "list").stdout
    [feed] = loaded(desk.run("feeds", "list", "--json"))
    assert feed["suspended"]
    assert desk.run("tenants", "resume", "demo").exit_code == 0
    assert "was active" in desk.run("tenants", "resume", "demo").stderr
    [tenant] = loaded(desk.run("tenants", "list", "--json"))
    assert tenant["active"]


def test_an_export_holds_every_row_sealed_for_its_owner_alone(visited, tmp_path):
    file = tmp_path / "demo.ndjson"
    result = visited.run("tenants", "export", "demo", "--to", str(file))
    assert result.exit_code == 0, result.output
    content = file.read_bytes()
    assert VISIT_NUMBER.encode() not in content
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in content.splitlines()]
    manifest_file = tmp_path / "demo.ndjson.manifest.json"
    manifest = json.loads(manifest_file.read_text())
    assert stat.S_IMODE(manifest_file.stat().st_mode) == 0o600
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest["bytes"] == len(content)
    assert sum(manifest["rows"].values()) == len(lines)
    assert manifest["rows"]["events"] == 2
    assert {line["table"] for line in lines} >= {"tenants", "feeds", "events", "tenant_keys"}
    assert "wrapped" not in content.decode()
    again = visited.run("tenants", "export", "demo", "--to", str(file))
    assert "the file is there already" in again.stderr
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == [
        "demo.ndjson", "demo.ndjson.manifest.json",
    ]  # fmt: skip


def test_an_export_is_opened_only_for_a_reason_that_is_kept(visited, tmp_path):
    file = tmp_path / "demo.ndjson"
    assert visited.run("tenants", "export", "demo", "--to", str(file), "--open").exit_code == 2
    result = visited.run(
        "tenants", "export", "demo", "--to", str(file), "--open", "--reason", "the tenant leaves"
    )
    assert result.exit_code == 0, result.output
    events = [
        each["row"] for line in file.read_bytes().splitlines()
        if (each := json.loads(line))["table"] == "events"
    ]  # fmt: skip
    assert [row["sealed"]["visit_number"] for row in events] == [{"opened": VISIT_NUMBER}] * 2
    manifest = json.loads((tmp_path / "demo.ndjson.manifest.json").read_text())
    assert (manifest["opened"], manifest["reason"]) == (True, "the tenant leaves")
    log = (visited.settings().home / "logs" / openings.FILE).read_text()
    [line] = map(json.loads, log.splitlines())
    assert (line["what"], line["why"]) == ("tenants export --open", "the tenant leaves")
    assert line["by"] == manifest["by"]
    assert manifest["unopened"] == 0


def test_an_opened_export_opens_what_people_s_own_keys_sealed_but_of_the_erased(visited, tmp_path):
    erased, lost = (DEMO_TENANT, UUID(int=0xE)), b"Rookcanary"
    with keyring(visited.settings()) as ring:
        keys = ring.tenant(DEMO_TENANT).apart()
        subjects = ring.sealing([(DEMO_TENANT, PATIENT), erased])
        keys.subjects.update({name[1]: each for name, each in subjects.items()})
    for person, clear in ((PATIENT, b'"ward round"'), (erased[1], lost)):
        sealed = keys.seal(clear, person=person, record=uuid4(), field="title")
        visited.insert(
            "patient_read_models", id=person, tenant_id=DEMO_TENANT, created_at=START,
            updated_at=START, partition=0, partition_seq=1,
            data={"demographics": sealing.text(sealed)},
        )  # fmt: skip
    worker = Database.open(access.role_url(visited.settings(), "wt_worker"), name="test", size=1)
    erase(worker, DEMO_TENANT, erased[1])
    worker.close()
    file = tmp_path / "demo.ndjson"
    result = visited.run("tenants", "export", "demo", "--to", str(file), "--open", "--reason", "x")
    assert result.exit_code == 0, result.output
    assert lost not in file.read_bytes()
    told = {
        row["id"]: row["data"]["demographics"] for line in file.read_bytes().splitlines()
        if (row := json.loads(line)["row"]) and json.loads(line)["table"] == "patient_read_models"
    }  # fmt: skip
    assert told[str(PATIENT)] == {"opened": "ward round"}
    assert isinstance(told[str(erased[1])], str)
    manifest = json.loads((tmp_path / "demo.ndjson.manifest.json").read_text())
    assert manifest["unopened"] == 1


def test_a_deletion_wants_the_name_a_suspension_and_an_export(visited, tmp_path):
    published(visited)

    def delete(*options, confirm="Demo hospital"):
        return visited.run("tenants", "delete", "demo", "--confirm", confirm, *options)

    assert "--confirm isn't the tenant's name" in delete(confirm="demo").stderr
    assert "the tenant is active" in delete().stderr
    visited.run("tenants", "suspend", "demo")
    assert "was not written out" in delete().stderr
    assert rows(visited, "SELECT FROM deleted_tenants") == []
    visited.run("tenants", "export", "demo", "--to", str(tmp_path / "demo.ndjson"))
    result = delete()
    assert result.exit_code == 0, result.output
    assert "records (ids, sealed texts) stay in emr.hl7v2.v1 until 20" in result.stderr
    for table in ("tenants", "tenant_keys", "feeds", "events", "trajectory_points"):
        assert rows(visited, f"SELECT FROM {table}") == [], table
    again = visited.run("tenants", "delete", str(deploy.DEMO_TENANT), "--confirm", "Demo hospital")
    assert again.exit_code == 0, "a deletion that was broken off goes on by the tenant's id"
    other = visited.run("tenants", "delete", str(deploy.DEMO_TENANT), "--confirm", "Other")
    assert "--confirm isn't the tenant's name" in other.stderr
    unknown = visited.run("tenants", "delete", str(uuid4()), "--confirm", "Other")
    assert "no such tenant" in unknown.stderr


def test_a_deletion_that_has_begun_leaves_what_came_to_be_unpublished_meanwhile(visited):
    """Records that wait in the log become events until it begins, after it was looked at."""
    published(visited)
    visited.run("tenants", "suspend", "demo")
    with psycopg.connect(visited.superuser, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO deleted_tenants (id, name_sha256) VALUES (%s, sha256('Demo hospital'))",
            (DEMO_TENANT,),
        )
        connection.execute("UPDATE subscriptions SET last_position = 1")
        again = ("tenants", "delete", "demo", "--confirm", "Demo hospital", "--force")
        result = visited.run(*again)
        assert (result.exit_code, len(rows(visited, "SELECT FROM events"))) == (1, 2)
        assert "rows of events are not published yet" in result.stderr
        connection.execute("UPDATE subscriptions SET last_position = 2")
    assert visited.run(*again).exit_code == 0
    assert rows(visited, "SELECT FROM events") == []


def test_a_forced_deletion_suspends_first(visited):
    published(visited)
    result = visited.run("tenants", "delete", "demo", "--confirm", "Demo hospital", "--force")
    assert result.exit_code == 0, result.output
    assert rows(visited, "SELECT FROM tenants") == []


def test_a_deletion_reaches_the_local_copy_of_the_intake_in_this_home(visited):
    settings = visited.settings()
    file = settings.home / feed_copy.NAME
    database = Database.open(access.role_url(settings, "wt_worker"), name="test", size=1)
    try:
        LocalFeeds(database, access.root(settings), file, default_port=0).refresh()
    finally:
        database.close()
    assert str(deploy.DEMO_TENANT) in file.read_text()
    published(visited)
    result = visited.run("tenants", "delete", "demo", "--confirm", "Demo hospital", "--force")
    assert result.exit_code == 0, result.output
    assert str(deploy.DEMO_TENANT) not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_topics_hold_records_until_their_retention_is_over():
    now = datetime(2026, 3, 1, tzinfo=UTC)
    held = held_until(now)
    assert held["emr.hl7v2.v1"] == now + timedelta(days=7)
    assert held["clinical.events.v1"] == now + timedelta(days=30)


def test_a_feed_is_added_bound_paused_and_resumed(desk, loaded):
    digest = ":".join(["AB"] * 32)
    added = desk.run(
        "feeds", "add", "lab", "--zone", "Europe/London", "--emr", "CERNER:Main", "--port", "2576",
        "--senders", "LAB,LAB2", "--facilities", "NORTH", "--receiving-applications", "WT",
        "--receiving-facilities", "CITY", "--certificates", digest, "--refusal-answer", "AE",
        "--transient-answer", "AR", "--acknowledgement", "original",
        "--answer-when", "outcome", "--ignored-answer", "AE",
        "--messages-per-second", "50", "--connections", "4", "--in-flight-bytes", "1000000",
    )  # fmt: skip
    assert added.exit_code == 0, added.output

    def lab():
        return next(
            each for each in loaded(desk.run("feeds", "list", "--json")) if each["name"] == "lab"
        )

    found = lab()
    assert (found["emr"], found["port"], found["senders"]) == ("CERNER:Main", 2576, ["LAB", "LAB2"])
    assert (found["facilities"], found["certificates"]) == (["NORTH"], ["ab" * 32])
    assert (found["messages_per_second"], found["connections_max"]) == (50, 4)
    assert (found["in_flight_bytes_max"], found["refusal_answer"]) == (1_000_000, "AE")
    assert (found["transient_answer"], found["acknowledgement"]) == ("AR", "original")
    assert (found["answer_when"], found["ignored_answer"]) == ("outcome", "AE")
    assert "there" not in desk.run("feeds", "list").stderr
    assert "has a feed of this name" in desk.run("feeds", "add", "lab").stderr
    other = desk.run("feeds", "add", "xray", "--emr", "EPIC:Main")
    assert "Main is another kind of EMR, it is: CERNER" in other.stderr
    assert desk.run("feeds", "pause", "lab").exit_code == 0
    assert not lab()["active"]
    assert desk.run("feeds", "resume", "lab").exit_code == 0
    assert lab()["active"]
    reset = desk.run(
        "feeds", "set", "lab", "--senders", "any", "--messages-per-second", "0", "--port", "0",
        "--transient-answer", "none", "--acknowledgement", "auto",
    )  # fmt: skip
    assert reset.exit_code == 0, reset.output
    found = lab()
    assert (found["senders"], found["messages_per_second"], found["port"]) == ([], None, None)
    assert (found["transient_answer"], found["acknowledgement"]) == (None, "auto")


@pytest.mark.parametrize(
    "wrong",
    [
        ("--certificates", "abc"), ("--emr", "VISTA:Main"), ("--emr", "EPIC:"),
        ("--senders", " "), ("--senders", "x" * 300), ("--messages-per-second", "-1"),
        ("--transient-answer", "AA"), ("--acknowledgement", "never"),
        ("--refusal-answer", "AA"), ("--port", "70000"), ("--zone", "Nowhere"),
    ],
)  # fmt: skip
def test_a_feed_with_a_wrong_setting_is_not_made(desk, loaded, wrong):
    result = desk.run("feeds", "add", "lab", *wrong)
    assert result.exit_code == 2, result.output
    assert len(loaded(desk.run("feeds", "list", "--json"))) == 1


def test_refusals_are_shown_and_a_sender_is_found_by_its_names(desk, loaded):

    assert desk.run("feeds", "refusals").stdout == "nothing was refused\n"
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    for sender, refused in ((sender_hmac(SECRETS.identity, "XRAY", "SOUTH"), 7), (None, 2)):
        desk.insert(
            "intake_refusals", tenant_id=deploy.DEMO_TENANT, port=2575, hour=hour,
            reason="sender", sender_hmac=sender, refused=refused, last_at=hour,
        )  # fmt: skip
    listed = loaded(desk.run("feeds", "refusals", "--json"))
    assert [each["refused"] for each in listed] == [7, 2]
    assert "sender" in desk.run("feeds", "refusals").stdout
    [found] = loaded(desk.run("feeds", "refusals", "--said", "XRAY|SOUTH", "--json"))
    assert found["refused"] == 7
    assert desk.run("feeds", "refusals", "--said", "LAB|").stdout == "nothing was refused\n"


def test_the_guide_to_a_feed_runs_as_it_stands(desk, loaded):
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.DOTALL))
    commands = [shlex.split(line)[1:] for line in blocks.splitlines() if "wardtrail " in line]
    assert {tuple(words[:2]) for words in commands} >= {
        ("tenants", "create"), ("feeds", "add"), ("feeds", "set"), ("tenants", "set"),
    }  # fmt: skip
    for words in commands:
        result = desk.run(*words)
        assert result.exit_code == 0, (words, result.output)
    [lab] = loaded(desk.run("feeds", "list", "--tenant", "city", "--json"))
    assert (lab["zone"], lab["messages_per_second"]) == ("Europe/London", 50)


def test_every_file_that_the_guide_to_a_feed_names_is_there():
    named = re.findall(r"`((?:schemas|sinks|ops|producers|tests)/[\w./-]+)`", GUIDE)
    assert len(named) > 5
    assert [each for each in named if not (ROOT / each).exists()] == []
