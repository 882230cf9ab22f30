"""PV1-3 and PV1-6 as the text that events carry, the same for every feed's delimiters."""

from streams.ledger.mapping.delimiters import NULL
from streams.ledger.mapping.message import Message, Segment

_CARET = "\\S\\"  # a caret inside a component keeps HL7's standard escape


def place(message: Message, segment: Segment | None, number: int) -> str | None:
    """The first repetition of a PL field with ``^`` and ``&``, or what it says of no place.

    None: empty, or nothing but separators, so nothing is said and the place is unchanged. The
    empty string: HL7's null, so it is said to be unknown (rule T21). Escape sequences are
    resolved and separators that end a component or the place are left out.
    """
    raw = segment.field(number) if segment else ""
    if not raw:
        return None
    marks = message.delimiters
    odd = " " in raw or '"' in raw or marks.escape in raw or not raw.isprintable()
    if marks.component == "^" and not odd:  # as nearly always: it is as it was sent
        plain = raw.partition(marks.repetition)[0].rstrip("^")
        if marks.subcomponent not in plain:
            return plain or None
    first = raw.split(marks.repetition, 1)[0]
    if first.strip() == NULL:
        return ""
    components = [_component(message, part) for part in first.split(marks.component)]
    while components and not components[-1]:
        components.pop()
    if components and all(part in {"", NULL} for part in components):
        return ""
    return "^".join(components) or None


def _component(message: Message, raw: str) -> str:
    """One component: its sub-components with ``&`` between, without those that end it."""
    parts = raw.split(message.delimiters.subcomponent)
    resolved = [message.resolve(part).strip().replace("^", _CARET) for part in parts]
    while len(resolved) > 1 and not resolved[-1]:
        resolved.pop()
    return "&".join(resolved)
