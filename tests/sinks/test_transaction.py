"""Rows and position together: the one transaction, with all that can go wrong."""

import socket
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import psycopg
import pytest

from schemas.failpoints import FailPoint
from sinks import dead_letters, subscriptions
from sinks import transaction as sink
from sinks.changes import Append, Put
from sinks.database import DatabaseAway, Refused, Synced, told
from sinks.projection import Projection
from sinks.subscriptions import Hole
from sinks.tables import patient_read_models
from sinks.transaction import Gap, TypeUnknown
from tests.sinks.provisioned import (
    LINE,
    TALLY,
    applied,
    apply,
    counts,
    record,
    records,
    stream_id,
    unreadable,
)

pytestmark = pytest.mark.stack

BEFORE_COMMIT = ["sink: locked", "sink: loaded", "sink: folded", "sink: written", "sink: moved"]


def test_rows_and_position_move_together(store):
    held = store.take()
    assert apply(store, held, records(0, 9)) == 10
    assert applied(store) == list(range(1, 11))
    row = store.subscription()
    assert (row["next_offset"], row["last_position"]) == (10, 10)
    assert counts(store) == {"applied": 10}


@pytest.mark.parametrize("point", BEFORE_COMMIT)
def test_what_ends_before_the_commit_changes_nothing_and_applies_once_again(store, armed, point):
    held = store.take()
    apply(store, held, records(0, 4))
    armed(f"{point}=raise")
    with pytest.raises(FailPoint):
        apply(store, held, records(5, 9))
    assert applied(store) == [1, 2, 3, 4, 5]
    assert store.subscription()["next_offset"] == 5
    armed("")
    assert apply(store, held, records(5, 9)) == 10
    assert applied(store) == list(range(1, 11))
    assert counts(store) == {"applied": 10}


def test_what_ends_after_the_commit_is_not_applied_again(store, armed):
    held = store.take()
    armed("sink: committed=raise")
    with pytest.raises(FailPoint):
        apply(store, held, records(0, 9))
    armed("")
    assert apply(store, held, records(0, 9)) == 10
    assert applied(store) == list(range(1, 11))


def test_what_ends_at_a_dead_letter_leaves_the_record_to_be_read_again(store, armed):
    held = store.take()
    armed("sink: dead letter written=raise")
    with pytest.raises(FailPoint):
        apply(store, held, [unreadable(0)])
    assert store.rows("SELECT FROM dead_letters") == []
    assert store.subscription()["next_offset"] == 0
    armed("")
    assert apply(store, held, [unreadable(0)]) == 1
    assert len(store.rows("SELECT FROM dead_letters")) == 1


def test_a_batch_that_comes_again_changes_nothing(store):
    held = store.take()
    apply(store, held, records(0, 9))
    assert apply(store, held, records(0, 9)) == 10
    assert apply(store, held, records(2, 5)) == 10
    assert applied(store) == list(range(1, 11))
    assert counts(store) == {"applied": 10}


def test_of_an_overlapping_batch_only_the_new_part_is_applied(store):
    held = store.take()
    apply(store, held, records(0, 9))
    assert apply(store, held, records(5, 14)) == 15
    assert applied(store) == list(range(1, 16))
    assert counts(store) == {"applied": 15}


def test_a_hole_before_a_batch_stops_it(store):
    held = store.take()
    apply(store, held, records(0, 4))
    with pytest.raises(Hole) as hole:
        apply(store, held, records(7, 9))
    assert (hole.value.expected, hole.value.found) == (5, 7)
    assert applied(store) == [1, 2, 3, 4, 5]
    assert store.subscription()["next_offset"] == 5


def test_a_hole_inside_a_batch_stops_it_after_what_came_before(store):
    held = store.take()
    with pytest.raises(Hole) as hole:
        apply(store, held, [*records(0, 4), *records(7, 9)])
    assert (hole.value.expected, hole.value.found) == (5, 7)
    assert applied(store) == [1, 2, 3, 4, 5]
    assert store.subscription()["next_offset"] == 5


def test_offsets_without_a_record_are_counted_and_passed(store):
    held = store.take()
    apply(store, held, records(0, 4))
    assert subscriptions.skip(store.database, held, upto=7) == 7
    assert subscriptions.skip(store.database, held, upto=3) == 7
    apply(store, held, [record(7, seq=6)])
    assert counts(store) == {"applied": 6, "no_record": 2}


def test_a_gap_in_the_positions_stops_the_line(store):
    held = store.take()
    with pytest.raises(Gap, match="expected 3, got: 5"):
        apply(store, held, [record(0), record(1), record(2, seq=5)])
    assert applied(store) == []
    assert store.subscription()["next_offset"] == 0


def test_a_position_published_twice_is_counted_and_skipped(store):
    held = store.take()
    batch = [record(0), record(1), record(2, seq=1), record(3, seq=2), record(4, seq=3)]
    assert apply(store, held, batch) == 5
    assert applied(store) == [1, 2, 3]
    assert counts(store) == {"applied": 3, "duplicate": 2}


def test_an_event_that_the_projection_does_not_read_is_ignored_and_counted(store):
    held = store.take()
    apply(store, held, [record(0), record(1, event_type="admission.created"), record(2)])
    assert applied(store) == [1, 3]
    assert counts(store) == {"applied": 2, "ignored": 1}


def test_an_event_of_an_unknown_type_is_skipped_and_counted_and_told_once(store, caplog):
    transaction_log = "sinks.transaction"
    sink._tell_skipped.cache_clear()
    held = store.take()
    strange = [record(n, event_type="patient.levitated") for n in (1, 2)]
    projection = replace(TALLY, unknown="skip")
    with caplog.at_level("WARNING", transaction_log):
        apply(store, held, [record(0), *strange, record(3)], projection)
    assert applied(store) == [1, 4]
    assert counts(store) == {"applied": 2, "ignored": 2}
    assert [each.getMessage() for each in caplog.records if each.name == transaction_log] == [
        "tally skips events that this release doesn't know, type: patient.levitated"
    ]


def test_a_projection_that_must_not_skip_an_unknown_type_stops_there(store):
    held = store.take()
    projection = replace(TALLY, unknown="stop")
    apply(store, held, [record(0), record(1, event_type="admission.created")], projection)
    with pytest.raises(TypeUnknown, match=r"position 3 .*patient\.levitated"):
        apply(store, held, [record(2, event_type="patient.levitated"), record(3)], projection)
    assert applied(store) == [1]
    assert counts(store) == {"applied": 1, "ignored": 1}


def test_an_unreadable_record_becomes_a_dead_letter_that_keeps_it_whole(store):
    held = store.take()
    apply(store, held, [record(0), unreadable(1), record(2, seq=2)])
    assert applied(store) == [1, 2]
    assert counts(store) == {"applied": 2, "dead": 1}
    [letter] = store.rows("SELECT * FROM dead_letters")
    assert (letter["stage"], letter["cause"], letter["offset"]) == ("decode", "undecodable", 1)
    assert letter["tenant_id"] is None
    assert b"junk" not in letter["record_sealed"]
    opened = dead_letters.open_record(letter["id"], letter["record_sealed"], LINE)
    assert opened == (b"key", b"junk")


BAD = {
    "NUL in JSON": ({"text": "a\0b"}, "refused"),
    "NUL in text": ({"type": "a\0b"}, "refused"),
    "too long": ({"type": "x" * 201}, "refused"),
    "out of range": ({"partition": 70_000}, "refused"),
    "fold raises": ({"raise": True}, "fold_failed"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_record_at_fault_is_found_and_what_is_not_behind_it_is_applied(store, kind, size):
    data, cause = BAD[kind]
    held = store.take()
    batch = records(0, size - 1)
    batch[size // 2] = record(size // 2, stream=size // 2 % 3, data=data)
    assert apply(store, held, batch) == size
    behind = list(range(size // 2 + 3, size, 3))
    assert applied(store) == without(size, [size // 2, *behind])
    assert counts(store).get("dead") == 1
    assert counts(store).get("parked", 0) == len(behind)
    [letter] = store.rows("SELECT * FROM dead_letters WHERE state = 'dead'")
    assert (letter["cause"], letter["offset"]) == (cause, size // 2)
    assert "x" * 20 not in letter["reason"]


def without(size, offsets):
    """The positions of the records from offset 0 on, but for those at these offsets."""
    return [n + 1 for n in range(size) if n not in offsets]


def test_two_records_at_fault_in_a_hundred_are_both_found(store):
    held = store.take()
    batch = records(0, 99)
    batch[17] = record(17, stream=2, data={"raise": True})
    batch[63] = record(63, stream=0, data={"text": "\0"})
    assert apply(store, held, batch) == 100
    behind = [n for n in range(100) if (n % 3 == 2 and n > 17) or (n % 3 == 0 and n > 63)]
    assert applied(store) == without(100, [17, 63, *behind])
    assert counts(store) == {"applied": 98 - len(behind), "dead": 2, "parked": len(behind)}
    letters = store.rows(
        """SELECT "offset", cause FROM dead_letters WHERE state = 'dead' ORDER BY "offset" """
    )
    assert [tuple(letter.values()) for letter in letters] == [(17, "fold_failed"), (63, "refused")]


def test_a_row_that_a_constraint_refuses_is_at_fault_though_its_race_was_waited_for(store):
    held = store.take()
    batch = records(0, 9)
    double = {**record(5).event, "event_id": batch[2].event["event_id"]}
    batch[5] = batch[5]._replace(event=double)
    assert apply(store, held, batch) == 10
    assert applied(store) == without(10, [5, 6, 9])
    [letter] = store.rows("SELECT * FROM dead_letters WHERE state = 'dead'")
    assert letter["reason"] == "rows refused, sqlstate 23505, constraint: pk_timeline_events"


def test_a_check_that_fails_condemns_the_record(store):
    store.run("ALTER TABLE timeline_events ADD CHECK (partition_seq <> 4)")
    held = store.take()
    apply(store, held, records(0, 9))
    assert applied(store) == without(10, [3, 6, 9])
    [letter] = store.rows("SELECT reason FROM dead_letters WHERE state = 'dead'")
    assert "23514" in letter["reason"]


@pytest.mark.parametrize("field", ["tenant_id", "feed_id", "message_id", "event_id", "stream_id"])
def test_an_event_with_an_id_that_is_none_becomes_a_dead_letter(store, field):
    held = store.take()
    batch = records(0, 4)
    batch[2] = record(2, stream=2, **{field: "no id"})
    assert apply(store, held, batch) == 5
    survives = field in ("feed_id", "message_id")  # this projection doesn't write them
    assert applied(store) == ([1, 2, 3, 4, 5] if survives else [1, 2, 4, 5])
    assert counts(store).get("dead", 0) == (0 if survives else 1)


def test_a_condemned_event_whose_ids_are_none_is_kept_without_them(store):
    held = store.take()
    bad = record(0, feed_id="none", message_id="none", data={"raise": True})
    assert apply(store, held, [bad]) == 1
    [letter] = store.rows("SELECT * FROM dead_letters")
    assert (letter["feed_id"], letter["message_id"]) == (None, None)


@contextmanager
def fold_that(act):
    """The tally, doing something to its own database on the way."""
    done = []

    def fold(events, rows):
        if not done:
            done.append(act())
        return TALLY.fold(events, rows)

    yield Projection(name="tally", reads=TALLY.reads, owns=TALLY.owns, loads=TALLY.loads, fold=fold)


def test_a_backend_ended_midway_is_transient_and_makes_no_dead_letter(store):
    held = store.take()
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = 'wt_worker'"
    )
    with fold_that(lambda: store.run(end)) as projection:
        with pytest.raises(DatabaseAway):
            apply(store, held, records(0, 9), projection)
        assert store.rows("SELECT FROM dead_letters") == []
        assert store.subscription()["next_offset"] == 0
        assert apply(store, held, records(0, 9), projection) == 10
    assert applied(store) == list(range(1, 11))


@pytest.mark.parametrize("state", ["40001", "40P01", "53300", "55P03", "57014", "58030", "08006"])
def test_trouble_that_says_nothing_of_the_rows_is_transient(store, state):
    store.run(
        "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{state}'; END $$"
    )
    store.run(
        "CREATE TRIGGER trouble BEFORE INSERT ON timeline_events"
        " FOR EACH STATEMENT EXECUTE FUNCTION trouble()"
    )
    held = store.take()
    with pytest.raises(DatabaseAway, match=state):
        apply(store, held, records(0, 9))
    assert store.rows("SELECT FROM dead_letters") == []
    store.run("DROP TRIGGER trouble ON timeline_events")
    assert apply(store, held, records(0, 9)) == 10
    assert counts(store) == {"applied": 10}


def test_what_is_neither_transient_nor_the_rows_fault_stops_and_condemns_nothing(store):
    held = store.take()
    store.run("REVOKE INSERT ON timeline_events FROM wt_worker")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        apply(store, held, records(0, 9))
    assert store.rows("SELECT FROM dead_letters") == []
    assert store.subscription()["next_offset"] == 0


def stand_idle(store, transaction):
    """Stand in a transaction until the server has ended the session, then go on."""
    with transaction() as connection:
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
        connection.execute("SELECT 1").fetchone()
        mine = "SELECT FROM pg_stat_activity WHERE pid = %s"
        for _ in range(200):
            if not store.rows(mine, connection.info.backend_pid):
                break
        else:
            raise AssertionError("the session is still there, with its locks")
        connection.execute("SELECT 1").fetchone()


def test_a_session_ended_for_standing_idle_in_its_transaction_is_transient(store):
    @contextmanager
    def one_by_one():
        with store.database.connection() as connection, connection.transaction():
            yield connection

    with pytest.raises(DatabaseAway, match="25P03"):
        stand_idle(store, one_by_one)
    with pytest.raises(DatabaseAway):  # libpq loses the reason there
        stand_idle(store, store.database.transaction)


def test_without_a_sync_behind_each_question_a_session_that_stands_is_never_ended(
    store, monkeypatch
):
    monkeypatch.setattr(Synced, "_fetch_pipeline", psycopg.Cursor._fetch_pipeline)
    with pytest.raises(AssertionError, match="still there"):
        stand_idle(store, store.database.transaction)


def test_a_text_that_the_driver_refuses_is_the_rows_fault(store):
    with (
        pytest.raises(Refused, match="22000"),
        store.database.connection() as connection,
    ):
        connection.execute("SELECT %s::text", ("a\0b",))


def test_an_error_of_our_own_is_not_taken_for_the_databases():
    with pytest.raises(psycopg.ProgrammingError), told():
        raise psycopg.ProgrammingError("no placeholder")


@pytest.mark.parametrize("change", [Put, Append])
def test_a_wrong_column_fails_when_the_change_is_made(change):
    with pytest.raises(ValueError, match="colour"):
        change(patient_read_models, {"id": 1, "colour": "red"})


class Proxy:
    """Between a client and the server; cuts the line when a commit has been passed on."""

    def __init__(self, host, port):
        self.target, self.cut = (host, port), threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self.server.accept()
                server = socket.create_connection(self.target)
                for source, sink_, up in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._pass, args=(source, sink_, up), daemon=True
                    ).start()

    def _pass(self, source, other, up):
        with suppress(OSError):
            while data := source.recv(65536):
                other.sendall(data)
                if up and b"COMMIT" in data and not self.cut.is_set():
                    self.cut.set()
                    # The reply is lost: the server has the commit, the client a dead line.
                    source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    source.shutdown(socket.SHUT_RDWR)
                    source.close()
        with suppress(OSError):
            other.shutdown(socket.SHUT_WR)


def test_a_commit_whose_reply_is_lost_is_harmless_to_do_again(store, stack):
    held = store.take()
    proxy = Proxy(stack.postgres_host, stack.postgres_port)
    with closing(proxy.server):
        url = store.worker.replace(f":{stack.postgres_port}/", f":{proxy.port}/")
        database = store.open(url=url)
        with pytest.raises(DatabaseAway):
            sink.apply(database, TALLY, held, records(0, 9), line=LINE)
        assert proxy.cut.is_set()
        assert sink.apply(database, TALLY, held, records(0, 9), line=LINE) == 10
    assert applied(store) == list(range(1, 11))
    assert counts(store) == {"applied": 10}


def test_nothing_of_a_batch_stays_on_the_connection(store):
    held = store.take()
    database = store.open(size=1)
    sink.apply(database, TALLY, held, records(0, 9), line=LINE)
    with database.connection() as connection:
        [left] = connection.execute("SELECT current_setting('wt.tenants', true) AS set").fetchall()
        assert left["set"] in (None, "")
        assert (
            connection.execute(
                "SELECT relname FROM pg_class WHERE pg_table_is_visible(oid)"
                " AND relpersistence = 't'"
            ).fetchall()
            == []
        )
        assert connection.execute("SELECT * FROM patient_read_models").fetchall() == []
    with database.connection() as connection, pytest.raises(psycopg.DataError):
        connection.execute("SET wt.tenants = '{nonsense}'; SELECT * FROM patient_read_models")
    with database.connection() as connection:
        [left] = connection.execute("SELECT current_setting('wt.tenants', true) AS set").fetchall()
        assert left["set"] in (None, "")


def test_a_stream_is_loaded_once_and_folded_in_order(store):
    held = store.take()
    for first in range(0, 60, 7):
        apply(store, held, records(first, min(first + 6, 59), streams=2))
    [row] = store.rows("SELECT data FROM patient_read_models WHERE id = %s", stream_id(0))
    assert row["data"]["seqs"] == list(range(1, 61, 2))
