"""The ledger's parking on a whole line: a feed whose charset nobody knows, set and retried."""

import time
from pathlib import Path

import pytest

from ops.simulator import Scenario, simulate
from schemas.topics import LETTERS
from tests.line.conftest import QUIET_SECONDS, Line

pytestmark = pytest.mark.alone

SCENARIO = Scenario(seed=22, patients=24)


def torn(messages: list[tuple[str, bytes]]) -> list[bytes]:
    """The messages, the first one of every third patient in a charset that there is not."""
    patients = list(dict.fromkeys(mrn for mrn, _ in messages))
    chosen, seen, bodies = set(patients[::3]), set[str](), []
    for mrn, body in messages:
        if mrn in chosen - seen:
            body = body.replace(b"UNICODE UTF-8", b"KLINGON", 1).replace(b"zyqorv^", b"\xe9^", 1)
        seen.add(mrn)
        bodies.append(body)
    return bodies


def found(line: Line) -> set[tuple[str, str, str, str | None]]:
    return {
        (row["visit_number"], row["location"], row["effective_at"], row["ended_at"])
        for row in line.export()
    }


def announced(line: Line) -> dict[str, str]:
    """The state of each letter as a consumer of their topic knows it."""
    return {each["letter_id"]: each["state"] for each in line.published(LETTERS)}


def test_patients_whose_first_message_was_dead_are_whole_after_the_feed_is_set_and_it_is_retried(
    line: Line, tmp_path: Path
) -> None:
    day = simulate(SCENARIO)
    told = [(message.mrn, message.body) for message in day.messages]
    path = tmp_path / "day.hl7"
    path.write_bytes(b"\r".join(torn(told)))
    line.json("send", str(path))
    kept = line.settle()["ledger"]
    assert kept["dead"] == 8
    assert kept["parked"] > kept["dead"]
    assert kept["dead"] + kept["parked"] + kept["applied"] + kept["ignored"] == len(told)
    true = {
        (
            stay.visit_number, stay.location, stay.effective_at.isoformat(),
            stay.ended_at and stay.ended_at.isoformat(),
        )
        for stay in day.stays
    }  # fmt: skip
    partly = found(line)
    assert partly
    assert partly < true, "who wasn't dead went on, and nothing is there that wasn't so"

    dead = line.json("dead-letters", "list", "--state", "dead", "--feed", "demo")
    assert {(each["cause"], each["family"]) for each in dead} == {("charset", "adt")}
    chosen = ("--projection", "ledger", "--feed", "demo", "--reason", "the charset is set", "--yes")
    line.run("feeds", "set", "demo", "--charset", "8859/1")
    deadline = time.monotonic() + QUIET_SECONDS
    while line.json("dead-letters", "list", "--state", "dead"):
        assert time.monotonic() < deadline, "nobody executes the requests"
        line.run("dead-letters", "retry", *chosen, check=False)  # asked for before, or none left
        time.sleep(0.2)
    released = line.settle()["ledger"]
    assert (released["dead"], released["parked"]) == (0, 0)
    assert released["applied"] == kept["applied"] + kept["dead"] + kept["parked"]
    assert true <= found(line)
    letters = announced(line)
    assert len(letters) == kept["dead"] + kept["parked"]
    assert set(letters.values()) == {"retried"}, "as each was told last"
