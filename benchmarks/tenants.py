"""A tenant at about 1 % of the load beside one that floods: how long its messages take.

Four phases a round, through the whole line: the calm tenant alone, beside a flood that nothing
holds, beside the same flood under a quota, beside it with the shares that are the default. What
is asked of fairness are the last two, against the first. A quota helps only if it is below what
the ledger takes, so it is half of what that was. Shares are there for all but the first moment of
a flood, so their phase includes it.
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from uuid import UUID, uuid4

from benchmarks.figures import Figure, figure
from benchmarks.place import Place, Size
from ops import access, line
from ops.deploy import DEMO, DEMO_TENANT
from ops.feeds import REFRESH_SECONDS
from ops.settings import Settings
from ops.stack import processes
from ops.stack.state import read
from producers import mllp
from schemas.topics import HL7V2
from sinks import feeds, tenancy
from sinks.database import Database, for_tenants

SECONDS = 12.0  # of one phase
EVERY_SECONDS = 0.1  # the calm tenant's ten messages a second
CONNECTIONS, WINDOW = 4, 32
QUOTA = 0.5  # the flooding tenant's, of what the ledger took a second in the phase before
ROUNDS_MAX = 3
DRAIN_SECONDS = 300.0
STOP_SECONDS = 60.0
PHASES = (
    "alone", "beside a flood", "beside a flood under its quota", "beside a flood, by shares"
)  # fmt: skip
_numbers = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tenant:
    """A tenant with its feed, told apart by MSH-4 on the same port."""

    tenant_id: UUID
    feed_id: UUID
    facility: str

    def frames(self) -> Iterator[bytes]:
        """Messages, each of another patient."""
        while True:
            number = next(_numbers)
            yield mllp.encode(
                f"MSH|^~\\&|BENCH|{self.facility}|||20260302090000||ADT^A01|{number}|P|2.5\r"
                f"EVN|A01|20260302085900\rPID|1||{number}^^^{self.facility}^MR||Rook^Ada\r"
                f"PV1|1|I|W1^R2^B3||||||||||||||||V{number}^^^{self.facility}^VN\r".encode()
            )


def run(place: Place, size: Size) -> list[Figure]:
    """The calm tenant's waits: for the answer, and until the ledger holds the message."""
    joined = line.up(place.settings)
    seconds = max(1.0, SECONDS * size.scale)
    answered: dict[str, list[list[float]]] = {phase: [] for phase in PHASES}
    recorded: dict[str, list[list[float]]] = {phase: [] for phase in PHASES}
    flooded: dict[str, list[float]] = {phase: [] for phase in PHASES[1:]}
    took: list[float] = []
    sharing = True  # as by default
    with closing(place.database(joined)) as database:
        calm, flood = _tenants(place, database)
        time.sleep(2 * REFRESH_SECONDS)
        asyncio.run(_phase(joined.mllp_port, calm, None, EVERY_SECONDS))
        _drain(place, database)  # the workers have their partitions
        for _ in range(min(size.rounds, ROUNDS_MAX)):
            rate = 0.0
            for phase in PHASES:
                if (phase == PHASES[3]) != sharing:
                    sharing = not sharing
                    _serve(joined, fair_shares=sharing)
                quota = max(1, int(rate * QUOTA)) if phase == PHASES[2] else None
                tenancy.set_feed(
                    database, flood.tenant_id, flood.facility, {"messages_per_second": quota}
                )
                time.sleep(2 * REFRESH_SECONDS)  # until the intake knows
                began, start = _now(database), time.perf_counter()
                waits, sent = asyncio.run(
                    _phase(joined.mllp_port, calm, flood if phase != PHASES[0] else None, seconds)
                )
                _drain(place, database)
                rate = (sent + len(waits)) / (time.perf_counter() - start)
                answered[phase].append(waits)
                recorded[phase].append(_recorded(database, calm, began))
                if phase == PHASES[1]:
                    took.append(rate)
                if phase in flooded:
                    flooded[phase].append(sent / seconds)
    figures = [figure("tenants: the ledger took of a flood", took, "messages/s")]
    figures += [
        figure(f"tenants: taken of the flooding one, {phase}", rates, "messages/s")
        for phase, rates in flooded.items()
    ]
    for what, found in (("answered", answered), ("in the ledger", recorded)):
        for share, label in ((0.5, "p50"), (0.99, "p99")):
            figures += _compared(what, label, share, found)
    return figures


def _compared(
    what: str, label: str, share: float, found: dict[str, list[list[float]]]
) -> list[Figure]:
    names = {phase: f"tenants: calm, {phase}, {what}, {label}" for phase in PHASES}
    values = {
        phase: [_percentile(each, share) for each in rounds] for phase, rounds in found.items()
    }
    alone = (names[PHASES[0]], values[PHASES[0]])
    return [figure(names[PHASES[0]], values[PHASES[0]], "ms")] + [
        figure(names[phase], values[phase], "ms", to=alone) for phase in PHASES[1:]
    ]


def _percentile(waits: Sequence[float], share: float) -> float:
    ordered = sorted(waits)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


async def _phase(
    port: int, calm: _Tenant, flood: _Tenant | None, seconds: float
) -> tuple[list[float], int]:
    """The calm tenant's waits for answers, and how many of the flood's were answered AA."""
    until = time.perf_counter() + seconds
    floods = [_flood(port, flood, until) for _ in range(CONNECTIONS)] if flood else []
    waits, *taken = await asyncio.gather(_calm(port, calm, until), *floods)
    return waits, sum(taken)


async def _calm(port: int, tenant: _Tenant, until: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    waits, frames, due = [], tenant.frames(), time.perf_counter()
    while due < until:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        writer.write(next(frames))
        answer = await reader.readuntil(mllp.FS + mllp.CR)
        assert b"MSA|AA" in answer, "an answer that is not AA"
        waits.append(time.perf_counter() - due)  # waited for since it was due
        due += EVERY_SECONDS
    writer.close()
    return waits


async def _flood(port: int, tenant: _Tenant, until: float) -> int:
    """Keep a window full until the end, then hang up; messages that were answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    frames, room, taken = tenant.frames(), asyncio.Semaphore(WINDOW), 0

    async def say() -> None:
        while True:
            await room.acquire()
            writer.write(next(frames))
            await writer.drain()

    saying = asyncio.ensure_future(say())
    try:
        async with asyncio.timeout(until - time.perf_counter()):
            while True:
                answer = await reader.readuntil(mllp.FS + mllp.CR)
                assert b"MSA|AA" in answer, "an answer that is not AA"
                taken += 1
                room.release()
    except TimeoutError:
        pass
    saying.cancel()
    writer.transport.abort()
    return taken


def _tenants(place: Place, database: Database) -> tuple[_Tenant, _Tenant]:
    """Two new tenants; the demo's feed takes nothing of theirs."""
    root = access.root(place.settings)
    tenancy.set_feed(database, DEMO_TENANT, DEMO, {"facilities": ["DEMO"]})
    made = []
    for facility in ("CALM", "FLOOD"):
        tenant_id = uuid4()
        tenancy.create_tenant(
            database, root, tenant_id=tenant_id, name=f"{facility} {tenant_id}",
            subdomain=f"t{tenant_id.hex}"[:60],
            secret=tenancy.Secrets(uuid4().bytes * 2, uuid4().bytes * 2),
        )  # fmt: skip
        settings = {"facilities": [facility]}
        feed_id = feeds.add(database, tenant_id, facility, settings)
        made.append(_Tenant(tenant_id=tenant_id, feed_id=feed_id, facility=facility))
    return made[0], made[1]


def _serve(settings: Settings, *, fair_shares: bool) -> None:
    """Serve anew, with shares or without."""
    running = read(settings.home).process("serve")
    assert running is not None, "the line is up"
    processes.stop(running, STOP_SECONDS)
    line.up(replace(settings, fair_shares=int(fair_shares)))


def _drain(place: Place, database: Database) -> None:
    """Until the ledger has read all there is."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while True:
        with database.connection() as connection:
            row = connection.execute(_READ, (HL7V2.name,)).fetchone()
        assert row is not None, "an aggregate has a row"
        if row["read"] >= sum(place.ends(HL7V2.name)):
            return
        assert time.monotonic() < deadline, "the ledger is still behind"
        time.sleep(0.2)


def _now(database: Database) -> object:
    with database.connection() as connection:
        row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
    assert row is not None, "a clock answers"
    return row["now"]


def _recorded(database: Database, tenant: _Tenant, since: object) -> list[float]:
    """Seconds from receipt to the ledger's commit, of each message since then."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant.tenant_id])
        rows = connection.execute(_WAITS, (tenant.tenant_id, since)).fetchall()
    return [float(row["waited"]) for row in rows]


_READ = """
SELECT coalesce(sum(next_offset), 0) AS read FROM subscriptions
WHERE subscription_id = 'ledger' AND topic = %s
"""
_WAITS = """
SELECT extract(epoch FROM recorded_at - received_at) AS waited FROM messages
WHERE tenant_id = %s AND received_at >= %s
"""
