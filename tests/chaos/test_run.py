"""The figures of all plays: sums, valid at every moment, shown on their page."""

import json
import re
from functools import partial

import pytest

from tests.chaos import paths, points, run

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


ALONE = {
    "kind": "paths", "seed": 3, "commit": "c", "began": "2026-04-01T00:00:00+00:00",
    "outcome": "green", "hospitals": 2, "orders": 1000, "seconds": 60.0,
}  # fmt: skip


def test_runs_without_servers_add_hospitals_and_orders_and_count_as_no_play():
    entry = {**ENTRY, "hospitals": 20, "orders": 500}
    red = {**ALONE, "seed": 4, "outcome": "red: Untrue: census"}
    figures = run.added(run.added(run.added(run.EMPTY, entry), ALONE), red)
    totals = figures["totals"]
    assert (totals["plays"], totals["green"], totals["red"], totals["seconds"]) == (1, 1, 0, 5)
    assert (totals["hospitals"], totals["orders"]) == (24, 2500)
    assert totals["paths_alone"] == {"runs": 2, "green": 1, "red": 1}
    assert [each["seed"] for each in figures["plays"]] == [1, 3, 4]
    page = run.shown(f"{run.BEGIN}{run.END}", figures)
    assert "| plays: green / red | 1 / 0 |" in page
    assert "| runs of these without servers: green / red | 1 / 1 |" in page


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Figures and page of this test's own, and small hospitals."""
    monkeypatch.setattr(run, "FIGURES", tmp_path / "reliability.json")
    monkeypatch.setattr(run, "PAGE", tmp_path / "reliability.md")
    run.PAGE.write_text(f"# Figures\n{run.BEGIN}\n{run.END}\n", encoding="utf-8")
    monkeypatch.setattr(run, "ROUND_SECONDS", 0.05)
    small = partial(paths.hospital, patients=20)
    monkeypatch.setattr(run.paths, "hospital", small)


def test_a_run_without_servers_keeps_its_figures_after_each_hospital(kept):
    run.store(run.FIGURES, run.added(run.EMPTY, ENTRY))
    assert run.main(["--without-servers", "--minutes", "0.02"]) == 0
    first = run.load(run.FIGURES)
    [entry] = first["plays"][1:]
    assert (entry["kind"], entry["seed"], entry["outcome"]) == ("paths", 2, "green")
    assert entry["hospitals"] >= 1
    assert first["totals"]["orders"] == entry["orders"] > 0
    assert f"| {entry['orders']:,} |" in run.PAGE.read_text(encoding="utf-8")
    assert run.main(["--without-servers", "--minutes", "0.001"]) == 0
    assert run.load(run.FIGURES)["totals"]["hospitals"] == first["totals"]["hospitals"] + 1


def test_a_run_without_servers_ends_at_the_first_untrue_path(kept, monkeypatch):
    def untrue(seed, checked):
        raise paths.Untrue("census: not the path that was walked")

    monkeypatch.setattr(run.paths, "hospital", untrue)
    assert run.main(["--without-servers", "--minutes", "1"]) == 1
    [entry] = run.load(run.FIGURES)["plays"]
    assert entry["outcome"] == "red: Untrue: census: not the path that was walked"


def test_an_interrupted_run_keeps_what_was_found_true(kept, monkeypatch):
    def interrupted(seed, checked, *, until):
        checked.orders += 7
        raise KeyboardInterrupt

    monkeypatch.setattr(run.paths, "orders", interrupted)
    assert run.main(["--without-servers", "--minutes", "1"]) == 1
    [entry] = run.load(run.FIGURES)["plays"]
    assert (entry["outcome"], entry["hospitals"], entry["orders"]) == ("interrupted", 1, 7)


def test_a_play_of_the_judges_counts_as_a_play_and_sweeps_their_fail_points(kept, monkeypatch):
    played = []

    def one(seed, until, swept):
        played.append("line")
        return {**ENTRY, "seed": seed}

    def judges(seed):
        played.append("judges")
        swept = {cell.name: 1 for act in points.judging(seed) for cell in act}
        return {**ENTRY, "kind": run.JUDGES, "seed": seed, "points": swept}

    monkeypatch.setattr(run, "one", one)
    monkeypatch.setattr(run, "judges", judges)
    assert run.main(["--seed", "7"]) == 0
    assert played == ["line", "judges"]
    assert run.main(["--seed", "8", "--judges"]) == 0
    assert played == ["line", "judges", "judges"]
    figures = run.load(run.FIGURES)
    assert (figures["totals"]["plays"], figures["totals"]["green"]) == (3, 3)
    assert {point.partition("=")[0] for point in figures["points"]} > points.JUDGING


def test_a_play_of_the_judges_that_ends_red_makes_the_run_red(kept, monkeypatch):
    red = {**ENTRY, "kind": run.JUDGES, "seed": 7, "outcome": "red: OracleRed: judge: task"}
    monkeypatch.setattr(run, "judges", lambda _: red)
    assert run.main(["--seed", "7", "--judges"]) == 1
    assert run.load(run.FIGURES)["totals"]["red"] == 1


def test_moved_and_changed_envelopes_are_counted_beside_plays(kept, monkeypatch):
    monkeypatch.setattr(run.seals, "ROUND", 100)
    run.store(run.FIGURES, run.added(run.EMPTY, ENTRY))
    assert run.main(["--seals", "--minutes", "0"]) == 0
    figures = run.load(run.FIGURES)
    [entry] = figures["plays"][1:]
    assert (entry["kind"], entry["outcome"]) == ("seals", "green")
    assert entry["swaps"] == entry["flips"] > 0
    assert figures["totals"]["seals"]["flips"] == entry["flips"]
    assert (figures["totals"]["plays"], figures["totals"]["seconds"]) == (1, 5)
    assert "| sealed envelopes moved / changed" in run.PAGE.read_text(encoding="utf-8")


def test_an_envelope_that_opened_ends_its_run_red(kept, monkeypatch):
    def opened(*_):
        raise run.seals.Unsealed("an envelope opened")

    monkeypatch.setattr(run.seals, "play", opened)
    assert run.main(["--seals", "--minutes", "1"]) == 1
    [entry] = run.load(run.FIGURES)["plays"]
    assert entry["outcome"] == "red: Unsealed: an envelope opened"
