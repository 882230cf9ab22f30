"""The whole line from outside: messages in over MLLP, paths out of the database."""

import csv
import json
import signal
import socket
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from ops.simulator import Scenario, simulate
from producers import files, peek
from producers.client import ACKNOWLEDGEMENT, NOT_ASKED
from schemas.topics import EVENTS, TOPICS
from streams.read_models import FLIGHTPLANS, PROJECTIONS, WORK
from streams.trajectory import PROJECTION
from streams.verification.projection import PROJECTION as VERIFICATION
from tests.line.conftest import Line

pytestmark = pytest.mark.alone

SCENARIO = Scenario(seed=11, patients=40)
OTHER_DAY = Scenario(seed=12, patients=20)
COUNTED = ("applied", "duplicate", "ignored", "dead", "parked")


def counts(outcomes: dict[str, dict[str, int]]) -> Counter[str]:
    return Counter({name: outcomes["ledger"][name] for name in (*COUNTED, "no_record")})


def listed(corpus: Path) -> dict[Path, Counter[str]]:
    """The manifest's files, each with its messages by what MSH-9 says."""
    with (corpus / "MANIFEST.tsv").open(encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines, delimiter="\t") if row["types"] is not None]
    found: dict[Path, Counter[str]] = {}
    for row in rows:
        if row["file"].startswith("hl7v2/"):
            types = found[corpus / row["file"]] = Counter()
            for said in filter(None, row["types"].split(";")):
                name, _, times = said.partition("x")
                types[name.strip()] += int(times or 1)
    assert found
    return found


def read(path: Path) -> Counter[str]:
    """The same, as our own reader finds it."""
    heads = [peek.peek(piece.body) for piece in files.split(path.read_bytes()).messages]
    types: Counter[str] = Counter()
    for head in heads:
        assert isinstance(head, peek.Header), path
        parts = [head.component(9, number).decode() for number in (1, 2)]
        types["^".join(filter(None, parts)) or "(no MSH-9)"] += 1
    return types


@pytest.fixture(scope="module")
def day(line: Line, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated day, sent once."""
    path = tmp_path_factory.mktemp("day") / "day.hl7"
    path.write_bytes(b"\r".join(message.body for message in simulate(SCENARIO).messages))
    sent = line.json("send", str(path))
    assert sent["answers"]["AA"] == len(simulate(SCENARIO).messages)
    line.settle()
    return path


def test_a_simulated_day_ends_in_exactly_the_true_paths(line: Line, day: Path):
    found = {
        (row["visit_number"], row["location"], row["effective_at"], row["ended_at"])
        for row in line.export()
    }
    true = {
        (
            stay.visit_number,
            stay.location,
            stay.effective_at.isoformat(),
            stay.ended_at and stay.ended_at.isoformat(),
        )
        for stay in simulate(SCENARIO).stays
    }
    assert true
    assert true <= found


def test_the_same_messages_again_add_nothing(line: Line, day: Path):
    before, rows = counts(line.settle()), line.export()
    sent = line.json("send", str(day))
    added = counts(line.settle()) - before
    assert added == {"duplicate": sent["answers"]["AA"]}
    assert line.export() == rows


def test_every_message_of_the_corpus_is_found_answered_and_reported_by_its_type(
    line: Line, corpus: Path
):
    types = listed(corpus)
    for path, said in types.items():
        found = read(path)
        # Of a file with many types the manifest lists the most frequent dozen.
        assert found == said if len(said) < 12 else said.items() <= found.items(), path
    before, known = counts(line.settle()), by_type(line)
    sent = line.json("send", *map(str, types))
    added, became = counts(line.settle()) - before, by_type(line) - known
    answers, kinds = sent["answers"], sum(types.values(), Counter())
    unasked = [each for each in sent["not_accepted"] if each["text"] == NOT_ASKED]
    acknowledgements = [each for each in sent["not_accepted"] if each["text"] == ACKNOWLEDGEMENT]
    assert len(acknowledgements) == sum(n for kind, n in kinds.items() if kind[:3] == "ACK")
    assert len(unasked) + len(acknowledgements) == answers["none"]
    taken = sent["messages"] - len(acknowledgements)
    assert taken == answers["AA"] + answers["CA"] + len(unasked), "nothing is refused"
    assert sum(added.values()) == taken, "nothing is lost"
    assert added["no_record"] == added["parked"] == 0
    assert (
        sum(n for (_, what), n in became.items() if what == "messages") + added["duplicate"]
        == taken
    )
    table = line.run("quality").stdout
    for kind in {kind for kind, what in became if what == "messages"}:
        ends = sum(became[kind, outcome] for outcome in ("applied", "ignored", "dead"))
        assert became[kind, "messages"] == ends, table
        assert became[kind, "unsaid"] == 0, table
    assert all(kind in ("?", "ORU^R01^ORU_R01") for kind, what in became if what == "dead"), table
    reported = {kind for kind, what in became if what == "messages"}
    assert {kind for kind in kinds if kind[:3] not in ("ACK", "(no")} <= reported, table


def by_type(line: Line) -> Counter[tuple[str, str]]:
    """What `wardtrail quality` reports by type; `unsaid` are those that end without a reason."""
    found: Counter[tuple[str, str]] = Counter()
    for each in line.json("quality")["types"]:
        for what in ("messages", "applied", "ignored", "dead"):
            found[each["message_type"], what] += each[what]
        ended = sum(
            why["count"] for why in each["reasons"] if why["outcome"] in ("ignored", "dead")
        )
        found[each["message_type"], "unsaid"] += each["ignored"] + each["dead"] - ended
    return found


def test_the_corpus_journeys_end_where_they_should(line: Line, corpus: Path):
    expected = corpus / "expected/google+simhospital/journeys_utc.expected.json"
    line.json("send", str(corpus / "hl7v2/google+simhospital/journeys_utc.hl7"))
    line.settle()
    found = defaultdict(list)
    for row in sorted(line.export(), key=lambda row: row["effective_at"]):
        ended = row["ended_at"] and datetime.fromisoformat(row["ended_at"])
        began = datetime.fromisoformat(row["effective_at"])
        found[row["visit_number"], row["track"]].append((row["location"], began, ended))

    def at(text: str | None) -> datetime | None:
        return text and datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)

    visits = defaultdict(list)
    for journey in json.loads(expected.read_text("utf-8")):
        for stay in journey["stays"]:
            visits[stay["visit"]].append(
                (stay["location"], at(stay["start_local"]), at(stay["end_local"]))
            )
    assert len(visits) == 42
    for visit, stays in visits.items():
        for track in ("census", "physical"):  # nobody of them is ever away
            assert [(where[: len(stay[0])], *when) for stay, (where, *when) in zip(
                stays, found[visit, track], strict=True
            )] == stays  # fmt: skip


def test_every_group_has_committed_the_databases_positions(line: Line, day: Path):
    line.settle()
    assert all(each["mirrored"] in (True, None) for each in line.json("lag")["totals"])


def test_a_place_at_a_time_by_admission_and_by_visit_number(line: Line, day: Path):
    stay = next(stay for stay in simulate(SCENARIO).stays if stay.ended_at)
    middle = (stay.effective_at + (stay.ended_at - stay.effective_at) / 2).isoformat()
    found = line.json("where", "-", "--at", middle, stdin=stay.visit_number)
    assert stay.location in json.dumps(found)
    refused = line.run("where", stay.visit_number, check=False)
    assert refused.returncode == 2
    assert "standard input" in refused.stderr


ZONELESS = (
    "MSH|^~\\&|X|Y|||20260701120000||ADT^A01|zone-{0}|P|2.5\rEVN|A01|20260701120000||||"
    "20260701120000\rPID|1||Z{0}^^^ZONE^MR||Zyx^Q\rPV1|1|I|W^1^{0}||||||||||||||||ZV{0}^^^ZONE\r"
)


def test_a_feeds_zone_is_used_for_the_times_that_name_none(line: Line):
    for n, (zone, hour) in enumerate((("Europe/London", "11"), ("UTC", "12"))):
        line.run("feeds", "set", "demo", "--zone", zone)
        assert line.json("send", "-", stdin=ZONELESS.format(n))["answers"]["AA"] == 1
        line.settle()
        assert admitted(line, n) == {f"2026-07-01T{hour}:00:00+00:00"}


def admitted(line: Line, number: int) -> set[str]:
    return {row["effective_at"] for row in line.export() if row["visit_number"] == f"ZV{number}"}


def test_messages_are_mapped_anew_once_their_feeds_zone_is_right(line: Line):
    assert line.json("send", "-", stdin=ZONELESS.format(7))["answers"]["AA"] == 1
    line.settle()
    [way] = line.json("trace", "-", stdin="zone-7")["messages"]
    which = ("remap", "--all", "--message", way["message"]["message_id"])
    assert line.json(*which)["differing"] == 0
    line.run("feeds", "set", "demo", "--zone", "Europe/London")
    told = line.json(*which)
    assert (told["differing"], told["appended"]) == (1, 0)
    assert ("admission.created", "changed: occurred_at, reported_at") in {
        (each["event_type"], each["what"]) for each in told["differences"]
    }
    assert admitted(line, 7) == {"2026-07-01T12:00:00+00:00"}
    asked = line.run(*which, "--apply", check=False)
    assert asked.returncode == 1
    assert "append" in asked.stderr
    assert line.json(*which, "--apply", "--yes")["appended"] == 4
    assert line.json(*which, "--apply", "--yes")["appended"] == 0
    line.settle()
    assert admitted(line, 7) == {"2026-07-01T11:00:00+00:00"}
    [way] = line.json("trace", "-", stdin="zone-7")["messages"]
    assert [each["what"]["event_type"] for each in way["events"]].count("admission.superseded") == 1
    assert way["message"]["events"] == 2
    line.run("feeds", "set", "demo", "--zone", "UTC")


def test_other_programs_join_by_status_and_see_the_demo_tenant_alone(line: Line, day: Path):
    status = line.json("status")
    with psycopg.connect(status["postgres"]["dsn"], connect_timeout=5) as connection:
        tenants = connection.execute("SELECT DISTINCT tenant_id FROM events").fetchall()
        assert [str(row[0]) for row in tenants] == [status["tenant"]["id"]]
        connection.execute("SET wt.tenant = ''")
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DELETE FROM events")
    for server in ("kafka", "registry"):
        assert status[server]["state"] == "up"


def test_a_message_is_traced_from_its_bytes_to_its_published_stays(line: Line, day: Path):
    line.settle()
    sent = next(each.body for each in simulate(SCENARIO).messages if b"ADT^A01" in each.body)
    header = peek.peek(sent)
    assert isinstance(header, peek.Header)
    control = header.control_id.decode()
    [way] = line.json("trace", "-", stdin=control)["messages"]
    assert (way["body"]["size"], way["body"]["answers"]) == (len(sent), ["AA"])
    assert way["message"]["outcome"] == "applied"
    assert len(way["events"]) == way["message"]["events"] > 0
    for followed in (*way["events"], *way["points"]):
        assert {each["state"] for each in followed["readers"]} <= {"applied", "published"}
    tracks = {each["what"]["track"] for each in way["points"]}
    assert {"census", "physical"} <= tracks
    shown = line.run("trace", way["message"]["message_id"]).stdout
    assert all(each["what"]["event_id"] in shown for each in way["events"])
    assert control not in shown


def speak(line: Line, data: bytes) -> bytes:
    """Say something to the MLLP port; what comes back until it hangs up or falls silent."""
    with socket.create_connection(("127.0.0.1", line.settings.mllp_port), timeout=10) as talk:
        talk.sendall(data)
        talk.shutdown(socket.SHUT_WR)
        said = b""
        while part := talk.recv(65536):
            said += part
        return said


def test_bytes_that_are_no_message_get_a_clear_answer_and_the_line_goes_on(line: Line):
    head = b"MSH|^~\\&|A|B|||20260101||ADT^A99|odd-1|P|2.5\r"
    assert b"MSA|AR" in speak(line, b"\x0bPID|1||1\x1c\r")
    assert b"MSA|AR|odd-1" in speak(line, b"\x0b" + head + b"Z" * 5_000_000 + b"\x1c\r")
    speak(line, b"GET / HTTP/1.1\r\n\r\n")
    speak(line, b"<?xml version='1.0'?>")
    before = counts(line.settle())
    assert b"MSA|AA|odd-1" in speak(line, b"\x0b" + head + b"PID|1||7^^^A^MR\r\x1c\r")
    assert counts(line.settle()) - before == {"ignored": 1}


def test_a_batch_over_mllp_is_its_messages_and_a_bad_one_dies_alone(line: Line):
    head = b"MSH|^~\\&|X|Y|||20260701120000||"
    good = [
        head + b"ADT^A01|batch-%d|P|2.5\rEVN|A01|20260701120000\rPID|1||BATCH%d^^^ZONE^MR\r"
        b"PV1|1|I|W^1^%d||||||||||||||||BV%d^^^ZONE\r" % (n, n, n, n)
        for n in (1, 2)
    ]
    bad = head + b"|batch-3|P|2.5\rPID|1||BATCH3^^^ZONE^MR\r"
    batch = b"BHS|^~\\&\r" + good[0] + bad + good[1] + b"BTS|3\r"
    before = counts(line.settle())
    answer = speak(line, b"\x0b" + batch + b"\x1c\r")
    assert answer.startswith(b"\x0bBHS|^~\\&|")
    assert [answer.count(b"MSA|AA|batch-%d\r" % n) for n in (1, 2, 3)] == [1, 1, 1]
    assert b"\rBTS|3\r" in answer
    assert counts(line.settle()) - before == {"applied": 2, "dead": 1}
    speak(line, b"\x0b" + batch + b"\x1c\r")
    assert counts(line.settle()) - before == {"applied": 2, "dead": 1, "duplicate": 3}
    assert {"BV1", "BV2"} <= {row["visit_number"] for row in line.export()}


def test_a_feed_that_asks_for_it_is_answered_by_what_the_ledger_made_of_it(line: Line):
    asked = ("--answer-when", "outcome", "--ignored-answer", "AE")
    line.run("feeds", "set", "demo", *asked)
    (feed,) = [each for each in line.json("feeds", "list") if each["name"] == "demo"]
    assert (feed["answer_when"], feed["ignored_answer"]) == ("outcome", "AE")
    head = "MSH|^~\\&|X|Y|||20260701120000||"
    applied = (
        f"{head}ADT^A01|out-1|P|2.5\rEVN|A01|20260701120000\rPID|1||OUT1^^^ZONE^MR\r"
        "PV1|1|I|W^1^1||||||||||||||||OV1^^^ZONE\r"
    )
    ignored = f"{head}ADT^A99|out-2|P|2.5\rPID|1||OUT1^^^ZONE^MR\r"
    dead = f"{head}|out-3|P|2.5\rPID|1||OUT1^^^ZONE^MR\r"
    try:
        wait_until(lambda: "AE|out-2" in said_to(line, ignored), "the intake reads the feed anew")
        batch = line.json("send", "-", stdin=applied + dead + ignored + applied)
    finally:
        line.run("feeds", "set", "demo", "--answer-when", "custody", "--ignored-answer", "AA")
    assert {name: count for name, count in batch["answers"].items() if count} == {
        "AA": 2, "AR": 1, "AE": 1,
    }  # fmt: skip
    assert [(each["index"], each["code"], each["error"]) for each in batch["not_accepted"]] == [
        (2, "AR", 101), (3, "AE", 201),
    ]  # fmt: skip
    wait_until(lambda: "AA|out-2" in said_to(line, ignored), "the intake reads the feed anew")


def said_to(line: Line, message: str) -> str:
    return speak(line, b"\x0b" + message.encode() + b"\x1c\r").decode()


def wait_until(true: Callable[[], bool], what: str) -> None:
    for _ in range(100):
        if true():
            return
        time.sleep(0.2)
    raise AssertionError(f"never seen: {what}")


@pytest.mark.parametrize("topic", ["emr.hl7v2.v1", EVENTS.name])
def test_an_unreadable_record_is_a_dead_letter_and_stops_nothing(line: Line, topic: str):
    before = line.settle()
    producer = Producer({"bootstrap.servers": line.settings.kafka_bootstrap_servers})
    values = [b"", b"\x01junk", b"\x00\xff\xff\xff\xff", bytes(9), b"\x00" + b"\xff" * 50_000]
    for value in values:
        producer.produce(topic, value, partition=1)
    assert producer.flush(10) == 0
    after = line.settle()
    readers = ["ledger"] if topic != EVENTS.name else ["patients", "timeline", "trajectory"]
    for reader in readers:
        assert after[reader]["dead"] - before[reader]["dead"] == len(values)
    letters = line.json("dead-letters", "list")
    text = json.dumps(letters)
    assert "undecodable" in text
    assert "junk" not in text


def test_no_patients_data_stands_outside_its_ciphertext(line: Line, day: Path):
    """Every file and record of the line, searched for the sample people (invariant 12)."""
    canaries = [each.encode() for each in simulate(SCENARIO).canaries]
    assert any(each in day.read_bytes() for each in canaries), "the search can find them"
    for data in [*records(line), *stored(line)]:
        low = data.lower()
        assert b"zyqorv" not in low
        assert not any(each.lower() in low for each in canaries if each.startswith(b"+999"))


def records(line: Line) -> list[bytes]:
    """All keys, values and headers of all topics."""
    found = []
    for topic in TOPICS:
        for record in line.records(topic):
            found += [record.key() or b"", record.value() or b""]
            found += [value for _, value in record.headers() or ()]
    assert found
    return found


def stored(line: Line) -> list[bytes]:
    """The files of the home: database, logs, copies; Kafka's are compressed, and read above."""
    server = line.settings.postgres
    assert server is not None
    with psycopg.connect(server.superuser_url(), autocommit=True, connect_timeout=5) as connection:
        connection.execute("CHECKPOINT")
    kept = [*server.folder.rglob("data/base/**/*"), *server.folder.rglob("data/pg_wal/*")]
    kept += [*(line.home / "logs").rglob("*"), *line.home.glob("*.json")]
    return [path.read_bytes() for path in kept if path.is_file()]


@pytest.mark.parametrize("broken_off", [False, True], ids=["at once", "after a kill"])
def test_projections_rebuilt_beside_their_workers_are_the_same_byte_for_byte(
    line: Line, day: Path, monkeypatch: pytest.MonkeyPatch, broken_off: bool
):
    """Invariant 10, for every projection of the line."""
    before, stood = held(line), line.settle()
    asked = {table.name for each in (WORK, FLIGHTPLANS, VERIFICATION) for table in each.owns}
    assert all(rows for name, rows in before.items() if name not in asked)
    if broken_off:
        monkeypatch.setenv("WARDTRAIL_FAILPOINTS", "rebuild: written=kill@1")
        killed = line.run("rebuild", PROJECTION.name, "--yes", check=False)
        assert killed.returncode == -signal.SIGKILL
        monkeypatch.delenv("WARDTRAIL_FAILPOINTS")
        assert held(line)["trajectory_points"] == []
        refused = line.run("rebuild", "trajectories", "--yes", check=False)
        assert refused.returncode == 2
    folded = line.json("rebuild", *(each.name for each in REBUILT), "--yes")
    assert {each["projection"]: each["events"] > 0 for each in folded} == {
        each.name: True for each in REBUILT
    }
    assert held(line) == before
    assert line.settle() == stood
    text = f"MSH|^~\\&|X|Y|||20260701120000||ADT^A01|again-{broken_off}|P|2.5\r"
    text += f"EVN|A01|20260701120000\rPID|1||AG{broken_off}^^^AGAIN^MR\r"
    text += f"PV1|1|I|W^1^1||||||||||||||||AG{broken_off}^^^AGAIN\r"
    assert line.json("send", "-", stdin=text)["answers"]["AA"] == 1
    after = line.settle()
    assert after["trajectory"]["applied"] == stood["trajectory"]["applied"] + 1
    assert after["trajectory"]["duplicate"] == stood["trajectory"]["duplicate"]
    assert any(row["visit_number"] == f"AG{broken_off}" for row in line.export())


def test_messages_that_come_while_their_paths_are_rebuilt_are_in_them_once(
    line: Line, day: Path, tmp_path: Path
):
    stood = line.settle()
    (tmp_path / "more.hl7").write_bytes(
        b"\r".join(message.body for message in simulate(OTHER_DAY).messages)
    )
    with ThreadPoolExecutor(1) as aside:
        sending = aside.submit(line.json, "send", str(tmp_path / "more.hl7"))
        for _ in range(2):
            line.run("rebuild", PROJECTION.name, "patients", "--yes")
        assert sending.result()["answers"]["AA"] == len(simulate(OTHER_DAY).messages)
    live, ended = held(line), line.settle()
    assert ended["trajectory"]["applied"] > stood["trajectory"]["applied"] or (
        ended["trajectory"]["duplicate"] > stood["trajectory"]["duplicate"]
    )
    line.run("rebuild", PROJECTION.name, "patients", "--yes")
    assert held(line) == live
    found = {(row["visit_number"], row["location"]) for row in line.export()}
    assert {(stay.visit_number, stay.location) for stay in simulate(OTHER_DAY).stays} <= found


def test_a_rebuild_asks_before_it_drops_anything(line: Line, day: Path):
    before = held(line)
    refused = line.run("rebuild", "patients", stdin="n\n", check=False)
    assert refused.returncode == 1
    assert held(line) == before


def test_a_person_is_erased_while_the_line_runs(line: Line, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WARDTRAIL_HELD_SECONDS", "1")
    text = "MSH|^~\\&|X|Y|||20260701120000||ADT^A01|er-{0}|P|2.5\rEVN|A01|20260701120000\r"
    text += "PID|1||ER1^^^ERASE^MR||Zyxerased^Q\rPV1|1|I|W^1^1||||||||||||||||EV1^^^ERASE\r"
    query = '{"name": "Zyxerased"}'
    assert line.json("send", "-", stdin=text.format(1))["answers"]["AA"] == 1
    line.settle()
    reason = ("--reason", "asked for it", "--verified-by", "letter", "--confirm", "1")
    asked = line.json("erase", "request", "-", *reason, stdin="ER1^^^ERASE\n")
    [done] = line.json("erase", "run", "--held", "1")
    assert done["status"] == "completed"
    receipt = done["receipt"]
    assert (receipt["bodies"], receipt["people"][0]["events"]) == (1, 2)
    assert all(receipt["raw_topics_until"].values())
    assert line.json("send", "-", stdin=text.format(2))["answers"]["AA"] == 1
    line.settle()
    assert line.json("find", stdin=query)["patients"] == []
    mine = [row for row in line.export() if row["patient_id"] == asked["patient_id"]]
    assert [row["visit_number"] for row in mine] == [None] * len(mine)
    assert mine


REBUILT = (*PROJECTIONS, PROJECTION, VERIFICATION)


def held(line: Line) -> dict[str, list[str]]:
    """All rows of all projections, but for marks, which come and go."""
    line.settle()
    server = line.settings.postgres
    assert server is not None
    url = server.superuser_url(server.database)
    names = [table.name for each in REBUILT for table in each.owns]
    with psycopg.connect(url, connect_timeout=5) as connection:
        return {name: dumped(connection, name) for name in names if name != "verification_due"}


def dumped(connection: psycopg.Connection, table: str) -> list[str]:
    """Every row of a table as text, in an order of its own."""
    return sorted(row[0] for row in connection.execute(f"SELECT each::text FROM {table} AS each"))
