"""Segments of a site's own (Z..): they travel along as they were sent, sealed."""

from dataclasses import replace

from streams.ledger.mapping.facts import Draft
from streams.ledger.mapping.message import FIELD_CHARACTERS_MAX, Message

_TOO_LONG = "segments of the site's own too long to keep beside their message"


def carried(first: Draft, part: Message) -> tuple[Draft, list[str]]:
    """The first event of a part with the part's own Z-segments, or why they aren't there."""
    lines = part.own
    if not lines:
        return first, []
    if sum(map(len, lines)) > FIELD_CHARACTERS_MAX:
        return first, [_TOO_LONG]
    return replace(first, clear={**first.clear, "z_segments": lines}), []
