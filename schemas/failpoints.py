"""Named places where a test may kill, raise or stall; inert unless armed.

The variable ``WARDTRAIL_FAILPOINTS`` holds ``name=action`` pairs separated by ``;``. An action
is ``kill`` (SIGKILL to this process), ``raise`` (:class:`FailPoint`) or ``stall:SECONDS``; ``@N``
after it means the N-th passage only, counted per process. Example::

    WARDTRAIL_FAILPOINTS="ledger: written=kill@3;relay: published=stall:15"
"""

import logging
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

NAMES = frozenset(
    {
        "intake: frame read",
        "intake: checked",
        "intake: produced",
        "intake: delivered",
        "processor: fetched",
        "sink: locked",
        "sink: loaded",
        "sink: folded",
        "sink: writing",
        "sink: written",
        "sink: moved",
        "sink: committed",
        "sink: dead letter written",
        "sink: released",
        "ledger: locked",
        "ledger: loaded",
        "ledger: deciding",
        "ledger: decided",
        "ledger: written",
        "ledger: moved",
        "ledger: committed",
        "processor: mirrored",
        "judge: locked",
        "judge: written",
        "judge: committed",
        "rebuild: begun",
        "rebuild: written",
        "rebuild: committed",
        "relay: published",
        "relay: moved",
        "migration: step",
        "keys: unwrap",
        "keys: made",
        "keys: counted",
        "keys: rewrapped",
        "erase: requested",
        "erase: announced",
        "erase: destroyed",
        "erase: told",
        "erase: taken out",
        "erase: vacuumed",
    }
)
STALL_SECONDS_MAX = 600.0  # longer than any session time-out a test uses

logger = logging.getLogger(__name__)


class FailPoint(Exception):  # noqa: N818  it is a place, and raised only where a test armed it
    """An armed fail point was passed."""


class FailPointsInvalid(Exception):  # noqa: N818  named for what is wrong
    """``WARDTRAIL_FAILPOINTS`` can't be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """What happens at one fail point: ``kind``, seconds to stall, the only passage (or any)."""

    kind: str
    seconds: float = 0.0
    passage: int | None = None


def hit(name: str) -> None:
    """Pass the fail point ``name``; nothing happens unless it is armed."""
    if not _armed:
        return
    assert name in NAMES, f"unknown fail point: {name}"
    action = _armed.get(name)
    if action is None:
        return
    _passages[name] += 1
    if action.passage is not None and action.passage != _passages[name]:
        return
    logger.warning("armed fail point: %s", name)  # so that a sweep sees that it was passed
    if action.kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action.kind == "raise":
        raise FailPoint(f"armed fail point: {name}")
    time.sleep(action.seconds)


def parse(text: str) -> Mapping[str, Action]:
    """Read the variable's value; raise :class:`FailPointsInvalid` on anything not understood."""
    armed = {}
    for pair in filter(None, (part.strip() for part in text.split(";"))):
        name, _, spec = pair.partition("=")
        if name not in NAMES:
            raise FailPointsInvalid(f"unknown fail point (see schemas/failpoints.py): {name}")
        kind, _, passage = spec.partition("@")
        kind, _, seconds = kind.partition(":")
        if kind not in {"kill", "raise", "stall"}:
            raise FailPointsInvalid(f"action is kill, raise or stall:SECONDS, not: {spec}")
        try:
            armed[name] = Action(
                kind=kind,
                seconds=min(float(seconds or 0), STALL_SECONDS_MAX),
                passage=int(passage) if passage else None,
            )
        except ValueError:
            raise FailPointsInvalid(f"not a number in fail point action: {spec}") from None
    return armed


_armed: Mapping[str, Action] = parse(os.environ.get("WARDTRAIL_FAILPOINTS", ""))
_passages: Counter[str] = Counter()
