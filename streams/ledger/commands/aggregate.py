"""What an aggregate is: pure functions that fold a stream's events and decide on its commands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

S = TypeVar("S")
# What the ledger holds before it asks an aggregate: said by assert where one relies on it.
FOUNDED = "the ledger refuses to create what is there"
FOUND = "the ledger refuses what is asked of something that isn't there"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A command as an aggregate reads it; ids are text, ``issued_at`` is in microseconds."""

    command_id: str
    command_type: str
    stream_id: str
    tenant_id: str
    issued_at: int
    issued_by: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event of the stream as an aggregate reads it: of the newest schema of its type.

    ``clear`` has the sealed fields that the aggregate ``opens``; ``recorded_at`` is in
    microseconds.
    """

    event_type: str
    data: Mapping[str, Any]
    version: int
    recorded_at: int
    clear: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """An event that a command becomes.

    ``clear`` is what is to be sealed, by field, under ``person_id``, else under the stream's own
    id. ``occurred_at`` is in microseconds; without it the event occurred when it was asked for.
    """

    event_type: str
    data: Mapping[str, Any]
    clear: Mapping[str, Any] = field(default_factory=dict)
    person_id: str | None = None
    occurred_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a command becomes nothing: a short code, and a line that a person can act on.

    Both are stored and published in clear: neither ever holds a patient's data.
    """

    rule: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate(Generic[S]):
    """The streams of one type: how their state follows from events, and what is decided on it.

    ``evolve`` and ``decide`` are pure. ``initial`` is the state before the first event.
    ``to_json`` and ``of_json`` take the state to JSON's types and back, for snapshots; a change
    of the state's shape raises ``state_version``, and older snapshots are passed over.
    ``opens`` are the sealed fields that the state needs in clear; ``person`` says whose they
    are in a state, under whose key its snapshots are sealed then (without one: the stream's own
    id). Of a person whose key was destroyed the state gets none of them.
    """

    stream_type: str
    evolve: Callable[[S | None, Told], S]
    decide: Callable[[S | None, Asked], list[Happened] | Rejection]
    to_json: Callable[[S], Any]
    of_json: Callable[[Any], S]
    initial: S | None = None
    state_version: int = 1
    opens: frozenset[str] = frozenset()
    person: Callable[[S], str | None] | None = None

    def __post_init__(self) -> None:
        assert not self.opens or self.person, "whose the sealed text is that a state holds is told"
