"""Events that count no more: rows are as the events that stand make them; what was known stays."""

import random
import re
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest

from schemas.codec import Codec, Ids
from schemas.events import SUPERSEDED, standing
from sinks import parking, requests
from sinks.changes import Append, Put, Remove
from sinks.database import for_tenants
from sinks.rebuild import Rebuilding
from sinks.releasing import Releasing
from sinks.requests import Chosen
from sinks.stored import as_read
from sinks.transaction import Recorded
from streams import publications
from streams.read_models import ADMISSIONS, PATIENTS, TIMELINE
from streams.trajectory import PROJECTION as TRAJECTORY
from streams.verification.projection import PROJECTION as VERIFICATION
from tests.sinks.provisioned import LINE, apply
from tests.streams.ledger.mapping.messages import PATIENT, REQUEST, RESULT, message
from tests.streams.ledger.test_remapping import (
    JOURNEY,
    drafts,
    ignored,
    mapper,
    placed,
    remap,
    same,
)
from tests.streams.ledger.told import TENANT, adt, line

__all__ = ["line", "mapper"]

pytestmark = pytest.mark.stack

CODEC = Codec(Ids.in_order())
READ = as_read(CODEC)
FOLDED = (PATIENTS, ADMISSIONS, TIMELINE, TRAJECTORY, VERIFICATION)
BODIES = (
    *JOURNEY,
    message("ORU^R01", PATIENT, REQUEST, RESULT),
    message("ORU^R01", PATIENT, REQUEST, RESULT.replace("5.4", "6.1")),
    message("ORM^O01", PATIENT, "ORC|NW|P1||||||^BID^^20260302", "OBR|1|P1||X^Y^L"),
)
KNOWN_THEN = """
SELECT point_id, location, point.effective_at, ended_at, message_id FROM trajectory_points AS point
LEFT JOIN trajectory_facts AS fact ON fact.event_id = point.start_event_id
WHERE known_from <= %s AND (known_to IS NULL OR known_to > %s) ORDER BY 1
"""
# Where in the ledger and when a row was made last: it depends on the way to it.
WAY = {"partition_seq", "updated_at", "version"}


def by_chance(chance):
    """A mapper that drops some of the drafts and reads other places, by what each one says."""

    def change(draft):
        told = chance.random()
        if told < 0.3:
            return None
        if told < 0.6 and draft.data.get("place"):
            return replace(draft, data={**draft.data, "place": f"W{chance.randrange(9)}^R^B"})
        return draft

    return drafts(change)


class Live:
    """Projections that follow the ledger, in batches of any size."""

    def __init__(self, line, projections=FOLDED, chance=None):
        self.line, self.store, self.chance = line, line.store, chance
        self.projections = projections

    def events(self, partition=None):
        with self.store.database.connection() as connection, connection.transaction():
            for_tenants(connection, [str(TENANT)])
            rows = connection.execute(
                "SELECT * FROM events ORDER BY partition, partition_seq"
            ).fetchall()
        return [READ(row) for row in rows if partition in (None, row["partition"])]

    def follow(self):
        for projection in self.projections:
            for partition in range(4):
                held = self.store.take(projection.name, partition)
                batch = [
                    Recorded(each["partition_seq"] - 1, b"key", orjson.dumps({}), each)
                    for each in self.events(partition)[held.next_offset :]
                ]
                while batch:
                    size = self.chance.randint(1, len(batch)) if self.chance else len(batch)
                    part, batch = batch[:size], batch[size:]
                    held = replace(held, next_offset=apply(self.store, held, part, projection))

    def rows(self):
        return {
            table.name: [
                row["each"]
                for row in self.store.rows(
                    f"SELECT to_jsonb(each) AS each FROM {table.name} AS each ORDER BY each::text"
                )
            ]
            for projection in self.projections
            for table in projection.owns
            if table.name not in ("verification_due", "feed_watermarks")
        }

    def rebuild(self):
        rebuilding = Rebuilding(
            database=self.store.database, owner_url=self.store.migrate, decode=READ,
            events=publications.clinical_events(CODEC).source,
        )  # fmt: skip
        for projection in self.projections:
            rebuilding.run(projection)

    def wanted(self, without=()):
        """What the standing events alone make, by a fold of all of them at once."""
        found = {}
        streams = {}
        for each in self.events():
            streams.setdefault(each["stream_id"], []).append(each)
        for projection in self.projections:
            found |= {table.name: {} for table in projection.owns}
            for events in streams.values():
                told = [
                    each for each in standing(events)
                    if each["event_type"] in projection.reads and each["event_id"] not in without
                ]  # fmt: skip
                empty = {each.table.name: [] for each in projection.loads}
                for change in projection.fold(told, empty) if told else ():
                    key = tuple(str(change.row[c.name]) for c in change.table.primary_key.columns)
                    assert isinstance(change, Append | Put | Remove) or change.table.name
                    found[change.table.name][key] = change.row
        return found


def current(rows, table):
    """A table's rows as now known, without what depends on the way to them."""
    listed = list(rows[table].values()) if isinstance(rows[table], dict) else rows[table]
    if table == "trajectory_facts":
        listed = [each for each in listed if not each["superseded_at"]]
    if table == "trajectory_points":
        listed = [each for each in listed if not (each["known_to"] or each["retracted_at"])]
        names = {"admission_id", "patient_id", "track", "location", "effective_at", "ended_at",
                 "start_event_id", "end_event_id", "point_id"}  # fmt: skip
        listed = [{name: each[name] for name in names} for each in listed]
    plain = [{name: value for name, value in each.items() if name not in WAY} for each in listed]
    options = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME
    return sorted(
        _ZEROS.sub(rb"\1", orjson.dumps(each, default=_text, option=options)) for each in plain
    )


_ZEROS = re.compile(rb"(\.\d+?)0+(?=\+00:00)")  # which PostgreSQL doesn't write


def _text(value):
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return "\\x" + value.hex() if isinstance(value, bytes) else str(value)


def alike(live, **given):
    have, want = live.rows(), live.wanted(**given)
    for table in have:
        if table == "patient_tokens":  # since when one stands follows from the events around it
            assert {each["token"] for each in have[table]} == {
                str(each["token"]) for each in want[table].values()
            }
            continue
        assert current(have, table) == current(want, table), table


@pytest.mark.parametrize("seed", range(12))
def test_rows_are_as_the_events_that_stand_make_them_and_a_rebuild_equals_live(line, mapper, seed):
    chance = random.Random(f"superseded/{seed}")
    live = Live(line, chance=chance)
    line.send(*BODIES[:-2])
    if chance.random() < 0.8:
        live.follow()
    for version in range(10, 13):
        newer = by_chance(random.Random(version)), placed("W8^R1^B1"), same, ignored
        mapper(chance.choice(newer), version)
        remap(line)
        if chance.random() < 0.6:
            live.follow()
    line.send(*BODIES[-2:])
    mapper(same, 13)
    if chance.random() < 0.5:
        remap(line)
    live.follow()
    told = [each["event_type"] for each in live.events()]
    assert SUPERSEDED & set(told)
    alike(live)
    rows = live.rows()
    live.rebuild()
    assert live.rows() == rows


def test_where_nothing_counts_any_more_nothing_is_left(line, mapper):
    live = Live(line)
    line.send(*BODIES)
    live.follow()
    before = live.rows()
    left = {
        "trajectory_points",
        "trajectory_facts",
    }  # which say until when it was known, and by what
    assert all(before[name] for name in ("patient_read_models", "admission_read_models",
               "verification_evidence", "verification_orders", "timeline_events"))  # fmt: skip
    mapper(ignored)
    remap(line)
    live.follow()
    assert {name for name, rows in live.rows().items() if rows} == left
    assert all(row["retracted_at"] for row in live.rows()["trajectory_points"]
               if row["known_to"] is None)  # fmt: skip
    mapper(same, 20)
    remap(line)
    live.follow()
    alike(live)


def test_what_was_known_before_stays_as_it_was(line, mapper):
    live = Live(line)
    line.send(*BODIES)
    live.follow()
    [at] = line.store.rows("SELECT clock_timestamp() AS now")
    before = line.store.rows(KNOWN_THEN, at["now"], at["now"])
    assert before
    mapper(placed("W9^R9^B9"))
    remap(line)
    live.follow()
    assert line.store.rows(KNOWN_THEN, at["now"], at["now"]) == before
    now = line.store.rows("SELECT location FROM trajectory_points WHERE known_to IS NULL"
                          " AND retracted_at IS NULL")  # fmt: skip
    assert {row["location"] for row in now} == {"W9^R9^B9"}


def test_whom_it_concerned_is_judged_again(line, mapper):
    live = Live(line, (VERIFICATION,))
    line.send(*BODIES)
    live.follow()
    line.store.run("TRUNCATE verification_due")
    mapper(drafts(lambda draft: None if draft.stream_type in ("evidence", "order") else draft))
    remap(line)
    live.follow()
    due = {(row["due"], str(row["due_id"])) for row in line.store.rows(
        "SELECT due, due_id FROM verification_due")}  # fmt: skip
    assert ("patient", line.patient("1001")) in due


@pytest.mark.parametrize("projection", [PATIENTS, ADMISSIONS, VERIFICATION])
def test_a_fold_that_goes_on_from_its_rows_would_be_found(line, mapper, projection):
    live = Live(line, (replace(projection, again=frozenset()),))
    line.send(*BODIES)
    live.follow()
    mapper(ignored)
    remap(line)
    live.follow()
    with pytest.raises(AssertionError):
        alike(live)


class Refusing:
    """Patients whose events of some ids can't be folded, as long as they stand in ``bad``."""

    def __init__(self, line, bad):
        self.line, self.bad, self.live = line, set(bad), Live(line)
        self.live.projections = (replace(PATIENTS, fold=self.fold),)

    def fold(self, events, rows):
        if any(each["event_id"] in self.bad for each in events):
            raise ValueError
        return PATIENTS.fold(events, rows)

    def ask(self, action):
        """Ask for all open letters, and have it done; how it ended."""
        store, [projection] = self.line.store, self.live.projections
        held = store.take(PATIENTS.name, self.live.events()[0]["partition"])
        told = {each["partition_seq"] - 1: each for each in self.live.events()}
        with store.database.connection() as connection, connection.transaction():
            for_tenants(connection, [str(TENANT)])
            heads = requests.heads(connection, Chosen())
        assert heads
        requests.ask(store.database, heads, action, requested_by="tester", purpose="a test")
        ended = []
        for each in parking.requests(store.database, [PATIENTS.name]):
            releasing = Releasing(
                projection=projection, held=held,
                read=lambda kept: Recorded(kept.offset, kept.key, kept.value, told[kept.offset]),
            )  # fmt: skip
            ended.append(
                parking.execute(store.database, held, each.request_id, releasing, line=LINE)
            )
        return ended

    def updates(self):
        return [each for each in self.live.events() if each["event_type"] == "patient.updated"]


def without_patients(said):
    return drafts(lambda draft: None if draft.stream_type == "patient" else draft)(said)


def test_what_was_discarded_stays_out_of_what_is_folded_anew(line, mapper):
    line.send(*JOURNEY)
    refusing = Refusing(line, [])
    first, *_, last = refusing.updates()
    refusing.bad = {first["event_id"]}
    refusing.live.follow()
    refusing.ask("discard")
    assert line.store.rows("SELECT FROM dead_letters WHERE state = 'discarded'")
    mapper(without_patients)
    remap(line, message_id=last["message_id"])
    refusing.live.follow()
    alike(refusing.live, without=refusing.bad)


@pytest.mark.parametrize("most", [1, 2, 500])
@pytest.mark.parametrize("still_bad", [False, True])
def test_what_is_released_in_parts_is_all_there_where_one_is_folded_anew(
    line, mapper, monkeypatch, most, still_bad
):
    line.send(*JOURNEY)
    refusing = Refusing(line, [])
    first, second, *_ = refusing.updates()
    refusing.bad = {first["event_id"]}
    refusing.live.follow()
    mapper(without_patients)
    remap(line, message_id=second["message_id"])
    mapper(same)
    line.send(adt("A08", "A", minute=30))
    refusing.live.follow()  # all of it waits behind the first
    refusing.bad = {refusing.updates()[-1]["event_id"]} if still_bad else set()
    monkeypatch.setattr(parking, "OPENED_MAX", most)
    refusing.ask("retry")
    alike(refusing.live, without=refusing.bad)
    rows = refusing.live.rows()
    refusing.live.rebuild()
    assert refusing.live.rows() == rows
