"""A projection: a name, the events it reads, the tables it owns, a pure fold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Table

from schemas.events import Event
from sinks.changes import Change, Row

Rows = Mapping[str, Sequence[Row]]
Fold = Callable[[Sequence[Event], Rows], Sequence[Change]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Which rows a fold needs: those of ``table`` whose column ``by`` is the stream's id.

    ``where`` is a fixed SQL condition that narrows them, such as ``known_to IS NULL``.
    """

    table: Table
    by: str
    where: str = "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """What :func:`sinks.transaction.apply` runs over ``clinical.events.v1``.

    ``fold`` gets one stream's new events in order and the rows loaded for that stream by table
    name; it returns changes of tables in ``owns`` and nothing else, and never reads a clock.
    ``unknown`` tells what an event does whose type this release doesn't know, in a kind of stream
    that the projection reads: its stream is parked, so that a newer release goes on there without
    a rebuild; or it is skipped and counted as ignored, for rows that don't depend on each other;
    or it stops the partition. A rebuild refuses it in any case.
    ``notify`` is the channel on which a relay waits for the rows, ``relay`` the subscription of
    the one that publishes them by the positions of the events they come from.
    ``again`` are the kinds of streams that are folded from their first event on where one of their
    events counts no more (:data:`schemas.events.SUPERSEDED`): ``fold`` gets all of them, no rows,
    and takes those that stand; a row that it doesn't put again is removed. Else ``fold`` gets what
    says so as a new event, and takes back what the other one had said.
    In loaded rows ids are strings and times aware datetimes, as in the changes.
    """

    name: str
    reads: frozenset[str]
    owns: tuple[Table, ...]
    loads: tuple[Load, ...]
    fold: Fold
    fold_version: int = 1
    notify: str | None = None
    relay: str | None = None
    unknown: Literal["park", "skip", "stop"] = "park"
    again: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        assert all(load.table in self.owns for load in self.loads), "a fold loads only its own"
