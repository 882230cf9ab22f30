"""Upcasters: an event's data as an older schema has it, as the next one has it.

Stored events stay as they were told; a change of meaning that Avro's defaults can't bridge gets
a function here, and every state is folded from data of the newest schema.
"""

from collections.abc import Callable, Mapping
from typing import Any

from schemas.events import EventType

Data = Mapping[str, Any]
Upcasters = Mapping[tuple[str, int], Callable[[Data], Data]]

UPCASTERS: Upcasters = {}
"""By event type and the schema version that is read; each gives data of the next version."""


class EventUnknown(Exception):  # noqa: N818  named for what is wrong
    """A stored event is of no type or version that this program knows how to read."""


def upcast(
    event_type: str, version: int, data: Data, types: Mapping[str, EventType],
    upcasters: Upcasters = UPCASTERS,
) -> Data:  # fmt: skip
    """The data as the type's newest schema has it; :class:`EventUnknown` if nothing leads there."""
    declared = types.get(event_type)
    if declared is None:
        raise EventUnknown(f"no such event type: {event_type}")
    while version < declared.schema_version:
        step = upcasters.get((event_type, version))
        if step is None:
            raise EventUnknown(f"nothing reads version {version} of: {event_type}")
        data, version = step(data), version + 1
    if version > declared.schema_version:
        raise EventUnknown(f"a newer release wrote version {version} of: {event_type}")
    return data
