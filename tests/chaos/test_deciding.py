"""Workers that are killed, fail and stall while they decide: every command is decided once."""

import copy
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from ops import access, deploy
from ops.settings import Settings
from ops.simulator import simulate, sized
from schemas.codec import Codec
from tests.chaos import oracles
from tests.chaos.asked import Ask, asks, decided, publish
from tests.chaos.oracles import Given, OracleRed
from tests.chaos.parts import RECOVERY_SECONDS, SESSION_SECONDS, Line
from tests.chaos.seen import Seen, feed_and_keys, see

pytestmark = pytest.mark.alone

SEED, COMMANDS, STREAMS = 5, 400, 12
WORKERS = ("ledger-1", "ledger-2")
FOLLOWED = frozenset({"ledger", "relay", "relay:commands", "relay:letters"})
# What befalls one worker after another, each of them in the order of its passages.
PLACES = (
    "ledger: deciding=kill@7",
    "ledger: deciding=raise@4;ledger: written=kill@1",
    "ledger: deciding=stall:8@4;ledger: decided=kill@1",
    "ledger: moved=raise@1;ledger: committed=kill@1",
)
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
        line.await_recovery(RECOVERY_SECONDS + SESSION_SECONDS, FOLLOWED)
        passed = line.log("ledger-1").read_text().count("failpoints: armed")
        assert passed == sum(each.count("=") for each in PLACES[:number]), place
    publish(line, asked[len(PLACES) * share :], codec, keys)
    line.await_recovery(RECOVERY_SECONDS + SESSION_SECONDS, FOLLOWED)
    line.await_mirrored()
    seen, given = see(line), Given(day=simulate(sized(1)), bodies=(), feed=feed, keys=keys)
    for oracle in ORACLES:
        oracle(seen, given)
    decided(seen, asked)
    assert line.ended["ledger"] >= 3, "workers were killed while they decided"
    corrupted(seen, asked)


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
