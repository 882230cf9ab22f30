"""The benchmarks run, and their figures are what they say; nothing here asserts a speed."""

import json

import pytest

from benchmarks import page, peers, questions, run
from benchmarks.figures import figure, in_turns, machine, short, store
from benchmarks.place import TINY, Place, Size
from ops import deploy

pytestmark = pytest.mark.alone


@pytest.mark.stack
def test_every_benchmark_and_every_peer_runs_at_a_tiny_size(own_stack):
    deploy.migrate(own_stack.settings)
    place = Place(settings=own_stack.settings)
    for figures, skipped in peers.measure(place, TINY):
        assert bool(figures) != bool(skipped)
    found = {name: benchmark(place, TINY) for name, benchmark in run.BENCHMARKS.items()}
    names = [each.name for figures in found.values() for each in figures]
    assert all(found.values())
    assert len(set(names)) == len(names)
    assert all(each.value > 0 for figures in found.values() for each in figures)
    assert all(
        each.ratio_to in names
        for figures in found.values()
        for each in figures
        if each.ratio is not None
    )


def test_ways_take_turns_and_the_order_turns_round():
    order = []
    ways = {name: lambda name=name: float(order.append(name) or 1) for name in "ab"}
    assert in_turns(ways, rounds=3) == {"a": [1, 1, 1], "b": [1, 1, 1]}
    assert "".join(order) == "abbaab"


def test_a_ratio_is_the_median_of_the_ratios_within_each_round():
    made = figure("ours", [10.0, 40.0, 30.0], "rows/s", to=("bare", [20.0, 20.0, 30.0]))
    assert (made.value, made.lowest, made.highest, made.rounds) == (30.0, 10.0, 40.0, 3)
    assert (made.ratio, made.ratio_lowest, made.ratio_highest) == (1.0, 0.5, 2.0)


def test_rounds_that_differ_in_number_make_no_ratio():
    with pytest.raises(ValueError, match="shorter"):
        figure("ours", [1.0, 2.0], "rows/s", to=("bare", [1.0]))


def test_the_results_name_each_figure_and_the_machine(tmp_path):
    where = machine(postgresql="16", kafka="4")
    store(tmp_path / "results.json", where, [figure("bare", [2.0], "rows/s")])
    stored = json.loads((tmp_path / "results.json").read_text())
    assert {"name", "value", "unit", "ratio_to", "ratio"} <= stored["figures"][0].keys()
    assert stored["machine"]["cores"] >= 1
    assert {"memory_gib", "cpu", "python", "postgresql", "kafka"} <= stored["machine"].keys()


def test_a_size_scales_counts_down_to_the_least():
    assert Size(rounds=1, scale=0.5).of(10) == 5
    assert Size(rounds=1, scale=0.01).of(10, least=4) == 4


def test_numbers_are_shown_short():
    assert [short(each) for each in (None, 0.613, 12345.6)] == ["", "0.61", "12,346"]


def test_a_question_is_compared_with_the_fewest_points_and_its_p99_asked_of_the_most():
    least, most = (
        questions._Whole(points=points, app=None, visits=[], fold=float)
        for points in (questions.POINTS[0], questions.POINTS[-1])
    )
    asked = [*questions._QUESTIONS, questions.BUILD]
    found = {whole.name(each): [n] for n, whole in ((2.0, least), (3.0, most)) for each in asked}
    for whole in (least, most):
        whole.p99.update({each: [4.0] for each in questions._QUESTIONS})
    figures = {each.name: each for each in questions._figures(most, least, found)}
    assert figures["where, 1,000,000 points"].ratio == 1.5
    assert figures["where, 1,000,000 points, p99"].asked == questions.ASKED_MS
    assert (figures["build, 1,000,000 points"].unit, len(figures)) == ("events/s", 9)
    assert {each.ratio for each in questions._figures(least, least, found)} == {None}


def test_the_page_shows_the_figures_that_were_measured():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.shown(text, json.loads(run.RESULTS.read_bytes())) == text
    assert text.count("| sink: ") > 1
    assert page.shown("<!-- figures: rates -->\nold\n<!-- end -->", {
        "machine": {}, "figures": [{"name": "relay", "value": 1234.5, "lowest": 1, "highest": 2000,
                                    "unit": "events/s", "ratio_to": None}],
    }).splitlines()[3] == "| relay | 1,234 | 1.00 to 2,000 | events/s |"  # fmt: skip
