"""Feeds a target with so many inputs, and adds what came of it to the figures.

    python -m tests.fuzz.run --target hl7 --runs 1000000

With atheris (`pip install atheris==3.0.0`, CPython 3.11 to 3.13 on Linux, x86-64) it is steered by
what the code reaches, and what it learned is kept: below WARDTRAIL_HOME, else the user's cache,
never in the checkout. Without it, inputs are seeds changed by chance. Either goes on with the next
seed. An input that something undeclared came of is kept beside the corpus, and its name is said.
"""

import argparse
import hashlib
import importlib.util
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos import run as figures
from tests.fuzz import inputs, targets

SECONDS_MAX = 12 * 3600  # of one run of the fuzzer
_DONE = re.compile(r"Done (\d+) runs")


class Found(Exception):  # noqa: N818  named for what is wrong
    """An input that something undeclared came of."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0 if nothing but declared errors came out."""
    parser = argparse.ArgumentParser(description="Feed a target with changed inputs.")
    parser.add_argument("--target", required=True, choices=sorted(targets.TARGETS))
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, help="this one, instead of the next")
    parser.add_argument("--engine", choices=("atheris", "seeded"), default=_engine())
    parser.add_argument("--without-figures", action="store_true", help="keep no figures")
    options = parser.parse_args(arguments)
    seed = options.seed or figures.following(figures.load(figures.FIGURES))
    begin, began, commit = time.monotonic(), datetime.now(UTC), figures.commit()
    outcome, runs = "green", 0
    try:
        if options.engine == "atheris":
            runs = steered(options.target, options.runs, seed)
        else:
            for runs in seeded(options.target, options.runs, seed):  # noqa: B007  counts
                pass
    except KeyboardInterrupt:
        outcome = "interrupted"
    except Found as found:
        outcome = f"red: {found}"
    entry = {
        "kind": figures.FUZZ,
        "seed": seed,
        "commit": commit,
        "began": began.isoformat(timespec="seconds"),
        "outcome": outcome,
        "target": options.target,
        "engine": options.engine,
        "runs": runs,
        "seconds": round(time.monotonic() - begin, 1),
    }
    if not options.without_figures:
        figures.keep(figures.added(figures.load(figures.FIGURES), entry))
    figures.say(f"{options.target}: {outcome}: runs: {runs:,} ({options.engine}, seed {seed})")
    return 0 if outcome == "green" else 1


def seeded(target: str, runs: int, seed: int) -> Iterator[int]:
    """So many inputs by chance; yields how many were run. Raises :class:`Found`."""
    chance, begun = random.Random(f"fuzz/{target}/{seed}"), list(inputs.seeds())
    run = targets.TARGETS[target]
    for number in range(1, runs + 1):
        data = inputs.changed(chance, begun)
        try:
            run(data)
        except Exception as error:  # whatever it is, it is what we look for
            raise Found(_kept(target, data, error)) from error
        yield number


def steered(target: str, runs: int, seed: int) -> int:
    """So many inputs by atheris, in a process of its own; how many it made."""
    folder = home(target) / "corpus"
    folder.mkdir(parents=True, exist_ok=True)
    longest = inputs.STEERED_BYTES_MAX.get(target, inputs.BYTES_MAX)
    for data in inputs.seeds():
        name = hashlib.sha256(data).hexdigest()[:32]
        if not (folder / name).exists():
            (folder / name).write_bytes(data)
    said = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.steered", target, f"-runs={runs}", f"-seed={seed}",
         f"-max_len={longest}", f"-artifact_prefix={home(target)}/", str(folder)],
        cwd=figures.REPOSITORY, capture_output=True, text=True, check=False, timeout=SECONDS_MAX,
    )  # fmt: skip
    done = _DONE.search(said.stderr)
    if said.returncode or done is None:
        log = home(target) / f"{seed}.log"
        log.write_text(said.stdout + said.stderr, encoding="utf-8")
        raise Found(f"{target}: see {log.name} beside the corpus")
    return int(done.group(1))


def _kept(target: str, data: bytes, error: Exception) -> str:
    """Keep an input; its name, and what came of it without a word of the input."""
    name = hashlib.sha256(data).hexdigest()[:16]
    home(target).mkdir(parents=True, exist_ok=True)
    (home(target) / f"crash-{name}").write_bytes(data)
    return f"{type(error).__name__} of crash-{name}"


def _engine() -> str:
    return "atheris" if importlib.util.find_spec("atheris") else "seeded"


def home(target: str) -> Path:
    """Where a target's corpus is kept: never in the checkout."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = os.environ.get("WARDTRAIL_HOME") or Path(cache) / "wardtrail"
    return Path(base) / "fuzz" / target


if __name__ == "__main__":
    sys.exit(main())
