"""One seeded play of those who judge: they are killed, fail and stall; all are judged rightly."""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ops import access, deploy
from ops.simulator import simulate, sized
from producers import client
from schemas.codec import Codec
from schemas.sealing import Keys
from streams.verification.projection import PROJECTION
from tests.chaos import oracles
from tests.chaos.asked import Ask, publish
from tests.chaos.charted import Chart, chart
from tests.chaos.oracles import Given
from tests.chaos.parts import JUDGES, LOOK_SECONDS, RECOVERY_SECONDS, SESSION_SECONDS, Line
from tests.chaos.play import PASSED_SECONDS, PATIENCE, NotPassed, Outcome, Say
from tests.chaos.points import Cell
from tests.chaos.seen import Seen, feed_and_keys, see

PATIENTS, TASKS = 30, 150
FOUNDED = frozenset({"ledger"})
FOLLOWED = FOUNDED | {
    "relay", "relay:commands", "relay:letters", "verification", "judge", "relay:verification",
}  # fmt: skip
BURSTS, BURST_SECONDS = 12, 0.25  # of an act's second half: a judgement each, at least
MOMENT_SECONDS = 1.0
_PASSED = re.compile(r"armed fail point: (judge: \w+)")
ORACLES = (
    oracles.positive, oracles.counts, oracles.positions, oracles.tenants, oracles.order,
    oracles.published, oracles.verified,
)  # fmt: skip
Codes = tuple[Codec, Keys]


def start(line: Line) -> None:
    """The processes of the play, ready to take messages."""
    line.start("serve", "ledger-1", *JUDGES)
    line.await_serving()


def disturbed(
    line: Line, acts: Sequence[Sequence[Cell]], seed: int, *, outcome: Outcome,
    say: Say = lambda _: None,
) -> Chart:  # fmt: skip
    """Tell and ask act by act, with what befalls who judges; end at rest. What was told."""
    _, keys = feed_and_keys(line)
    codes = Codec(access.schema_ids(line.settings)), keys
    charted = chart(seed, deploy.DEMO_TENANT, keys, patients=PATIENTS, tasks=TASKS, acts=len(acts))
    rng, began = random.Random(f"verifying/{seed}"), time.monotonic()
    tell(line, [*charted.people, *charted.founding], codes, outcome)
    line.await_recovery(RECOVERY_SECONDS + SESSION_SECONDS, FOUNDED)
    with ThreadPoolExecutor(1) as sender:
        for number, (cells, act) in enumerate(zip(acts, charted.acts, strict=True), start=1):
            half = len(act) // 2
            sending = sender.submit(tell, line, act[:half], codes, outcome)
            time.sleep(rng.random() * MOMENT_SECONDS)
            before = total(line)
            befall(line, cells, outcome)
            sending.result()
            sending = sender.submit(tell, line, act[half:], codes, outcome, bursts=BURSTS)
            passed(line, cells, before, sending, outcome)
            outcome.seconds = time.monotonic() - began
            named = ", ".join(map(str, cells))
            say(f"{outcome.seconds:6.1f} s  {number}/{len(acts)}  passed: {named}")
    fell = time.monotonic()
    line.await_recovery(RECOVERY_SECONDS + SESSION_SECONDS, FOLLOWED)
    outcome.recoveries["judges"].append(round(time.monotonic() - fell, 1))
    line.await_mirrored()
    outcome.seconds, outcome.ended = time.monotonic() - began, line.ended
    return charted


def check(line: Line, charted: Chart) -> tuple[Seen, Given]:
    """Every oracle that such a play has; :class:`~tests.chaos.oracles.OracleRed`."""
    feed, keys = feed_and_keys(line)
    seen = see(line)
    given = Given(day=simulate(sized(1)), bodies=charted.bodies, feed=feed, keys=keys)
    for oracle in ORACLES:
        oracle(seen, given)
    oracles.rebuild(seen, given, (PROJECTION,))
    return seen, given


def tell(
    line: Line, said: Sequence[Ask | bytes], codes: Codes, outcome: Outcome, bursts: int = 1
) -> None:
    """Send messages and commands, in bursts; all are on their topics on return."""
    for number in range(bursts):
        burst = said[len(said) * number // bursts : len(said) * (number + 1) // bursts]
        publish(line, [each for each in burst if isinstance(each, Ask)], *codes)
        bodies = [each for each in burst if isinstance(each, bytes)]
        host, port = line.settings.mllp_host, line.settings.mllp_port
        for result in asyncio.run(client.send(host, port, bodies, patience=PATIENCE)):
            assert result.code == "AA", f"a message wasn't taken: {result.code or result.cause}"
            outcome.answers[result.code] += 1
            outcome.messages += 1
            outcome.resends += result.sends - 1
        time.sleep(BURST_SECONDS * (bursts > 1))


def befall(line: Line, cells: Sequence[Cell], outcome: Outcome) -> None:
    """Kill all who judge, and have their successors run with these fail points, at work."""
    for name in JUDGES:
        line.kill(name)
        outcome.kills["verification"] += 1
    for name in JUDGES:
        line.revive(name, failpoints=";".join(cell.armed for cell in cells))
    for name in JUDGES:
        line.await_owning(name, something=True)


def passed(
    line: Line, cells: Sequence[Cell], before: Counter[str], sending: Future[None],
    outcome: Outcome,
) -> None:  # fmt: skip
    """Wait until every place was passed by somebody, and the load is sent; revive the killed."""
    places = {cell.point for cell in cells}
    deadline = time.monotonic() + PASSED_SECONDS + max(cell.seconds for cell in cells)
    while not sending.done() or (total(line) - before).keys() != places:
        line.supervise()
        if time.monotonic() > deadline:
            raise NotPassed(f"fail points not passed: {', '.join(map(str, cells))}")
        time.sleep(LOOK_SECONDS)
    sending.result()
    passages = total(line) - before
    for cell in cells:
        outcome.points[cell.name] += 1
        if cell.action == "kill":
            outcome.kills["verification"] += passages[cell.point]


def total(line: Line) -> Counter[str]:
    """How often anybody has passed each armed place so far."""
    logs = [line.log(name).read_text(encoding="utf-8") for name in JUDGES]
    return Counter(place for log in logs for place in _PASSED.findall(log))
