"""Which rule holds for the visit of a message: ZBE (IHE PAM) and PV1-2 may change the trigger's."""

from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping.claim import authority
from streams.ledger.mapping.facts import Unmappable
from streams.ledger.mapping.message import Message
from streams.ledger.mapping.table import CANCELS, MOVEMENT, RULES, Rule

PREADMIT = "P"  # PV1-2, HL7 table 0004


def acting(message: Message, rule: Rule) -> Rule:
    """The rule by which the visit's event is made; mostly the trigger's own (rules T23, T26).

    Raises `Unmappable` where a Z99 doesn't say which movement it is about, or what becomes of it.
    """
    segment = message.segment("ZBE")
    if segment is not None or rule.trigger == MOVEMENT:
        rule = _moved(message, rule)
    if rule.planned_as is not None:
        visit = message.segment("PV1")
        if visit is not None and visit.component(2).upper() == PREADMIT:
            return RULES[rule.planned_as]
    return rule


def number(message: Message, feed: Feed) -> Identifier | None:
    """ZBE-1 (EI): value, and namespace, else universal id, else the feed's authority."""
    segment = message.segment("ZBE")
    value = segment.said(1) if segment else None
    if not value or segment is None:
        return None
    named = (authority(message, segment.component(1, part)) for part in (2, 3))
    return Identifier(value=value, authority=next(filter(None, named), feed.authority))


def historic(message: Message) -> bool:
    """ZBE-5: whether it is no movement of now, which must not change where the patient is."""
    segment = message.segment("ZBE")
    return segment is not None and segment.component(5).upper() == "Y"


def original(message: Message) -> str | None:
    """ZBE-6: the trigger that first told the movement; a known one, or None."""
    segment = message.segment("ZBE")
    trigger = segment.component(6).upper() if segment else ""
    return trigger if trigger in RULES else None


def _moved(message: Message, rule: Rule) -> Rule:
    """The rule of a message with ZBE, or of a Z99, which needs it."""
    segment = message.segment("ZBE")
    action = segment.component(4).upper() if segment else ""
    if rule.trigger != MOVEMENT:
        return RULES[CANCELS.get(rule.trigger, rule.trigger)] if action == "CANCEL" else rule
    if segment is None or not segment.said(1):
        raise Unmappable("required_field", "a Z99 without ZBE-1 names no movement")
    if action == "UPDATE":
        return rule
    cancel = CANCELS.get(original(message) or "")
    if action != "CANCEL" or cancel is None:
        raise Unmappable("structure", "ZBE-4 and ZBE-6 of a Z99 say nothing that can be done")
    return RULES[cancel]
