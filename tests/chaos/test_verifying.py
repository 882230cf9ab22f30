"""Workers that are killed, fail and stall while they judge: each task's outcome is the true one."""

import asyncio
import copy
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from ops import access, deploy
from ops.settings import Settings
from ops.simulator import simulate, sized
from producers import client
from schemas.codec import Codec
from schemas.sealing import Keys
from schemas.topics import VERIFICATIONS
from streams.verification.projection import PROJECTION
from tests.chaos import oracles
from tests.chaos.asked import Ask, publish
from tests.chaos.charted import Chart, chart
from tests.chaos.oracles import Given, OracleRed
from tests.chaos.parts import JUDGES, LOOK_SECONDS, RECOVERY_SECONDS, SESSION_SECONDS, Line
from tests.chaos.play import PASSED_SECONDS, PATIENCE
from tests.chaos.seen import Seen, feed_and_keys, see

pytestmark = pytest.mark.alone

SEED, PATIENTS, TASKS = 9, 30, 150
FOUNDED = frozenset({"ledger"})
FOLLOWED = FOUNDED | {
    "relay", "relay:commands", "verification", "judge", "relay:verification",
}  # fmt: skip
# What befalls whoever judges in an act, in the order of its passages: every place, every way.
ACTS: Sequence[dict[str, str]] = (
    {"judge: locked": "raise@1", "judge: written": "stall:4@1", "judge: committed": "kill@1"},
    {"judge: locked": "stall:4@1", "judge: committed": "raise@1", "judge: written": "kill@2"},
    {"judge: written": "raise@1", "judge: committed": "stall:4@1", "judge: locked": "kill@3"},
)
BURSTS, BURST_SECONDS = 12, 0.25  # of an act's second half: a judgement each, at least
MOMENT_SECONDS = 1.0
_PASSED = re.compile(r"armed fail point: (judge: \w+)")
ORACLES = (
    oracles.positive, oracles.counts, oracles.positions, oracles.tenants, oracles.order,
    oracles.published, oracles.verified,
)  # fmt: skip


@pytest.fixture
def line(new_home: Callable[..., Settings]) -> Iterator[Line]:
    line = Line.up(new_home())
    line.start("serve", "ledger-1", *JUDGES)
    line.await_serving()
    yield line
    line.stop_all()


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_tasks_are_judged_by_all_facts_whatever_happens_to_who_judges_them(line: Line) -> None:
    feed, keys = feed_and_keys(line)
    codec = Codec(access.schema_ids(line.settings))
    charted = chart(SEED, deploy.DEMO_TENANT, keys, patients=PATIENTS, tasks=TASKS, acts=len(ACTS))
    tell(line, [*charted.people, *charted.founding], codec, keys)
    line.await_recovery(RECOVERY_SECONDS + SESSION_SECONDS, FOUNDED)
    rng = random.Random(f"verifying/{SEED}")
    with ThreadPoolExecutor(1) as sender:
        for act, places in zip(charted.acts, ACTS, strict=True):
            half = len(act) // 2
            sending = sender.submit(tell, line, act[:half], codec, keys)
            time.sleep(rng.random() * MOMENT_SECONDS)
            before = total(line)
            befall(line, places)
            sending.result()
            sending = sender.submit(tell, line, act[half:], codec, keys, bursts=BURSTS)
            passed(line, places, before, sending)
    line.await_recovery(RECOVERY_SECONDS + SESSION_SECONDS, FOLLOWED)
    line.await_mirrored()
    seen = see(line)
    given = Given(day=simulate(sized(1)), bodies=charted.bodies, feed=feed, keys=keys)
    for oracle in ORACLES:
        oracle(seen, given)
    oracles.rebuild(seen, given, (PROJECTION,))
    complete(seen, charted)
    assert line.ended["verification"] >= len(ACTS), "workers were killed while they judged"
    corrupted(seen, given)


def tell(
    line: Line, said: Sequence[Ask | bytes], codec: Codec, keys: Keys, bursts: int = 1
) -> None:
    """Send messages and commands, in bursts; all are on their topics on return."""
    for number in range(bursts):
        burst = said[len(said) * number // bursts : len(said) * (number + 1) // bursts]
        publish(line, [each for each in burst if isinstance(each, Ask)], codec, keys)
        bodies = [each for each in burst if isinstance(each, bytes)]
        host, port = line.settings.mllp_host, line.settings.mllp_port
        for result in asyncio.run(client.send(host, port, bodies, patience=PATIENCE)):
            assert result.code == "AA", f"a message wasn't taken: {result.code or result.cause}"
        time.sleep(BURST_SECONDS * (bursts > 1))


def befall(line: Line, places: dict[str, str]) -> None:
    """Kill all who judge, and have their successors run with these fail points, at work."""
    for name in JUDGES:
        line.kill(name)
    armed = ";".join(f"{point}={action}" for point, action in places.items())
    for name in JUDGES:
        line.revive(name, failpoints=armed)
    for name in JUDGES:
        line.await_owning(name, something=True)


def passed(line: Line, places: dict[str, str], before: Counter[str], sending: Future[None]) -> None:
    """Wait until every place was passed by somebody, and the load is sent; revive the killed."""
    deadline = time.monotonic() + PASSED_SECONDS
    while not sending.done() or (total(line) - before).keys() != places.keys():
        line.supervise()
        assert time.monotonic() < deadline, f"fail points not passed: {places}"
        time.sleep(LOOK_SECONDS)
    sending.result()


def total(line: Line) -> Counter[str]:
    """How often anybody has passed each armed place so far."""
    logs = [line.log(name).read_text(encoding="utf-8") for name in JUDGES]
    return Counter(place for log in logs for place in _PASSED.findall(log))


def complete(seen: Seen, charted: Chart) -> None:
    """Nothing that was asked or told is missing, and outcomes of every kind came of it."""
    asked = [each for act in charted.acts for each in act if isinstance(each, Ask)]
    records = [each.record for each in asked]
    made = {each["stream_id"] for each in records if each["command_type"] == "task.create"}
    assert {row["task_id"] for row in seen.tables["emr_verifications"]} == made
    assert len(made) == TASKS
    assert len(seen.tables["verification_evidence"]) == len(charted.numbers)
    outcomes = {row["status"] for row in seen.tables["emr_verifications"]}
    assert outcomes >= {"verified", "verified_late", "refuted", "void", "conflict"}
    assert len(seen.tables["verification_links"]) == 3
    assert max(row["revision"] for row in seen.tables["emr_verifications"]) > 1


def corrupted(seen: Seen, given: Given) -> None:
    """The oracle is red over each corruption of what was sound."""
    corruptions: tuple[tuple[str, Callable[[list[Any]], Any]], ...] = (
        ("emr_verifications", lambda rows: rows.pop()),
        ("emr_verifications", lambda rows: rows[0].update(status="else")),
        ("emr_verifications", lambda rows: rows[0].update(revision=rows[0]["revision"] + 1)),
        ("verification_results", lambda rows: rows.pop()),
        ("verification_results", lambda rows: rows.append(dict(rows[0]))),
        ("verification_evidence", lambda rows: rows.clear()),
        ("verification_links", lambda rows: rows.clear()),
    )
    for table, change in corruptions:
        torn = copy.deepcopy(seen)
        change(torn.tables[table])
        with pytest.raises(OracleRed):
            oracles.verified(torn, given)
    torn = copy.deepcopy(seen)
    torn.topics[VERIFICATIONS.name].clear()
    with pytest.raises(OracleRed):
        oracles.verified(torn, given)
