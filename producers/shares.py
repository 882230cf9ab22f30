"""How tenants share what the ledger takes, while they are several; pure, look by look.

What of a tenant's messages the ledger hasn't read yet may not be more than its part of a window,
which is as large as the ledger empties within a moment. So nothing needs to be known of how fast
the ledger is, a flood comes no further than one part of the window, and what others send waits
behind no more than the window.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf
from uuid import UUID

LOOK_SECONDS = 0.2  # a look costs two small questions
LOOKS = 75  # that are remembered: what waits longer than 15 s counts as waiting so long
TARGET_SECONDS = 0.02  # of which nothing gets rid: what waits longer is a queue that stands
WINDOW_BEGIN, WINDOW_LEAST, WINDOW_MOST = 100, 8, 10_000  # messages of all tenants together
FREE = 100  # that a tenant may send between two looks who isn't known to send too many
GROWTH, FALL = 1.05, 0.7  # by look: as long as somebody waits for the window; at most
DELAY_LOOKS = 5  # the least delay of them counts: what waits for a transaction alone is no queue
LEAST = 0.1  # of what the ledger takes goes to those who are over their part, at all times
RATE_LOOKS = 10  # over which it is measured
PRESENT_SECONDS = 60.0  # since its last message a tenant counts as one who may have to wait
CALM_SECONDS = 20.0  # since a tenant had to wait it counts as slowed
# A partition that hasn't moved for so long is stopped, or its worker is away: slowing senders
# would bring nothing forward, and what they send is safe in Kafka.
STUCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is seen at one moment, in seconds of a clock that only rises.

    ``read`` is the ledger's next offset and ``ends`` the log's, by partition; ``sent`` are the
    messages taken here since the start, by tenant; ``held`` those who had to wait for their part
    since the last look.
    """

    at: float
    read: Mapping[int, int]
    ends: Mapping[int, int]
    sent: Mapping[UUID, int]
    held: Collection[UUID] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What follows from the looks so far.

    ``given`` are the messages that a tenant may send until the next look, of all that are
    present if they are several, and ``others`` those of one who isn't, where anybody is;
    ``owed`` is what was taken of a tenant at once beyond that;
    ``slowed`` when those last had to wait who sent more than their part. ``delays`` are how long
    ago that was sent which the ledger read in each of the last looks, in seconds.
    """

    given: Mapping[UUID, int] = field(default_factory=dict)
    others: int | None = None
    owed: Mapping[UUID, int] = field(default_factory=dict)
    slowed: Mapping[UUID, float] = field(default_factory=dict)
    window: float = WINDOW_BEGIN
    delays: tuple[float, ...] = ()
    looks: tuple[Look, ...] = ()
    heard: Mapping[UUID, float] = field(default_factory=dict)
    moved: Mapping[int, float] = field(default_factory=dict)

    @property
    def delay(self) -> float:
        """What the least of the last delays was, in seconds: so long everything waits."""
        return min(self.delays, default=0.0)


def follow(shares: Shares, look: Look) -> Shares:
    """The shares after one more look; the first one only begins."""
    last = shares.looks[-1] if shares.looks else look
    if look.at <= last.at:
        return Shares(looks=(look,), heard=dict.fromkeys(look.sent, look.at))
    looks = (*shares.looks, look)[-LOOKS:]
    heard, moved = _heard(shares, last, look), _moved(shares, last, look)
    moving = [each for each, at in moved.items() if look.at - at < STUCK_SECONDS]
    read_of, since = _reads(looks, moving)
    delays = (*shares.delays, since)[-DELAY_LOOKS:]
    delay = min(delays)
    waiting = {each: look.sent.get(each, 0) - read_of.get(each, 0) for each in heard}
    window = _window(shares, look, delay, sum(waiting.values()))
    given: dict[UUID, int] = {}
    owed: dict[UUID, int] = {}
    slowed = {each: at for each, at in shares.slowed.items() if look.at - at < CALM_SECONDS}
    if len(heard) > 1:
        taken = _taken(looks[-RATE_LOOKS:])
        given, over = _parts(waiting, look.held, window, looks, taken)
        least = max(1, ceil(LEAST * taken * LOOK_SECONDS / max(1, len(over))))
        for each in over:
            if given[each] < least:  # its own waits, or it would show what is owed
                owed[each] = _owed(shares, last, look, each)
                given[each], owed[each] = max(0, least - owed[each]), max(0, owed[each] - least)
        slowed |= dict.fromkeys(over & set(look.held), look.at)
    return Shares(
        given=given, others=_free(window) if heard else None, owed=owed,
        slowed=slowed if given else {}, window=window, delays=delays, looks=looks, heard=heard,
        moved=moved,
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


def _parts(
    waiting: Mapping[UUID, float],
    held: Collection[UUID],
    window: float,
    looks: tuple[Look, ...],
    taken: float,
) -> tuple[dict[UUID, int], set[UUID]]:
    """What each may send until the next look, and who sends more than is fair.

    Who had to wait would send without end. Who sent less than half of what all did in the mean
    is never over, however little the ledger takes: others are the flood.
    """
    history = looks[0].sent
    rates = {each: inf if each in held else _sent(each, looks[-RATE_LOOKS:]) for each in waiting}
    fair = level(rates.values(), taken)
    sent = {each: looks[-1].sent.get(each, 0) - history.get(each, 0) for each in waiting}
    half = sum(sent.values()) / len(sent) / 2
    over = {each for each, rate in rates.items() if rate > fair and sent[each] > half}
    part = level([inf if each in over else count for each, count in waiting.items()], window)
    given = {
        each: max(int(part - count), 0) if each in over else _free(window)
        for each, count in waiting.items()
    }
    return given, over


def _free(window: float) -> int:
    return max(int(window), FREE)


def _owed(shares: Shares, last: Look, look: Look, tenant: UUID) -> int:
    """What a tenant sent beyond what it was given: a batch is taken whole."""
    sent = look.sent.get(tenant, 0) - last.sent.get(tenant, 0)
    return max(0, shares.owed.get(tenant, 0) + sent - shares.given.get(tenant, sent))


def _window(shares: Shares, look: Look, delay: float, waiting: float) -> float:
    """The window as it is from now on: smaller by as much as what is sent waits too long.

    What a change does is seen when what was sent since has been read, so the longer that takes,
    the less follows from a single look. Nothing follows while more waits than the window let in.
    """
    if delay > TARGET_SECONDS and waiting > 2 * shares.window:
        return shares.window
    if delay > TARGET_SECONDS:
        fall: float = (TARGET_SECONDS / delay) ** min(1.0, LOOK_SECONDS / delay)
        return max(shares.window * max(fall, FALL), WINDOW_LEAST)
    if not shares.given.keys().isdisjoint(look.held):
        return min(shares.window * GROWTH, WINDOW_MOST)
    return shares.window


def _reads(looks: tuple[Look, ...], moving: Collection[int]) -> tuple[dict[UUID, float], float]:
    """How many of each tenant's messages the ledger has read, and how old the last of them is.

    It stands where the log ended at some moment: what was sent until then is read.
    """
    now = looks[-1]
    read = sum(now.read[each] for each in moving)
    after: Look | None = None
    for look in reversed(looks):
        end = sum(look.ends.get(each, 0) for each in moving)
        if end <= read:
            if after is None:
                return dict(look.sent), 0.0
            later = sum(after.ends.get(each, 0) for each in moving)
            part = (read - end) / (later - end) if later > end else 0.0
            sent = {
                each: before + part * (after.sent.get(each, before) - before)
                for each, before in look.sent.items()
            }
            return sent, now.at - look.at - part * (after.at - look.at)
        after = look
    return dict(looks[0].sent), now.at - looks[0].at


def _moved(shares: Shares, last: Look, look: Look) -> dict[int, float]:
    """When each partition last moved, or had nothing to move by."""
    return {
        number: look.at
        if at != last.read.get(number) or at >= look.ends.get(number, 0)
        else shares.moved.get(number, look.at)
        for number, at in look.read.items()
    }


def _sent(tenant: UUID, looks: tuple[Look, ...]) -> float:
    """Messages a second that a tenant sends."""
    first, last = looks[0].sent, looks[-1].sent
    return (last.get(tenant, 0) - first.get(tenant, 0)) / _seconds(looks)


def _taken(looks: tuple[Look, ...]) -> float:
    """Messages a second that the ledger reads."""
    first, last = looks[0].read, looks[-1].read
    return max(0, sum(at - first.get(each, at) for each, at in last.items())) / _seconds(looks)


def _seconds(looks: tuple[Look, ...]) -> float:
    return max(looks[-1].at - looks[0].at, LOOK_SECONDS)


def _heard(shares: Shares, last: Look, look: Look) -> dict[UUID, float]:
    """When each tenant that is present last sent."""
    heard = dict(shares.heard)
    for tenant, count in look.sent.items():
        if count > last.sent.get(tenant, 0):
            heard[tenant] = look.at
    return {tenant: at for tenant, at in heard.items() if look.at - at < PRESENT_SECONDS}
