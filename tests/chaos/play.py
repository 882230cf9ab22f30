"""One seeded play: a day of messages sent through a line while its parts are killed and frozen."""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from ops.simulator import Day, Message, disordered, simulate, sized
from producers import client
from tests.chaos.parts import LOOK_SECONDS, RECOVERY_SECONDS, SESSION_SECONDS, Line, NotRecovered
from tests.chaos.points import Cell

CONNECTIONS = 4  # a patient's messages come by one of them, in order
NAMELESS = 2  # of the last messages of each connection in an act
BURST = 8  # messages on their way at once on a connection
PATIENCE = client.Patience(connect=5.0, answer=15.0, without_progress=90.0)
TURN = ("serve", "ledger", "projections", "kafka", "postgres")
FREEZES = ("idle ledger", "writing ledger", "idle projections", "writing projections")
STALL_SECONDS = 30
WRITING_SECONDS = 8.0
PASSED_SECONDS = 30.0
MOMENT_SECONDS = 0.6  # an act's messages flow for so long, and its fault falls within
REVIVE_SECONDS = 0.5
REST = 0.6  # the share of kills after which the line may recover before the next one

Say = Callable[[str], None]


class NotPassed(Exception):  # noqa: N818  named for what is wrong
    """An armed fail point was never passed."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What was done to a line, and how soon it was well again, in seconds from the fault on."""

    messages: int = 0
    resends: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    freezes: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)  # by themselves, and started again
    recoveries: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    seconds: float = 0.0

    def figures(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        counted = ("answers", "kills", "freezes", "points", "ended", "recoveries")
        return {
            "messages": self.messages,
            "resends": self.resends,
            "seconds": round(self.seconds, 1),
            **{name: dict(sorted(getattr(self, name).items())) for name in counted},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The messages of a play: a share for each connection, act by act."""

    day: Day
    acts: Sequence[Sequence[Sequence[Message]]]

    @property
    def bodies(self) -> list[bytes]:
        """All of them, in an order in which the line may take them."""
        return [message.body for act in self.acts for lane in act for message in lane]


def load(seed: int, messages: int, acts: int) -> Load:
    """A day of at least so many messages, shuffled and doubled, in shares for the acts.

    In each act some messages can't be read, and so become dead letters: enough of them that every
    worker has one in its partitions.
    """
    day = simulate(sized(messages, seed=seed))
    sent = disordered(day.messages, seed, duplicates=0.1, resends=0.05)
    lanes: list[list[Message]] = [[] for _ in range(CONNECTIONS)]
    for message in sent:
        lanes[sum(message.mrn.encode()) % CONNECTIONS].append(message)
    shares = [
        [lane[len(lane) * act // acts : len(lane) * (act + 1) // acts] for lane in lanes]
        for act in range(acts)
    ]
    for act in shares:
        for lane in act:
            lane += [nameless(message) for message in lane[-NAMELESS:]]
    return Load(day=day, acts=shares)


def nameless(message: Message) -> Message:
    """The message without the segments that say whom it is about, in no charset that there is."""
    kept = [line for line in message.body.split(b"\r") if line[:3] not in (b"PID", b"PV1")]
    return replace(message, body=b"\r".join([*filter(None, kept), b"NTE|1||\xff\xfe", b""]))


def script(seed: int, *, kills: int, freezes: int, cells: Sequence[Cell] = ()) -> list[str | Cell]:
    """The fault of each act: every part killed in turn, shuffled within a turn; others between."""
    rng = random.Random(f"script/{seed}")
    faults: list[str | Cell] = []
    while len(faults) < kills:
        faults += rng.sample(TURN, len(TURN))
    faults = faults[:kills]
    others = [f"freeze {FREEZES[number % len(FREEZES)]}" for number in range(freezes)]
    for other in (*others, *cells):
        faults.insert(rng.randrange(len(faults) + 1), other)
    return faults


def undisturbed(line: Line, load: Load) -> Outcome:
    """Send the whole load and let the line come to rest."""
    outcome, began = Outcome(), time.monotonic()
    for act in load.acts:
        deliver(line, act, outcome, pause_seconds=0.0)
    line.await_recovery(RECOVERY_SECONDS)
    line.await_mirrored()
    outcome.seconds = time.monotonic() - began
    return outcome


def disturbed(
    line: Line,
    load: Load,
    faults: Sequence[str | Cell],
    seed: int,
    *,
    outcome: Outcome,
    until: float = float("inf"),
    say: Say = lambda _: None,
) -> None:
    """Send the load share by share, each with its fault; end at rest, within oracle 7's bound.

    After the instant ``until`` (monotonic) what is left is sent without faults.
    """
    assert len(faults) == len(load.acts), "a fault for each act"
    rng, began = random.Random(f"play/{seed}"), time.monotonic()
    with ThreadPoolExecutor(1) as sender:
        for number, (fault, act) in enumerate(zip(faults, load.acts, strict=True)):
            if time.monotonic() > until:
                deliver(line, act, outcome)
                continue
            said = _act(line, fault, act, rng, outcome, sender)
            outcome.seconds, outcome.ended = time.monotonic() - began, line.ended
            say(f"{outcome.seconds:6.1f} s  {number + 1}/{len(faults)}  {said}")
    line.await_recovery(RECOVERY_SECONDS)
    line.await_mirrored()
    outcome.seconds = time.monotonic() - began


def _act(
    line: Line,
    fault: str | Cell,
    act: Sequence[Sequence[Message]],
    rng: random.Random,
    outcome: Outcome,
    sender: ThreadPoolExecutor,
) -> str:
    """One share of the load with one fault; what happened, in a line."""
    name = fault.part if isinstance(fault, Cell) else victim(fault, rng)
    if isinstance(fault, Cell):
        arm(line, name, fault.armed, outcome)
        if fault.point.startswith("relay"):
            lead(line, name, outcome)
    elif fault.startswith("freeze writing"):
        place = f"sink: writing=stall:{STALL_SECONDS}@{rng.randrange(1, 5)}"
        arm(line, name, place, outcome)
    sending = sender.submit(deliver, line, act, outcome)
    time.sleep(rng.random() * MOMENT_SECONDS)
    fell = time.monotonic()
    if isinstance(fault, Cell):
        passed(line, fault, sending, outcome)
    elif fault.startswith("freeze"):
        freeze(line, name, fault, outcome)
    else:
        kill(line, name, outcome)
        time.sleep(rng.random() * REVIVE_SECONDS)
        line.revive(name)
    sending.result()
    if not isinstance(fault, str) or fault not in TURN or rng.random() < REST:
        line.await_recovery(RECOVERY_SECONDS + SESSION_SECONDS)
        seconds = round(time.monotonic() - fell, 1)
        outcome.recoveries[fault if isinstance(fault, str) else "fail point"].append(seconds)
        return f"{fault} ({name}): at rest after {seconds} s"
    return f"{fault} ({name})"


def victim(fault: str, rng: random.Random) -> str:
    """The process that the fault hits."""
    part = fault.split()[-1]
    return f"{part}-{rng.choice((1, 2))}" if part in ("ledger", "projections") else part


def kill(line: Line, name: str, outcome: Outcome) -> None:
    """SIGKILL, counted by part."""
    line.kill(name)
    outcome.kills[name.partition("-")[0]] += 1


def arm(line: Line, name: str, failpoints: str, outcome: Outcome) -> None:
    """Kill a process, and have its successor run with these fail points, at work."""
    kill(line, name, outcome)
    line.revive(name, failpoints=failpoints)
    if name == "serve":
        line.await_serving()
    else:
        line.await_owning(name, something=True)


def lead(line: Line, name: str, outcome: Outcome) -> None:
    """Have the worker's relay hold leases: kill the worker that does, until they run out."""
    other = f"{name.partition('-')[0]}-2"
    kill(line, other, outcome)
    line.await_owning(name, something=True, relays=True)
    line.revive(other)


def passed(line: Line, cell: Cell, sending: Future[None], outcome: Outcome) -> None:
    """Wait until the armed place was passed; bring back whom it killed."""
    deadline = time.monotonic() + PASSED_SECONDS
    while not line.told(cell.part, f"armed fail point: {cell.point}"):
        if time.monotonic() > deadline:
            raise NotPassed(f"fail point not passed: {cell.armed}")
        if not sending.running() and not line.alive(cell.part):
            break
        time.sleep(LOOK_SECONDS)
    if cell.action == "kill":
        line.running.discard(cell.part)
        while line.alive(cell.part):
            if time.monotonic() > deadline:
                raise NotPassed(f"fail point passed and nobody killed: {cell.armed}")
            time.sleep(LOOK_SECONDS)
        outcome.kills[cell.part.partition("-")[0]] += 1
    if not line.alive(cell.part):
        line.revive(cell.part)
    outcome.points[cell.name] += 1


def freeze(line: Line, name: str, fault: str, outcome: Outcome) -> None:
    """Stop a worker until others have its partitions, then wake it."""
    kind = "idle"
    if "writing" in fault:
        if not line.await_writing(WRITING_SECONDS):
            raise NotPassed(f"nobody stands still in a transaction: {name}")
        kind = "writing"
    line.freeze(name)
    try:
        line.await_owning(name, something=False)
    except NotRecovered:
        line.thaw(name)
        raise
    line.thaw(name)
    outcome.freezes[f"{name.partition('-')[0]}, {kind}"] += 1


def deliver(
    line: Line,
    act: Sequence[Sequence[Message]],
    outcome: Outcome,
    *,
    pause_seconds: float = MOMENT_SECONDS,
) -> None:
    """Send an act's messages, a connection for each lane, again until each is answered."""
    results = asyncio.run(_deliver(line, act, pause_seconds))
    for result in results:
        assert result.code == "AA", f"a message wasn't taken: {result.code or result.cause}"
        outcome.answers[result.code] += 1
        outcome.resends += result.sends - 1
    outcome.messages += len(results)


async def _deliver(
    line: Line, act: Sequence[Sequence[Message]], pause_seconds: float
) -> list[client.Result]:
    lanes = await asyncio.gather(*(_lane(line, lane, pause_seconds) for lane in act))
    return [result for lane in lanes for result in lane]


async def _lane(
    line: Line, lane: Sequence[Message], pause_seconds: float
) -> Sequence[client.Result]:
    """A lane in bursts, spread over the moment in which the fault falls."""
    bursts = [lane[at : at + BURST] for at in range(0, len(lane), BURST)]
    results: list[client.Result] = []
    for burst in bursts:
        results += await client.send(
            line.settings.mllp_host,
            line.settings.mllp_port,
            [message.body for message in burst],
            window=BURST,
            patience=PATIENCE,
        )
        await asyncio.sleep(pause_seconds / len(bursts))
    return results
