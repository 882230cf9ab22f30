"""The simulator's messages and truth as files."""

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ops.cli import main
from ops.simulator import Scenario, days_for, disordered, simulate
from producers.files import split

PATIENTS = 30


def run(folder: Path, *arguments: str) -> Result:
    files = ("--messages", str(folder / "day.hl7"), "--truth", str(folder / "true.ndjson"))
    return CliRunner().invoke(main, ["simulate", "--patients", str(PATIENTS), *files, *arguments])


def bodies(folder: Path) -> list[bytes]:
    read = split((folder / "day.hl7").read_bytes())
    assert not read.strays
    return [piece.body for piece in read.messages]


def test_the_files_hold_what_is_simulated(tmp_path):
    result = run(tmp_path, "--seed", "4")
    day = simulate(Scenario.busy(seed=4, patients=PATIENTS, days=days_for(PATIENTS)))

    assert result.exit_code == 0, result.output
    assert bodies(tmp_path) == [message.body for message in day.messages]
    rows = [json.loads(line) for line in (tmp_path / "true.ndjson").read_text().splitlines()]
    assert [(row["visit_number"], row["track"], row["location"], row["mrn"]) for row in rows] == [
        (stay.visit_number, stay.track, stay.location, stay.mrn)
        for stay in (*day.stays, *day.physical)
    ]
    stay = day.stays[0]
    assert rows[0]["effective_at"] == stay.effective_at.isoformat()
    assert rows[0]["ended_at"] == (stay.ended_at and stay.ended_at.isoformat())
    assert f"{len(day.messages)} messages" in result.stdout


def test_segments_end_with_cr_and_a_blank_line_is_between_messages(tmp_path):
    assert run(tmp_path).exit_code == 0
    data = (tmp_path / "day.hl7").read_bytes()

    assert b"\n" not in data
    assert data.count(b"\r\r") == data.count(b"MSH|")


def test_the_same_options_give_the_same_files(tmp_path):
    written = []
    for _ in range(2):
        assert run(tmp_path, "--shuffle", "20", "--duplicates", "0.2").exit_code == 0
        written.append([(tmp_path / name).read_bytes() for name in ("day.hl7", "true.ndjson")])

    assert written[0] == written[1]


def test_delivery_in_disorder_changes_no_truth(tmp_path):
    assert run(tmp_path, "--days", "1").exit_code == 0
    in_order, true = bodies(tmp_path), (tmp_path / "true.ndjson").read_bytes()
    day = simulate(Scenario.busy(patients=PATIENTS))

    assert run(tmp_path, "--shuffle", "20", "--duplicates", "0.2", "--days", "1").exit_code == 0
    assert bodies(tmp_path) == [
        message.body for message in disordered(day.messages, 1, duplicates=0.2, window=20)
    ]
    assert (tmp_path / "true.ndjson").read_bytes() == true

    assert run(tmp_path, "--duplicates", "0.2").exit_code == 0
    doubled = bodies(tmp_path)
    assert list(dict.fromkeys(doubled)) == in_order
    assert max(Counter(doubled).values()) == 2


def test_times_are_written_in_the_zone_asked_for(tmp_path):
    result = run(tmp_path, "--zone", "Asia/Tokyo", "--json")
    told = json.loads(result.stdout)

    assert told["zone"] == "Asia/Tokyo"
    assert told["messages"] == len(bodies(tmp_path))
    rows = (tmp_path / "true.ndjson").read_text().splitlines()
    assert told["stays"]["census"] + told["stays"]["physical"] == len(rows)
    assert bodies(tmp_path)[0].split(b"|")[6].startswith(b"20260302")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--zone", "Mars/Olympus"), "no such time zone"),
        (("--duplicates", "1.5"), "--duplicates"),
        (("--shuffle", "0"), "--shuffle"),
        (("--patients", "0"), "--patients"),
        (("--days", "9999"), "--days"),
    ],
)
def test_options_that_make_no_sense_are_misuse(tmp_path, arguments, said):
    result = run(tmp_path, *arguments)

    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "day.hl7").exists()


def test_one_file_for_both_is_misuse(tmp_path):
    result = run(tmp_path, "--truth", str(tmp_path / "day.hl7"))

    assert result.exit_code == 2
    assert "same file" in result.stderr


def test_a_folder_that_is_not_there_is_told_in_a_line(tmp_path):
    result = run(tmp_path / "nowhere")

    assert result.exit_code == 1
    assert "no such file or directory" in result.stderr
