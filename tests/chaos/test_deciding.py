"""Workers that are killed, fail and stall while they decide: every command is decided once."""

import copy
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from ops import access, deploy
from ops.lag import Gauge
from ops.settings import Settings
from ops.simulator import simulate, sized
from schemas.codec import Codec
from tests.chaos import oracles
from tests.chaos.asked import Ask, asks, decided, publish
from tests.chaos.oracles import Given, OracleRed
from tests.chaos.parts import LOOK_SECONDS, RECOVERY_SECONDS, SESSION_SECONDS, Line
from tests.chaos.seen import Seen, feed_and_keys, see

SEED, COMMANDS, STREAMS = 5, 600, 12
WORKERS = ("ledger-1", "ledger-2")
FOLLOWED = frozenset({"ledger", "relay", "relay:commands"})
PLACES = (
    "ledger: deciding=kill@7", "ledger: decided=kill@1", "ledger: deciding=raise@10",
    "ledger: written=kill@1", "ledger: deciding=stall:8@9", "ledger: committed=kill@1",
    "ledger: moved=raise@1", "ledger: deciding=kill@15",
)  # fmt: skip
ORACLES = (
    oracles.counts, oracles.positions, oracles.tenants, oracles.order, oracles.published
)  # fmt: skip


@pytest.fixture
def line(new_home: Callable[..., Settings]) -> Iterator[Line]:
    line = Line.up(new_home())
    line.start(*WORKERS)
    yield line
    line.stop_all()


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_commands_are_decided_once_whatever_happens_to_who_decides_them(line: Line) -> None:
    asked = asks(SEED, COMMANDS, streams=STREAMS, tenant=deploy.DEMO_TENANT)
    feed, keys = feed_and_keys(line)
    codec = Codec(access.schema_ids(line.settings))
    for name in WORKERS:
        line.await_owning(name, something=True)
    share = len(asked) // len(PLACES)
    for number, place in enumerate(PLACES, start=1):
        line.kill("ledger-1")
        line.revive("ledger-1", failpoints=place)
        line.await_owning("ledger-1", something=True)
        publish(line, asked[(number - 1) * share :][:share], codec, keys)
        settle(line)
        assert line.log("ledger-1").read_text().count("failpoints: armed") == number, place
    publish(line, asked[len(PLACES) * share :], codec, keys)
    settle(line)
    line.await_mirrored()
    seen, given = see(line), Given(day=simulate(sized(1)), bodies=(), feed=feed, keys=keys)
    for oracle in ORACLES:
        oracle(seen, given)
    decided(seen, asked)
    assert line.ended["ledger"] >= 3, "workers were killed while they decided"
    corrupted(seen, asked)


def settle(line: Line) -> None:
    """Wait until every command is decided, and what it became is published."""
    deadline = time.monotonic() + RECOVERY_SECONDS + SESSION_SECONDS
    while True:
        line.supervise()
        with Gauge.open(line.settings) as gauge:
            totals = gauge.measure().totals()
        waiting = {each.subscription: each.records for each in totals if each.records}
        if not waiting.keys() & FOLLOWED:
            return
        assert time.monotonic() < deadline, f"records that wait: {waiting}"
        time.sleep(LOOK_SECONDS)


def corrupted(seen: Seen, asked: list[Ask]) -> None:
    """The oracle is red over each corruption of what was sound."""
    corruptions: tuple[tuple[str, Callable[[list[Any]], Any]], ...] = (
        ("command_results", lambda rows: rows.pop()),
        ("command_results", lambda rows: rows[0].update(version=rows[0]["version"] + 1)),
        ("command_results", lambda rows: rows[0].update(rule="else")),
        ("events", lambda rows: rows.pop()),
        ("events", lambda rows: rows.append({**rows[0], "message_id": str(UUID(int=1))})),
    )
    for table, change in corruptions:
        torn = copy.deepcopy(seen)
        change(torn.tables[table])
        with pytest.raises(OracleRed):
            decided(torn, asked)
