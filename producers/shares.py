"""How tenants share what the ledger takes, while it is behind; pure, from one look to the next.

Over its share is who sends more than max-min fairness gives out of what the ledger takes: what
small ones leave is divided equally among the others. Those alone are slowed, so far below what
is taken that the backlog goes; then their rates rise until it comes back, or are no longer needed.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from uuid import UUID

LOOK_SECONDS = 0.5  # a flood comes unslowed for so long; a look costs two small questions
LOOKS = 11  # that are remembered, so that what is sent and taken are means over 5 seconds
SPAN, FALL = 4, 0.9  # a transaction takes longer than a look: so many at least, and fall so far
BEGIN_SECONDS = 1.0  # of backlog; a ledger at work holds a few tenths in its transactions
TARGET_SECONDS = 0.5  # above it a rate that is in force falls, below it rises
BACKLOG_LEAST = 100  # so few records are no flood, however long a transaction takes
DRAIN_SECONDS = 4.0  # a backlog of so much more than the target leaves the least to who made it
STEADY, LEAST = 0.8, 0.1  # of what is taken: given once the target is met, and at all times
GROWTH = 1.03  # by look, from there on: what the ledger could take is only known where it lags
CALM_LOOKS = 40  # below the target; by then 2.6 times of what is taken was given: no flood
PRESENT_SECONDS = 60.0  # since its last message a tenant counts as one who may have to wait
# A partition that hasn't moved for so long is stopped, or its worker is away: slowing senders
# would bring nothing forward, and what they send is safe in Kafka.
STUCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is seen at one moment, in seconds of a clock that only rises.

    ``read`` is the ledger's next offset and ``ends`` the log's, by partition; ``sent`` are the
    messages taken here since the start, by tenant; ``held`` those who had to wait for their share
    since the last look.
    """

    at: float
    read: Mapping[int, int]
    ends: Mapping[int, int]
    sent: Mapping[UUID, int]
    held: Collection[UUID] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What follows from the looks so far; ``rates`` are messages a second of who is slowed.

    ``capacity`` is what the ledger takes, in records a second, as far as it is known; ``factor``
    the part of it that is given to tenants; ``behind`` and ``calm`` count the looks for which it
    has been above the target, or hasn't.
    """

    rates: Mapping[UUID, int] = field(default_factory=dict)
    capacity: float = 0.0
    backlog_seconds: float = 0.0
    factor: float = STEADY
    behind: int = 0
    calm: int = 0
    looks: tuple[Look, ...] = ()
    heard: Mapping[UUID, float] = field(default_factory=dict)
    moved: Mapping[int, float] = field(default_factory=dict)


def follow(shares: Shares, look: Look) -> Shares:
    """The shares after one more look; the first one only begins."""
    last = shares.looks[-1] if shares.looks else look
    if look.at <= last.at:
        return Shares(looks=(look,), heard=dict.fromkeys(look.sent, look.at))
    looks = (*shares.looks, look)[-LOOKS:]
    heard = _heard(shares, last, look)
    moved = {
        number: look.at
        if at != last.read.get(number) or at >= look.ends.get(number, 0)
        else shares.moved.get(number, look.at)
        for number, at in look.read.items()
    }
    waiting = sum(
        max(0, look.ends.get(number, 0) - at)
        for number, at in look.read.items()
        if look.at - moved[number] < STUCK_SECONDS
    )
    capacity = _capacity(shares, looks)
    backlog = waiting / capacity if capacity and waiting >= BACKLOG_LEAST else 0.0
    over = backlog > TARGET_SECONDS
    behind, calm = (shares.behind + 1, 0) if over else (0, shares.calm + 1)
    rates: Mapping[UUID, int] = {}
    factor = _factor(shares, backlog)
    begins = backlog > BEGIN_SECONDS or (bool(shares.rates) and calm < CALM_LOOKS)
    if begins and len(heard) > 1:
        sent = {each: _sent(each, looks) for each in heard}
        rates = _rates(sent, look.held, capacity, factor)
    return Shares(
        rates=rates, capacity=capacity, backlog_seconds=backlog, factor=factor,
        behind=behind, calm=calm, looks=looks, heard=heard, moved=moved,
    )  # fmt: skip


def level(demands: Iterable[float], capacity: float) -> float:
    """What each may have at most, so that all together have the capacity; infinite if it does."""
    left, wanted = capacity, sorted(demands)
    for number, demand in enumerate(wanted):
        equal = left / (len(wanted) - number)
        if demand > equal:
            return equal
        left -= demand
    return inf


def _rates(
    sent: Mapping[UUID, float], held: Collection[UUID], capacity: float, factor: float
) -> dict[UUID, int]:
    """Whoever is over the fair share of the capacity shares what is given beside the others.

    Who is held back would send without end. Nobody is slowed to less than a tenth of the fair
    share, nor to none; nor anybody who sends less than half of the mean, however little the
    ledger takes: others are the flood.
    """
    demands = {tenant: inf if tenant in held else rate for tenant, rate in sent.items()}
    fair = level(demands.values(), capacity)
    much = max(fair, sum(sent.values()) / len(sent) / 2)
    over = [tenant for tenant, demand in demands.items() if demand > much]
    if not over:
        return {}
    small = sum(demand for demand in demands.values() if demand <= much)
    rate = max((capacity * factor - small) / len(over), fair * LEAST, 1.0)
    return dict.fromkeys(over, int(rate))


def _sent(tenant: UUID, looks: tuple[Look, ...]) -> float:
    first, last = looks[0], looks[-1]
    return (last.sent.get(tenant, 0) - first.sent.get(tenant, 0)) / (last.at - first.at)


def _heard(shares: Shares, last: Look, look: Look) -> dict[UUID, float]:
    """When each tenant that is present last sent."""
    heard = dict(shares.heard)
    for tenant, count in look.sent.items():
        if count > last.sent.get(tenant, 0):
            heard[tenant] = look.at
    return {tenant: at for tenant, at in heard.items() if look.at - at < PRESENT_SECONDS}


def _capacity(shares: Shares, looks: tuple[Look, ...]) -> float:
    """Far behind, the ledger takes what it can: a mean, since it moves by transactions.

    Otherwise it takes what comes, which says only that it can take as much: were it believed to
    take no more, senders slowed to a part of that would make it less and less.
    """
    first, last = looks[-1 - min(max(shares.behind, SPAN), len(looks) - 1)], looks[-1]
    took = sum(last.read.values()) - sum(first.read.get(n, at) for n, at in last.read.items())
    measured = max(0.0, took / (last.at - first.at))
    full = shares.backlog_seconds > BEGIN_SECONDS
    return max(measured, shares.capacity * (FALL if full else 1.0))


def _factor(shares: Shares, backlog_seconds: float) -> float:
    if backlog_seconds <= TARGET_SECONDS:
        return max(STEADY, shares.factor * GROWTH) if shares.rates else STEADY
    return max(LEAST, STEADY - (backlog_seconds - TARGET_SECONDS) / DRAIN_SECONDS)
