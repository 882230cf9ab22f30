"""A command as the ledger's transaction gets it: whose, on which stream, decided by what."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """How a stream's state follows from its rows of ``events``; what a state is, is its own.

    ``freeze`` and ``thaw`` take a state to JSON's types and back, under the snapshot's id; what is
    frozen to None isn't kept. Only snapshots of this ``state_version`` are used. All may raise
    :class:`~schemas.sealing.KeysWanted`.
    """

    state_version: int
    initial: Any
    evolve: Callable[[Any, Mapping[str, Any]], Any]
    freeze: Callable[[Any, UUID], Any]
    thaw: Callable[[Any, UUID], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Why a command becomes nothing: a code, and a line; never a patient's data."""

    rule: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A command by its ids and types, as text; ``issued_by`` where that is known."""

    tenant_id: str
    command_id: str
    command_type: str
    stream_type: str
    stream_id: str
    issued_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Named):
    """A command to be decided; ids are text.

    ``references`` are the streams that fields name: field, stream type, stream id; ``near`` are
    those at whose home a new stream is to stand, best first. ``decide`` gives rows of
    ``events`` that lack only their numbers and ``recorded_at``. ``taken``: the id of the stream
    that it would create was seen to be another tenant's, whose rows aren't to be seen.
    ``founds``: it may be the first of its stream, or not. ``departments`` are those in which
    its issuer may ask it (None: in all), and ``owner`` is the stream in whose department it
    does; without one it is about all of them. What else it names that is of a department is of
    one of those too. ``seals``: its events or its state may have text
    that is sealed; for ``person``, where it says for whom.
    """

    expected_version: int | None
    creates: bool
    references: Sequence[tuple[str, str, str]]
    near: Sequence[str]
    folding: Folding
    decide: Callable[[Any], Sequence[Mapping[str, Any]] | Rejected]
    taken: bool = False
    founds: bool = False
    departments: frozenset[str] | None = None
    owner: str | None = None
    seals: bool = False
    person: str | None = None
