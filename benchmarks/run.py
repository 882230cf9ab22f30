"""Measures the line: a table on the terminal, and every figure in ``benchmarks/results.json``.

run.py [--quick] [--only NAME]...
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.table import Table

from benchmarks import (
    commands,
    intake,
    page,
    questions,
    sealed,
    sink,
    stages,
    tenants,
    transport,
    whole,
)
from benchmarks.figures import Figure, Machine, machine, short, store
from benchmarks.place import FULL, QUICK, Place, Size, opened
from streams.app import collect_seldom

RESULTS = Path(__file__).parent / "results.json"
Benchmark = Callable[[Place, Size], list[Figure]]

# The whole line last: they leave workers running, which end with the place.
BENCHMARKS: Mapping[str, Benchmark] = {
    "transport": transport.run,
    "sink": sink.run,
    "stages": stages.run,
    "commands": commands.run,
    "questions": questions.run,
    "sealed": sealed.run,
    "intake": intake.run,
    "whole": whole.run,
    "tenants": tenants.run,
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds over less")
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), help="of these")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    chosen = parser.parse_args(arguments)
    console = Console(stderr=True)
    began = monotonic()
    collect_seldom()  # as workers do; both ways are measured with it
    figures: list[Figure] = []
    with opened() as place:
        for name in chosen.only or BENCHMARKS:
            console.print(f"measuring: {name}")
            figures += BENCHMARKS[name](place, QUICK if chosen.quick else FULL)
        postgresql, kafka = place.versions()
    where = machine(postgresql=postgresql, kafka=kafka)
    store(chosen.results, where, figures)
    if chosen.results == RESULTS and not chosen.quick and not chosen.only:
        results = json.loads(RESULTS.read_bytes())
        text = page.PAGE.read_text(encoding="utf-8")
        page.PAGE.write_text(page.shown(text, results), encoding="utf-8")
    show(figures, where)
    console.print(f"{monotonic() - began:.0f} s; figures: {chosen.results}")
    return 0


def show(figures: Sequence[Figure], where: Machine) -> None:
    """The table: medians of the rounds, with the lowest and the highest."""
    table = Table(box=None, pad_edge=False)
    for column in ("what", "median", "lowest", "highest", "unit", "rounds", "ratio", "asked"):
        right = column in ("median", "lowest", "highest", "rounds", "ratio", "asked")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for each in figures:
        table.add_row(
            each.name, short(each.value), short(each.lowest), short(each.highest), each.unit,
            str(each.rounds), short(each.ratio), short(each.asked),
        )  # fmt: skip
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    console.print(
        f"{where.cores} cores, {where.memory_gib} GiB, {where.cpu}; Python {where.python}, "
        f"PostgreSQL {where.postgresql}, Kafka {where.kafka}; load {where.load}"
    )


if __name__ == "__main__":
    sys.exit(main())
