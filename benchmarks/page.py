"""The figures as tables of ``docs/performance.md``, between the marks that stand there."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs/performance.md"
_MARKED = re.compile(r"(<!-- figures: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
# What stands in each table: the beginnings of the figures' names.
_COMPARED = {
    "lines": ("batch", "sink", "decode"),
    "intake": ("MLLP",),
    "commands": ("commands",),
}
_RATES = ("ledger", "relay", "projection", "people's keys", "events decided", "whole")

Figures = Mapping[str, Mapping[str, Any]]


def shown(page: str, results: Mapping[str, Any]) -> str:
    """The page with its tables made anew from what ``results.json`` holds."""
    figures = {each["name"]: each for each in results["figures"]}

    def table(mark: re.Match[str]) -> str:
        return f"{mark[1]}{_table(mark['name'], figures, results['machine'])}\n{mark[3]}"

    return _MARKED.sub(table, page)


def _table(name: str, figures: Figures, machine: Mapping[str, Any]) -> str:
    if name == "machine":
        return (
            f"On {machine['cores']} cores ({machine['cpu']}, {machine['memory_gib']} GiB), Python "
            f"{machine['python']}, PostgreSQL {machine['postgresql']}, Kafka {machine['kafka']}; "
            f"the load average at the end was {machine['load']}."
        )
    if name in _COMPARED:
        return _compared(figures, _COMPARED[name])
    chosen = (
        each
        for each in figures.values()
        if (
            each["name"].startswith(_RATES)
            if name == "rates"
            else re.search(r" points(, p99)?$", each["name"])
        )
    )
    return _plain(chosen)


def _compared(figures: Figures, names: tuple[str, ...]) -> str:
    rows = ["| what | ours | plain | unit | ratio (asked) |", "|---|---|---|---|---|"]
    for each in figures.values():
        if each["ratio_to"] is None or not each["name"].startswith(names):
            continue
        plain = figures[each["ratio_to"]]
        asked = f" ({each['asked']:g})" if each["asked"] else ""
        ratio = f"{each['ratio']:.2f} ({each['ratio_lowest']:.2f} to {each['ratio_highest']:.2f})"
        value, other = _short(each["value"]), _short(plain["value"])
        rows.append(f"| {each['name']} | {value} | {other} | {each['unit']} | {ratio}{asked} |")
    return "\n".join(rows)


def _plain(figures: Iterable[Mapping[str, Any]]) -> str:
    rows = ["| what | median | lowest to highest | unit |", "|---|---|---|---|"]
    rows += [
        f"| {each['name']} | {_short(each['value'])} "
        f"| {_short(each['lowest'])} to {_short(each['highest'])} | {each['unit']} |"
        for each in figures
    ]
    return "\n".join(rows)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
