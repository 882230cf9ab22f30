"""Vector clocks and hybrid logical clocks: what came before what where devices were apart.

A vector clock counts each replica's edits: of two clocks one is before the other if it knows no
more of any replica, and they are concurrent if each knows of something the other doesn't
(Lamport 1978; Fidge, Mattern 1988). A hybrid logical clock is the wall clock in microseconds
with a counter that keeps cause before effect (Kulkarni et al. 2014); it orders what is shown
and decides nothing (rule V11).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

VectorClock: TypeAlias = Mapping[str, int]
Order: TypeAlias = Literal["before", "after", "equal", "concurrent"]

LEDGER = "ledger"  # the replica in whose name those write who were online
# A stream is edited by the devices of a ward; more is a device that makes up a name each time.
REPLICAS_MAX = 64
REPLICA_CHARS_MAX = 64
COUNTER_MAX = 2**53 - 1  # the largest integer that every reader of JSON keeps exact
_REPLICA = re.compile(rf"[A-Za-z0-9._:@-]{{1,{REPLICA_CHARS_MAX}}}")
TIE_MAX = 65_535  # edits in one microsecond: a counter beyond is a clock that stands


def compare(a: VectorClock, b: VectorClock) -> Order:
    """How ``a`` stands to ``b``; a replica that isn't named stands at 0."""
    behind = any(a.get(replica, 0) < count for replica, count in b.items())
    ahead = any(b.get(replica, 0) < count for replica, count in a.items())
    if behind and ahead:
        return "concurrent"
    if behind:
        return "before"
    return "after" if ahead else "equal"


def merged(a: VectorClock, b: VectorClock) -> dict[str, int]:
    """The least clock that is before neither: each replica's highest count."""
    return {replica: max(a.get(replica, 0), b.get(replica, 0)) for replica in sorted({*a, *b})}


def advanced(clock: VectorClock, replica: str) -> dict[str, int]:
    """The clock of the next edit by a replica that knows ``clock``."""
    return merged(clock, {replica: clock.get(replica, 0) + 1})


def fault(clock: VectorClock) -> str | None:
    """What is wrong with a clock that came from outside; None for a sound one."""
    if not 0 < len(clock) <= REPLICAS_MAX:
        return f"a clock names 1 to {REPLICAS_MAX} replicas, not: {len(clock)}"
    if any(_REPLICA.fullmatch(replica) is None for replica in clock):
        return f"a replica's name has 1 to {REPLICA_CHARS_MAX} letters, digits or any of ._:@-"
    if any(not 0 < count <= COUNTER_MAX for count in clock.values()):
        return f"a clock counts from 1 to: {COUNTER_MAX}"
    return None


@dataclass(frozen=True, slots=True, order=True)
class Hlc:
    """A hybrid logical time: microseconds since 1970 in UTC, a counter among equals, the node."""

    micros: int = 0
    counter: int = 0
    node: str = ""

    def tick(self, now: int) -> "Hlc":
        """The time of this node's next edit; ``now`` is its wall clock, which may stand back."""
        if now > self.micros:
            return Hlc(now, 0, self.node)
        return self._after(self.micros, self.counter)

    def _after(self, micros: int, counter: int) -> "Hlc":
        if counter < TIE_MAX:
            return Hlc(micros, counter + 1, self.node)
        return Hlc(micros + 1, 0, self.node)
