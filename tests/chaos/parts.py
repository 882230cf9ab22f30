"""The parts of a running line: how each is started, killed, frozen, and brought back."""

import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from ops import access, deploy
from ops.lag import JUDGE, Gauge
from ops.settings import Settings
from ops.stack import processes
from ops.stack import stack as embedded
from ops.stack.processes import Process
from ops.stack.state import read, update
from sinks import database
from sinks.database import DatabaseAway
from sinks.tenancy import Secrets
from streams.log import BrokerAway, TopicMissing
from tests.chaos import judged

WORKERS = {
    "ledger-1": ("ledger",),
    "ledger-2": ("ledger",),
    "projections-1": ("read-models", "trajectory", "verification"),
    "projections-2": ("read-models", "trajectory", "verification"),
}
# For a play of its own: nothing of the line but what judges.
JUDGES = {"verification-1": ("verification",), "verification-2": ("verification",)}
COMMANDS = {
    "serve": ("serve",),
    **{name: ("worker", *what, "--in-one") for name, what in {**WORKERS, **JUDGES}.items()},
}
SERVERS = ("kafka", "postgres")
SESSION_SECONDS = 6  # the least that a broker takes by default
READY_SECONDS = 60.0
RECOVERY_SECONDS = 30.0  # oracle 7
LOOK_SECONDS = 0.1
STARTED = "--- started by the chaos harness ---"
# Keys of the tenant that every play shares, so that two plays of a day give the same ids.
SECRETS = Secrets(data=bytes(range(32)), identity=bytes(range(32, 64)))


class NotRecovered(Exception):  # noqa: N818  named for what is wrong
    """A part didn't come back, or lag stayed, within its bound."""


@dataclass(slots=True, kw_only=True)
class Line:
    """A whole line in a home of its own; every process is one that was started here."""

    settings: Settings
    frozen: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)  # what we started and didn't kill
    ended: Counter[str] = field(default_factory=Counter)  # what ended by itself

    @classmethod
    def up(cls, settings: Settings) -> "Line":
        """Servers, tables, topics, the tenant with its known keys, and the watch on positions."""
        state = embedded.up(settings)
        joined = replace(settings.joined(state), session_seconds=SESSION_SECONDS, log_level="info")
        deploy.migrate(joined)
        return cls(settings=joined).prepared()

    def prepared(self) -> "Line":
        """Give the tenant its known keys, and have every move of a position noted."""
        root = access.root(self.settings)
        with psycopg.connect(self.superuser_url, autocommit=True, connect_timeout=10) as connection:
            for purpose, secret in (("data", SECRETS.data), ("identity", SECRETS.identity)):
                wrapped = root.wrap(secret, tenant=deploy.DEMO_TENANT, purpose=purpose, version=1)
                connection.execute(
                    "UPDATE tenant_keys SET wrapped = %s WHERE purpose = %s", (wrapped, purpose)
                )
            connection.execute(_WATCH)
        return self

    @property
    def superuser_url(self) -> str:
        """The line's database, past row-level security."""
        assert self.settings.postgres is not None, "it is up"
        return self.settings.postgres.superuser_url(self.settings.postgres.database)

    def start(self, *names: str, failpoints: str = "") -> None:
        """Start processes; `failpoints` arms the places of schemas/failpoints.py in them."""
        for name in names:
            environment = {
                "PATH": os.environ["PATH"],
                "LANG": "C.UTF-8",
                "HOME": os.environ.get("HOME", "/"),
                **self.settings.environ(),
                "WARDTRAIL_HOME": str(self.settings.home),
            }
            if failpoints:
                environment["WARDTRAIL_FAILPOINTS"] = failpoints
            argv = [sys.executable, "-m", "ops.cli", *COMMANDS[name]]
            with self.log(name).open("a", encoding="utf-8") as log:
                log.write(f"{STARTED}\n")
            process = processes.spawn(name, argv, environment, self.log(name))
            update(self.settings.home, lambda state, new=process: state.with_process(new))
            self.running.add(name)

    def start_all(self) -> None:
        """Every process of the line, ready to take messages."""
        self.start("serve", *WORKERS)
        self.await_serving()

    def stop_all(self) -> None:
        """End the processes in order; servers stay."""
        self.running.clear()
        for name in COMMANDS:
            if self.alive(name):
                self.thaw(name)
                processes.stop(self.process(name), 30.0)

    def log(self, name: str) -> Path:
        """Where the process tells what happens."""
        return self.settings.home / f"logs/{name}.log"

    def told(self, name: str, what: str) -> bool:
        """Whether the latest process of that name has logged this."""
        return what in self.log(name).read_text(encoding="utf-8").rpartition(f"{STARTED}\n")[2]

    def process(self, name: str) -> Process:
        """The latest process of that name."""
        process = read(self.settings.home).process(name)
        assert process is not None, f"never started: {name}"
        return process

    def alive(self, name: str) -> bool:
        """Whether that process runs."""
        return read(self.settings.home).running(name)

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        self.frozen.discard(name)
        self.running.discard(name)
        processes.kill(self.process(name))

    def revive(self, name: str, failpoints: str = "") -> None:
        """Start a killed part again on its data."""
        if name in SERVERS:
            embedded.up(self.settings)
        else:
            self.start(name, failpoints=failpoints)

    def supervise(self) -> None:
        """Start again what ended by itself, as a supervisor does."""
        for name in sorted(self.running):
            if not self.alive(name):
                self.ended[name.partition("-")[0]] += 1
                self.start(name)

    def freeze(self, name: str) -> None:
        """SIGSTOP: it holds its connections and locks, and says nothing."""
        os.kill(self.process(name).pid, signal.SIGSTOP)
        self.frozen.add(name)

    def thaw(self, name: str) -> None:
        """SIGCONT."""
        if name in self.frozen:
            self.frozen.discard(name)
            os.kill(self.process(name).pid, signal.SIGCONT)

    def await_serving(self) -> None:
        """Wait until the intake takes messages."""
        url = f"http://127.0.0.1:{self.settings.http_port}/health/ready"
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            self.supervise()
            try:
                with urllib.request.urlopen(url, timeout=1.0):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(LOOK_SECONDS)
        raise NotRecovered("serve doesn't get ready")

    def owned_by(self, name: str, *, relays: bool = False) -> set[tuple[str, int]]:
        """The subscriptions and partitions that the latest process of that name holds.

        Those that it reads, or those that its relays publish under a lease.
        """
        pid = self.process(name).pid
        with database.connect(self.superuser_url, name="chaos") as connection:
            rows = connection.execute(
                "SELECT subscription_id, partition FROM subscriptions"
                " WHERE subscription_id LIKE 'relay%%' = %s AND split_part(owner, ':', 2) = %s",
                (relays, str(pid)),
            ).fetchall()
        return {(row["subscription_id"], row["partition"]) for row in rows}

    def await_owning(self, name: str, *, something: bool, relays: bool = False) -> None:
        """Wait until the process holds partitions, or until others have taken all of them."""
        deadline = time.monotonic() + READY_SECONDS
        while bool(self.owned_by(name, relays=relays)) != something:
            self.supervise()
            if time.monotonic() > deadline:
                wanted = "takes no partition" if something else "keeps its partitions"
                raise NotRecovered(f"{name} {wanted}")
            time.sleep(LOOK_SECONDS)

    def await_writing(self, seconds: float) -> bool:
        """Wait until a session stands still in its transaction; False after the time-out."""
        deadline = time.monotonic() + seconds
        with database.connect(self.superuser_url, name="chaos") as connection:
            while time.monotonic() < deadline:
                if connection.execute(_WRITING).fetchone():
                    return True
                time.sleep(0.02)
        return False

    def waiting(self) -> dict[str, int] | None:
        """What waits, by subscription; None while a server doesn't answer.

        The judge is the last to rest: what it was told may have made more patients due.
        """
        try:
            with Gauge.open(self.settings) as gauge:
                totals = gauge.measure().totals()
            found = {each.subscription: each.records for each in totals if each.records}
            with database.connect(self.superuser_url, name="chaos") as connection:
                outdated = judged.outdated(connection)
            if outdated:
                found[JUDGE] = found.get(JUDGE, 0) + outdated
        except (DatabaseAway, BrokerAway, TopicMissing):
            return None
        return found

    def await_recovery(self, seconds: float, only: Collection[str] = ()) -> float:
        """Wait until nothing waits, anywhere or for these alone; return how long that took."""
        began = time.monotonic()
        while (waiting := self.waiting()) is None or (
            waiting.keys() & set(only) if only else waiting
        ):
            self.supervise()
            if time.monotonic() - began > seconds:
                raise NotRecovered(f"records that wait after {seconds:.0f} s: {waiting}")
            time.sleep(LOOK_SECONDS)
        return time.monotonic() - began

    def await_mirrored(self, seconds: float = 15.0) -> None:
        """Wait until the groups' committed offsets equal the database's positions."""
        deadline = time.monotonic() + seconds
        with Gauge.open(self.settings) as gauge:
            while any(total.mirrored is False for total in gauge.measure().totals()):
                if time.monotonic() > deadline:
                    raise NotRecovered("committed offsets differ from positions")
                time.sleep(LOOK_SECONDS)


# Every move of a position is kept in order, since it is noted under the row's own lock.
_WRITING = """
SELECT 1 FROM pg_stat_activity
WHERE wait_event = 'ClientRead' AND application_name LIKE 'wardtrail%'
  AND (state = 'idle in transaction' AND state_change < now() - interval '1 second'
    OR state = 'active' AND query_start < now() - interval '1 second')  -- before a pipeline's Sync
"""
_WATCH = """
CREATE SCHEMA IF NOT EXISTS chaos;
CREATE TABLE IF NOT EXISTS chaos.history (
    n bigint GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT clock_timestamp(),
    subscription_id text, topic text, partition int, epoch bigint, owner text,
    next_offset bigint, last_position bigint
);
CREATE OR REPLACE FUNCTION chaos.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO chaos.history
        (subscription_id, topic, partition, epoch, owner, next_offset, last_position)
    VALUES (NEW.subscription_id, NEW.topic, NEW.partition, NEW.epoch, NEW.owner,
            NEW.next_offset, NEW.last_position);
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER chaos_note AFTER INSERT OR UPDATE ON subscriptions
    FOR EACH ROW EXECUTE FUNCTION chaos.note();
"""
