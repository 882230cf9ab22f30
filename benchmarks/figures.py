"""Figures: how two ways of doing a thing are compared on a machine that others use too.

The ways run in turns, A B B A A B …, and a ratio is taken within each round: what slows the
machine down slows down both. A figure is the median of the rounds, with its lowest and highest.
"""

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

Way = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number; ``ratio`` is to the figure named ``ratio_to``, in the same rounds."""

    name: str
    value: float
    unit: str
    lowest: float
    highest: float
    rounds: int
    ratio_to: str | None = None
    ratio: float | None = None
    ratio_lowest: float | None = None
    ratio_highest: float | None = None
    asked: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where it was measured; ``load`` is the machine's load average over a minute, at the end."""

    cores: int
    memory_gib: float
    cpu: str
    python: str
    postgresql: str
    kafka: str
    load: float


def in_turns(ways: Mapping[str, Way], *, rounds: int) -> dict[str, list[float]]:
    """Run each way once a round, the order turning round every time; what each gave."""
    assert rounds > 0, "a figure needs a round"
    names = list(ways)
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            found[name].append(ways[name]())
    return found


def figure(
    name: str,
    values: Sequence[float],
    unit: str,
    *,
    to: tuple[str, Sequence[float]] | None = None,
    asked: float | None = None,
) -> Figure:
    """The median of the rounds; ``to`` is the other figure's name and its values, by round."""
    ratios = [] if to is None else [ours / its for ours, its in zip(values, to[1], strict=True)]
    return Figure(
        name=name, value=median(values), unit=unit,
        lowest=min(values), highest=max(values), rounds=len(values),
        ratio_to=to and to[0], ratio=median(ratios) if ratios else None,
        ratio_lowest=min(ratios, default=None), ratio_highest=max(ratios, default=None),
        asked=asked,
    )  # fmt: skip


def machine(*, postgresql: str, kafka: str) -> Machine:
    """The machine that this runs on."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cores=len(os.sched_getaffinity(0)), memory_gib=round(pages / 2**30, 1), cpu=_cpu(),
        python=platform.python_version(), postgresql=postgresql, kafka=kafka,
        load=round(os.getloadavg()[0], 2),
    )  # fmt: skip


def store(file: Path, where: Machine, figures: Iterable[Figure]) -> None:
    """Write the figures with the machine they were measured on, as JSON."""
    rounded = [
        {
            name: float(f"{value:.4g}") if isinstance(value, float) else value
            for name, value in asdict(each).items()
        }
        for each in figures
    ]
    file.write_text(
        json.dumps({"machine": asdict(where), "figures": rounded}, indent=1) + "\n", "utf-8"
    )


def short(value: float | None) -> str:
    """A number as a table shows it; nothing for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
