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
ONCE = frozenset({"keys: unwrap", "sink: dead letter written"}) | {
    point for point in failpoints.NAMES if point.startswith("relay: ")
}
# Passed by no part of a play; each has its own sweep.
APART = frozenset({"migration: step", "ledger: deciding"}) | {
    point for point in failpoints.NAMES if point.startswith(("judge: ", "rebuild: "))
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A fail point with what happens there, at which passage, in which process."""

    point: str
    action: str
    passage: int
    part: str

    @property
    def name(self) -> str:
        """The cell of the sweep that this is: place and action."""
        return f"{self.point}={self.action}"

    @property
    def armed(self) -> str:
        """As the environment variable has it."""
        seconds = f":{STALL_SECONDS}" if self.action == "stall" else ""
        return f"{self.name}{seconds}@{self.passage}"

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
        for point in sorted(failpoints.NAMES - APART)
        for action in ACTIONS
    ]
    rng.shuffle(found)
    return sorted(found, key=lambda cell: done.get(cell.name, 0))[:count]
