"""A slice of what the fuzzer does, from fixed seeds; and that it finds what it is to find."""

import json

import pytest

from tests.chaos import run as figures
from tests.fuzz import inputs, run, targets

RUNS = 2_000


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """Corpora, figures and page of this test's own."""
    monkeypatch.setenv("WARDTRAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(figures, "FIGURES", tmp_path / "reliability.json")
    monkeypatch.setattr(figures, "PAGE", tmp_path / "reliability.md")
    figures.PAGE.write_text(f"# Figures\n{figures.BEGIN}\n{figures.END}\n", encoding="utf-8")


@pytest.mark.parametrize("target", targets.TARGETS)
def test_only_declared_errors_come_of_changed_bytes(target):
    assert sum(1 for _ in run.seeded(target, RUNS, seed=7)) == RUNS


@pytest.mark.parametrize("target", targets.TARGETS)
def test_every_seed_itself_is_taken(target):
    for data in inputs.seeds():
        targets.TARGETS[target](data)


def test_the_same_seed_gives_the_same_inputs():
    begun = list(inputs.seeds())
    first, second = (
        [inputs.changed(run.random.Random("x"), begun) for _ in range(20)] for _ in range(2)
    )
    assert first == second
    assert all(len(data) <= inputs.BYTES_MAX for data in first)


def test_runs_of_one_target_add_up_in_the_figures(tmp_path):
    settings = ["--runs", "20", "--engine", "seeded", "--target"]
    assert run.main([*settings, "framing"]) == 0
    assert run.main([*settings, "framing"]) == 0
    assert run.main([*settings, "hl7"]) == 0
    stored = figures.load(figures.FIGURES)
    assert stored["totals"]["fuzz"] == {
        "framing": {"runs": 40, "red": 0}, "hl7": {"runs": 20, "red": 0},
    }  # fmt: skip
    assert [each["seed"] for each in stored["plays"]] == [1, 2, 3]
    assert stored["totals"]["plays"] == 0
    assert "| inputs fed to: framing | 40 (runs red: 0) |" in figures.PAGE.read_text("utf-8")


class Undeclared(Exception):  # noqa: N818  named for what is wrong
    """An error that no target declares."""


def test_an_undeclared_error_ends_the_run_and_keeps_its_input(tmp_path, monkeypatch):
    fed = []

    def faulty(data):
        fed.append(data)
        if len(fed) == 5:
            raise Undeclared(data)

    monkeypatch.setattr(targets, "TARGETS", {**targets.TARGETS, "hl7": faulty})
    assert run.main(["--target", "hl7", "--runs", "100", "--engine", "seeded"]) == 1
    [entry] = figures.load(figures.FIGURES)["plays"]
    assert (entry["runs"], len(fed)) == (4, 5)
    assert entry["outcome"].startswith("red: Undeclared of crash-")
    [crash] = (tmp_path / "home/fuzz/hl7").glob("crash-*")
    assert crash.read_bytes() == fed[-1]
    assert "MSH" not in json.dumps(entry)


@pytest.mark.parametrize(
    ("target", "data", "module", "name", "broken"),
    [
        ("framing", b"\x0bMSH|1\x1c\r", "mllp", "encode", lambda _: b"\x0bother\x1c\r"),
        ("hl7", b"MSH|^~\\&|A||||2026||ADT^A01|1\rPID|||1", "hl7v2", "map_message",
         lambda *_, **__: 1 / 0),
        ("answer", b"MSH|^~\\&|A||||2026||ADT^A01|1|P\r", "answers", "echoed", lambda _: b"other"),
    ],
)  # fmt: skip
def test_each_target_finds_a_seeded_bug(monkeypatch, target, data, module, name, broken):
    targets.TARGETS[target](data)
    monkeypatch.setattr(getattr(targets, module), name, broken)
    with pytest.raises((AssertionError, ZeroDivisionError)):
        targets.TARGETS[target](data)


def test_corpora_are_never_kept_in_the_checkout(monkeypatch, tmp_path):
    assert run.home("hl7") == tmp_path / "home/fuzz/hl7"
    monkeypatch.delenv("WARDTRAIL_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert run.home("hl7") == tmp_path / "cache/wardtrail/fuzz/hl7"


def test_a_steered_run_counts_what_was_run(tmp_path):
    pytest.importorskip("atheris", reason="atheris isn't installed here")
    assert run.main(["--target", "framing", "--runs", "200", "--engine", "atheris"]) == 0
    [entry] = figures.load(figures.FIGURES)["plays"]
    assert entry["runs"] == 200
    assert list((tmp_path / "home/fuzz/framing/corpus").iterdir())
