"""Plays with new seeds until the minutes are over, and adds what came of it to the figures.

    make chaos MINUTES=60
    make chaos MINUTES=60 PATHS=1
    make chaos MINUTES=5 SEALS=1

The others start no servers: hospitals and orders of arrival alone, in one process; and sealed
envelopes moved and changed. After each play of the whole line comes one of the judges, who have
nothing to judge in the other.

`docs/reliability.json` is replaced whole after each play, never written in place, so that it is
valid whenever this is interrupted; the next run goes on with the next seed and with the fail
points that were swept least. The logs of a play that ends red are kept.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos import oracles, paths, play, points, seals, verifying
from tests.chaos.oracles import Given
from tests.chaos.parts import Line
from tests.chaos.seen import feed_and_keys, see
from tests.conftest import home

REPOSITORY = Path(__file__).parent.parent.parent
FIGURES = REPOSITORY / "docs/reliability.json"
PAGE = REPOSITORY / "docs/reliability.md"
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
KEPT = REPOSITORY / ".wardtrail/chaos"
MESSAGES, KILLS, FREEZES, CELLS = 4_000, 30, 6, 12  # a play of about six minutes
HOSPITALS, ORDERS_SECONDS = 20, 45.0  # before each play, without servers
ROUND_SECONDS = 1.0  # of orders for each hospital, where there are no plays
PATHS, SEALS = "paths", "seals"  # the kinds of entries without servers
FUZZ = "fuzz"  # and what tests/fuzz/run.py adds
JUDGES = "judges"  # the kind of a play of the judges; plays of the whole line have none
EMPTY: Mapping[str, Any] = {"version": 1, "totals": {}, "points": {}, "plays": []}


def main(arguments: Sequence[str] | None = None) -> int:
    """Play until the budget is spent; 0 if every play ended green."""
    parser = argparse.ArgumentParser(description="Kill and freeze a running line, with new seeds.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="play this one, once")
    parser.add_argument("--without-servers", action="store_true", help="paths alone, no plays")
    parser.add_argument("--judges", action="store_true", help="plays of the judges alone")
    parser.add_argument("--seals", action="store_true", help="sealed envelopes alone, no plays")
    options = parser.parse_args(arguments)
    until = time.monotonic() + options.minutes * 60
    if options.seals:
        return 0 if closed(options.seed or following(load(FIGURES)), until) == "green" else 1
    if options.without_servers:
        seed = options.seed or following(load(FIGURES))
        return 0 if undisturbed(seed, until) == "green" else 1
    green = True
    while time.monotonic() < until:
        figures = load(FIGURES)
        seed = options.seed or following(figures)
        outcomes = []
        if not options.judges:
            entry = one(seed, until, figures["points"])
            keep(added(load(FIGURES), entry))
            outcomes.append(entry["outcome"])
        if "interrupted" not in outcomes and time.monotonic() < until:
            entry = judges(seed)
            keep(added(load(FIGURES), entry))
            outcomes.append(entry["outcome"])
        say(f"seed {seed}: {', '.join(outcomes)}")
        green = green and set(outcomes) == {"green"}
        if options.seed or "interrupted" in outcomes:
            break
    return 0 if green else 1


def one(seed: int, until: float, swept: Mapping[str, int]) -> dict[str, Any]:
    """One play on a line of its own; what is to be kept of it, whatever happened."""
    outcome, began, end = play.Outcome(), datetime.now(UTC), "interrupted"
    checked = paths.Checked()
    with home() as settings:
        try:
            for number in range(HOSPITALS):
                paths.hospital(seed * HOSPITALS + number, checked)
            paths.orders(seed, checked, until=min(until, time.monotonic() + ORDERS_SECONDS))
            say(f"seed {seed}: hospitals: {checked.hospitals}, orders: {checked.orders:,}")
            line = Line.up(settings)
            line.start_all()
            cells = points.cells(seed, swept, CELLS)
            faults = play.script(seed, kills=KILLS, freezes=FREEZES, cells=cells)
            load = play.load(seed, MESSAGES, len(faults))
            play.disturbed(line, load, faults, seed, outcome=outcome, until=until, say=say)
            feed, keys = feed_and_keys(line)
            oracles.check(see(line), Given(day=load.day, bodies=load.bodies, feed=feed, keys=keys))
            end = "green"
        except KeyboardInterrupt:
            say("interrupted")
        except Exception as error:  # whatever it is, it is what we look for
            end = f"red: {type(error).__name__}: {error}"
            _keep_logs(settings.home / "logs", str(seed))
    return {
        "seed": seed,
        "commit": commit(),
        "began": began.isoformat(timespec="seconds"),
        "outcome": end,
        "hospitals": checked.hospitals,
        "orders": checked.orders,
        **outcome.figures(),
    }


def judges(seed: int) -> dict[str, Any]:
    """One play of those who judge, on a line of its own; what is to be kept of it."""
    outcome, began, end = play.Outcome(), datetime.now(UTC), "interrupted"
    with home() as settings:
        try:
            line = Line.up(settings)
            verifying.start(line)
            acts = points.judging(seed)
            charted = verifying.disturbed(line, acts, seed, outcome=outcome, say=say)
            verifying.check(line, charted)
            end = "green"
        except KeyboardInterrupt:
            say("interrupted")
        except Exception as error:  # whatever it is, it is what we look for
            end = f"red: {type(error).__name__}: {error}"
            _keep_logs(settings.home / "logs", f"{seed}-{JUDGES}")
    return {
        "kind": JUDGES,
        "seed": seed,
        "commit": commit(),
        "began": began.isoformat(timespec="seconds"),
        "outcome": end,
        **outcome.figures(),
    }


def undisturbed(seed: int, until: float) -> str:
    """Hospitals and orders until the time is over, one entry of the figures; its outcome.

    The entry is kept after each hospital, so that an interruption loses one at most.
    """
    checked, began, start = paths.Checked(), datetime.now(UTC), time.monotonic()
    figures, end, number = load(FIGURES), "green", 0
    while end == "green" and time.monotonic() < until:
        try:
            paths.hospital(random.Random(f"paths/{seed}/{number}").getrandbits(48), checked)
            end_of_round = min(until, time.monotonic() + ROUND_SECONDS)
            paths.orders(f"{seed}/{number}", checked, until=end_of_round)
        except KeyboardInterrupt:
            end = "interrupted"
        except Exception as error:  # whatever it is, it is what we look for
            end = f"red: {type(error).__name__}: {error}"
        number += 1
        seconds = time.monotonic() - start
        entry = {
            "kind": PATHS,
            "seed": seed,
            "commit": commit(),
            "began": began.isoformat(timespec="seconds"),
            "outcome": end,
            "hospitals": checked.hospitals,
            "orders": checked.orders,
            "seconds": round(seconds, 1),
        }
        keep(added(figures, entry))
        say(
            f"seed {seed}: {end}: hospitals: {checked.hospitals}, orders: {checked.orders:,}, "
            f"per second: {checked.orders / seconds:,.0f}"
        )
    return end


def closed(seed: int, until: float) -> str:
    """Envelopes moved and changed until the time is over, one entry of the figures; its outcome."""
    tried, began, start = seals.Tried(), datetime.now(UTC), time.monotonic()
    end, number = "green", 0
    while end == "green" and (time.monotonic() < until or not number):
        try:
            seals.play(f"{seed}/{number}", tried)
        except KeyboardInterrupt:
            end = "interrupted"
        except Exception as error:  # whatever it is, it is what we look for
            end = f"red: {type(error).__name__}: {error}"
        number += 1
    entry = {
        "kind": SEALS,
        "seed": seed,
        "commit": commit(),
        "began": began.isoformat(timespec="seconds"),
        "outcome": end,
        "swaps": tried.swaps,
        "flips": tried.flips,
        "seconds": round(time.monotonic() - start, 1),
    }
    keep(added(load(FIGURES), entry))
    say(f"seed {seed}: {end}: swaps: {tried.swaps:,}, flips: {tried.flips:,}")
    return end


def following(figures: Mapping[str, Any]) -> int:
    """The seed after all that were played."""
    return 1 + max((each["seed"] for each in figures["plays"]), default=0)


def keep(figures: Mapping[str, Any]) -> None:
    """Store the figures, and show them on their page."""
    store(FIGURES, figures)
    PAGE.write_text(shown(PAGE.read_text(encoding="utf-8"), figures), encoding="utf-8")


def added(figures: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    """The figures with one more play; totals are sums over all plays.

    Those without servers count by their hospitals and orders alone, and where they end red.
    """
    entries = [*figures["plays"], dict(entry)]
    plays = [each for each in entries if each.get("kind") not in (PATHS, SEALS, FUZZ)]
    sealed = [each for each in entries if each.get("kind") == SEALS]
    fuzzed = [each for each in entries if each.get("kind") == FUZZ]
    alone = [each for each in entries if each.get("kind") == PATHS]
    kills, freezes, swept, ended = (Counter[str]() for _ in range(4))
    for each in plays:
        ended.update(each["ended"])
        kills.update(each["kills"])
        freezes.update(each["freezes"])
        swept.update(each["points"])
    return {
        "version": 1,
        "totals": {
            "plays": len(plays),
            "green": sum(each["outcome"] == "green" for each in plays),
            "red": sum(each["outcome"].startswith("red") for each in plays),
            "messages": sum(each["messages"] for each in plays),
            "sent_again": sum(each["resends"] for each in plays),
            "hospitals": sum(each.get("hospitals", 0) for each in entries),
            "orders": sum(each.get("orders", 0) for each in entries),
            **({"paths_alone": _counted(alone)} if alone else {}),
            **({"seals": _tried(sealed)} if sealed else {}),
            **({"fuzz": _fed(fuzzed)} if fuzzed else {}),
            "seconds": round(sum(each["seconds"] for each in plays)),
            "kills": dict(sorted(kills.items())),
            "freezes": dict(sorted(freezes.items())),
            "ended_by_themselves": dict(sorted(ended.items())),
            "recovery_seconds": _recovery(plays),
        },
        "points": dict(sorted(swept.items())),
        "plays": entries,
    }


def load(file: Path) -> dict[str, Any]:
    """The figures so far."""
    if not file.exists():
        return dict(EMPTY)
    loaded: dict[str, Any] = json.loads(file.read_bytes())
    return loaded


def store(file: Path, figures: Mapping[str, Any]) -> None:
    """Replace the file whole."""
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    fresh.replace(file)


def shown(page: str, figures: Mapping[str, Any]) -> str:
    """The page with its table of figures made anew."""
    head, _, rest = page.partition(BEGIN)
    totals = figures["totals"]
    rows = [
        ("plays: green / red", f"{totals['green']} / {totals['red']}"),
        ("messages answered", f"{totals['messages']:,} ({totals['sent_again']:,} sent again)"),
        ("hospitals whose every path was found true, both tracks", f"{totals['hospitals']:,}"),
        ("orders of arrival that gave the same path", f"{totals['orders']:,}"),
        *_alone(totals),
        *_closed(totals),
        *_fuzzed(totals),
        *((f"SIGKILL: {part}", f"{count:,}") for part, count in totals["kills"].items()),
        *((f"SIGSTOP: {kind}", f"{count:,}") for kind, count in totals["freezes"].items()),
        ("fail points passed, by action", f"{len(figures['points'])}"),
        *(
            (f"at rest after: {fault}", f"{found['median']} s, at most {found['most']} s")
            for fault, found in totals["recovery_seconds"].items()
        ),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    tail = rest.partition(END)[2]
    return f"{head}{BEGIN}\n| what | so far |\n|---|---|\n{table}\n{END}{tail}"


def _keep_logs(logs: Path, name: str) -> None:
    shutil.copytree(logs, KEPT / name, dirs_exist_ok=True)
    say(f"logs kept: {KEPT / name}")


def _alone(totals: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The row of runs without servers, if there were any."""
    counted = totals.get("paths_alone")
    if counted is None:
        return []
    return [
        ("runs of these without servers: green / red", f"{counted['green']} / {counted['red']}")
    ]


def _closed(totals: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The row of envelopes that were moved and changed, if any were."""
    counted = totals.get("seals")
    if counted is None:
        return []
    said = f"{counted['swaps']:,} / {counted['flips']:,} (runs red: {counted['red']})"
    return [("sealed envelopes moved / changed in a byte, none opened", said)]


def _fuzzed(totals: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A row of each target that was fed with changed bytes."""
    return [
        (f"inputs fed to: {target}", f"{told['runs']:,} (runs red: {told['red']})")
        for target, told in totals.get("fuzz", {}).items()
    ]


def _fed(fuzzed: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """By target: how many inputs, and how many runs found something."""
    found: dict[str, dict[str, int]] = {}
    for each in sorted(fuzzed, key=lambda one: one["target"]):
        counted = found.setdefault(each["target"], {"runs": 0, "red": 0})
        counted["runs"] += each["runs"]
        counted["red"] += each["outcome"].startswith("red")
    return found


def _tried(sealed: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    tried = {each: sum(one[each] for one in sealed) for each in ("swaps", "flips")}
    return {**_counted(sealed), **tried}


def _counted(alone: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {
        "runs": len(alone),
        "green": sum(each["outcome"] == "green" for each in alone),
        "red": sum(each["outcome"].startswith("red") for each in alone),
    }


def commit() -> str:
    """The commit that is checked out, marked where files differ from it."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=10,
    )  # fmt: skip
    return said.stdout.strip() or "unknown"


def say(line: str) -> None:
    """Tell what happens, on standard error."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201  it is a command's progress


def _recovery(plays: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Seconds from a fault until nothing waits anywhere, by fault."""
    found: dict[str, list[float]] = {}
    for each in plays:
        for fault, seconds in each["recoveries"].items():
            found.setdefault(fault, []).extend(seconds)
    return {
        fault: {"median": sorted(seconds)[len(seconds) // 2], "most": max(seconds)}
        for fault, seconds in sorted(found.items())
    }


if __name__ == "__main__":
    sys.exit(main())
