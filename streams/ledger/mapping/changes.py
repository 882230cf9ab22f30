"""MRG: who a patient was until now, and which number a visit had."""

from schemas import identity
from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping import claim as claims
from streams.ledger.mapping.facts import Claim, Unmappable
from streams.ledger.mapping.message import Message, Segment
from streams.ledger.mapping.table import Change, Rule

ACCOUNT_FIELD = 3  # MRG-3, prior patient account number


def source(message: Message, claim: Claim, change: Change, feed: Feed) -> tuple[Identifier, ...]:
    """The identifiers that give way to the claim's; none if the claim has no others.

    Those of the same type as the claim's best, if there are any, else all in order (rule M1).
    What stands in PID-3, too, stays; but where nothing else is named, it gives way to the rest.
    Raises `Unmappable` where nobody is named and somebody must be.
    """
    found = _named(message, change, feed)
    if change.needed and not found:
        raise Unmappable("required_field", "it names nobody who gives way")
    claimed, named = ({_key(one) for one in some} for some in (claim.identifiers, found))
    if claimed <= named and named <= claimed:
        return ()
    return _same_type(tuple(one for one in found if _key(one) not in claimed) or found, claim)


def whose(message: Message, claim: Claim, feed: Feed) -> tuple[Identifier, ...]:
    """MRG-1: whose a visit was (rule M5); none if it isn't said."""
    merged = message.segment("MRG")
    return _same_type(claims.persons(message, merged, 1, feed), claim) if merged else ()


def prior_visit(message: Message, claim: Claim, rule: Rule, feed: Feed) -> Identifier | None:
    """The number a visit had before; MRG-3, the account, only where PID-18 stands in for it."""
    merged = message.segment("MRG")
    if merged is None:
        return None
    by_account = claim.visit is None or claim.visit.type == claims.ACCOUNT
    for field in rule.prior_visit:
        number = int(field.removeprefix("MRG-"))
        if number != ACCOUNT_FIELD:
            found = claims.number(message, merged, number, feed)
        else:
            found = claims.account(message, merged, number, feed) if by_account else None
        if found:
            return found
    return None


def account(message: Message, rule: Rule, feed: Feed) -> Identifier | None:
    """MRG-3 of a message that moves a whole account with every visit that belongs to it."""
    merged = message.segment("MRG")
    if merged is None or rule.prior_visit != (f"MRG-{ACCOUNT_FIELD}",):
        return None
    return claims.account(message, merged, ACCOUNT_FIELD, feed)


def same(one: Identifier, other: Identifier) -> bool:
    """Whether two numbers are one, whatever type they are said to be of."""
    return _key(one) == _key(other)


def _named(message: Message, change: Change, feed: Feed) -> tuple[Identifier, ...]:
    """The identifiers in the first field of the change that names anybody."""
    for field in change.source:
        name, _, number = field.partition("-")
        segment = _second(message) if name == "PID" else message.segment(name)
        found = claims.persons(message, segment, int(number), feed) if segment else ()
        if found:
            return found
    return ()


def _second(message: Message) -> Segment | None:
    """The second PID: of an unlink, whom the first is parted from."""
    patients = message.segments("PID")
    return patients[1] if len(patients) > 1 else None


def _same_type(found: tuple[Identifier, ...], claim: Claim) -> tuple[Identifier, ...]:
    best = claim.identifiers[0].type
    return tuple(one for one in found if one.type == best) or found


def _key(one: Identifier) -> tuple[str, str]:
    return (one.authority, identity.normal(one.value))
