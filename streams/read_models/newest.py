"""The newest value of each detail: what was reported last wins, in whatever order it came."""

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.events import Event

Recency = tuple[int, int, str]
Details = dict[str, list[Any]]  # by name: reported, occurred, event id, value

_UNKNOWN = -(1 << 62)  # before any instant: a report without a time never hides one with it


def recency(event: Event) -> Recency:
    """What sorts snapshots: reported, then occurred, then the event's id as a last resort."""
    reported = event["data"]["reported_at"]
    return (_UNKNOWN if reported is None else reported, event["occurred_at"], event["event_id"])


def keep(details: Details, event: Event, said: Iterable[tuple[str, Any]]) -> None:
    """Take in what the event says; None says nothing and takes nothing back (rule T21)."""
    newest = recency(event)
    for name, value in said:
        if value is None:
            continue
        known = details.get(name)
        if known is None or (known[0], known[1], known[2]) < newest:
            details[name] = [*newest, value]


def value(details: Mapping[str, list[Any]], name: str) -> Any:  # noqa: ANN401  any JSON value
    """The newest value of a detail; None if nothing was said, or it is said to be unknown."""
    known = details.get(name)
    return known[3] or None if known is not None else None
