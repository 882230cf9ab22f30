"""The fail points to sweep: each place with each action, in the part that passes it."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from schemas import failpoints

ACTIONS = ("kill", "raise", "stall")
STALL_SECONDS = 12  # past the session time-out and past a relay's lease
PARTS = {
    "intake": "serve",
    "processor": "ledger-1",
    "ledger": "ledger-1",
    "relay": "ledger-1",
    "keys": "ledger-1",
    "sink": "projections-1",
}
# The one that a projection doesn't pass in a play: only the ledger's messages are unmappable.
LEDGERS = frozenset({"sink: dead letter written"})
# Passed too rarely to wait for the third time: the relay takes all that waits at once.
ONCE = frozenset({"keys: unwrap", "keys: made", "keys: counted", "sink: dead letter written"}) | {
    point for point in failpoints.NAMES if point.startswith("relay: ")
}
# Passed by no part of a play; each has its own sweep.
APART = frozenset({"migration: step", "ledger: deciding", "sink: released", "keys: rewrapped"}) | {
    point for point in failpoints.NAMES if point.startswith(("rebuild: ", "erase: "))
}
JUDGING = frozenset(point for point in failpoints.NAMES if point.startswith("judge: "))
"""Passed where there is something to judge: swept by plays of the judges."""
# What befalls whoever judges in an act, one passage after the other, with the kill as the last.
ACTS = (
    (("locked", "raise", 1), ("written", "stall", 1), ("committed", "kill", 1)),
    (("locked", "stall", 1), ("committed", "raise", 1), ("written", "kill", 2)),
    (("written", "raise", 1), ("committed", "stall", 1), ("locked", "kill", 3)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A fail point with what happens there, at which passage, in which process."""

    point: str
    action: str
    passage: int
    part: str
    stall_seconds: int = STALL_SECONDS

    @property
    def name(self) -> str:
        """The cell of the sweep that this is: place and action."""
        return f"{self.point}={self.action}"

    @property
    def armed(self) -> str:
        """As the environment variable has it."""
        seconds = f":{self.seconds}" if self.seconds else ""
        return f"{self.name}{seconds}@{self.passage}"

    @property
    def seconds(self) -> int:
        """How long it stalls."""
        return self.stall_seconds if self.action == "stall" else 0

    def __str__(self) -> str:
        """As it stands in a report."""
        return self.armed


def cells(seed: int, done: Mapping[str, int], count: int) -> list[Cell]:
    """So many cells, those done least first, otherwise in seeded order."""
    rng = random.Random(f"points/{seed}")
    found = [
        Cell(
            point=point,
            action=action,
            passage=1 if point in ONCE else rng.randrange(1, 4),
            part="ledger-1" if point in LEDGERS else PARTS[point.partition(":")[0]],
        )
        for point in sorted(failpoints.NAMES - APART - JUDGING)
        for action in ACTIONS
    ]
    rng.shuffle(found)
    return sorted(found, key=lambda cell: done.get(cell.name, 0))[:count]


def judging(seed: int, *, stall_seconds: int = STALL_SECONDS) -> list[tuple[Cell, ...]]:
    """What befalls those who judge, act by act in seeded order: every place, every action."""
    acts = [
        tuple(
            Cell(
                point=f"judge: {place}", action=action, passage=passage,
                part="verification", stall_seconds=stall_seconds,
            )
            for place, action, passage in act
        )
        for act in ACTS
    ]  # fmt: skip
    random.Random(f"judging/{seed}").shuffle(acts)
    return acts
