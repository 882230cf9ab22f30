"""The figures of all plays: sums, valid at every moment, shown on their page."""

import json
import re

from tests.chaos import run

ENTRY = {
    "seed": 1, "commit": "c", "began": "2026-04-01T00:00:00+00:00", "outcome": "green",
    "messages": 10, "resends": 2, "answers": {"AA": 10}, "kills": {"kafka": 1, "serve": 2},
    "freezes": {"ledger, idle": 1}, "points": {"ledger: moved=kill": 1},
    "recoveries": {"kafka": [3.0, 1.0, 2.0]}, "seconds": 5.0, "ended": {},
}  # fmt: skip


def test_figures_are_sums_over_all_plays():
    red = {**ENTRY, "seed": 2, "outcome": "red: OracleRed: 2 (counts)", "kills": {"kafka": 4}}
    figures = run.added(run.added(run.EMPTY, ENTRY), red)
    totals = figures["totals"]
    assert (totals["plays"], totals["green"], totals["red"]) == (2, 1, 1)
    assert totals["kills"] == {"kafka": 5, "serve": 2}
    assert totals["recovery_seconds"]["kafka"] == {"median": 2.0, "most": 3.0}
    assert figures["points"] == {"ledger: moved=kill": 2}
    assert [each["seed"] for each in figures["plays"]] == [1, 2]


def test_figures_are_replaced_whole(tmp_path):
    file = tmp_path / "reliability.json"
    assert run.load(file) == run.EMPTY
    run.store(file, run.added(run.EMPTY, ENTRY))
    before = file.stat().st_ino
    run.store(file, run.added(run.load(file), {**ENTRY, "seed": 2}))
    assert file.stat().st_ino != before
    assert len(run.load(file)["plays"]) == 2
    assert list(tmp_path.iterdir()) == [file]


def test_the_page_shows_the_stored_figures():
    stored, page = run.load(run.FIGURES), run.PAGE.read_text(encoding="utf-8")
    assert stored["totals"] == run.added({**stored, "plays": stored["plays"][:-1]},
                                         stored["plays"][-1])["totals"]  # fmt: skip
    assert run.shown(page, stored) == page


def test_no_figure_names_a_patient():
    assert not re.search("zyqorv", json.dumps(run.load(run.FIGURES)), re.IGNORECASE)
