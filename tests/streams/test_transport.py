"""Faust is still the Faust that the transport was written against, and chunks are cut rightly."""

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer.fetcher import Fetcher
from faust.app.base import App as FaustApp
from faust.tables.recovery import Recovery
from faust.transport import consumer as faust_consumer
from faust.transport.drivers import aiokafka as driver
from hypothesis import given
from hypothesis import strategies as st
from mode.worker import Worker

from streams import app, transport
from streams.transport import (
    ALL_ASKED_MS,
    CHUNK_BYTES,
    CHUNK_RECORDS,
    SOME_ASKED_MS,
    chunks,
    pauses,
)

OVERRIDDEN = {
    (Fetcher, "_get_actions_per_node"): "1dab2cf937d165d0",
    (driver.AIOKafkaConsumerThread, "on_start"): "38b4e8bd1e10723a",
    (driver.AIOKafkaConsumerThread, "_fetch_records"): "39a2c6c79fc1455a",
    (driver.AIOKafkaConsumerThread, "_seek_wait"): "9d221e816d940467",
    (driver.AIOKafkaConsumerThread, "_commit"): "932852ce7a23f658",
    (driver.Consumer, "_new_consumer_thread"): "0870ec53dea75083",
    (faust_consumer.Consumer, "getmany"): "4b168d84882a70d6",
    (faust_consumer.ThreadDelegateConsumer, "seek_to_committed"): "f1d483b861b0328b",
    (faust_consumer.Consumer, "on_buffer_drop"): "4b57e8a418d5ad9c",
    (faust_consumer.Consumer, "_add_gap"): "4df2573ded7c1c2c",
    (faust_consumer.Consumer, "_filter_tps_with_pending_acks"): "f6f9239774234e7e",
    (faust_consumer.Consumer, "_filter_committable_offsets"): "dc5e9baf5d994485",
    (faust_consumer.ThreadDelegateConsumer, "_commit"): "a20eec84e4b2ed50",
    (driver.Consumer, "verify_event_path"): "a17e8f0610e1abcb",
    (FaustApp, "_new_transport"): "42db531312dd776f",
    (FaustApp, "crash"): "14980000465df0af",
    (FaustApp, "on_stop"): "bfe5a933defb2324",
}
"""Methods that ours stand in for, with the fingerprint of their source."""

RELIED_UPON = {
    (faust_consumer.Consumer, "_wait_next_records"): "6218e1969a636b3f",
    (faust_consumer.Consumer, "_drain_messages"): "44a2500309e83c63",
    (faust_consumer.Consumer, "perform_seek"): "0e8c130ff4b0afd8",
    (faust_consumer.Consumer, "_commit_offsets"): "1a69799041188441",
    (faust_consumer.Consumer, "wait_empty"): "e4662fe24f094819",
    (FaustApp, "_stop_consumer"): "55854a5de12c3f52",
    (FaustApp, "_on_partitions_revoked"): "d5c895bbe57dc73a",
    (Recovery, "_resume_streams"): "d986a6710c1aca98",
    (Worker, "_schedule_shutdown"): "1a6a5dfc88c2298b",
    (Worker, "execute_from_commandline"): "212e98f635d7a69b",
    (Fetcher, "fetched_records"): "be4348896b9b66af",
    (Fetcher, "_proc_fetch_request"): "59bf948fff47eed5",
    (AIOKafkaConsumer, "start"): "2f1ba70443327538",
}
"""Methods whose inner order ours depend on: when a seek holds, what a stop waits for."""

GUARDED = OVERRIDDEN | RELIED_UPON
OURS = (transport.Fetcher, transport.ConsumerThread, transport.Consumer, app.App)


def fingerprint(owner: type, name: str) -> str:
    """The first half of the SHA-256 of a method's source."""
    source = inspect.getsource(inspect.getattr_static(owner, name))
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def check(owner: type, name: str) -> None:
    """Fail when the method isn't the one the transport was written against."""
    method = f"{owner.__module__}.{owner.__qualname__}.{name}"
    assert hasattr(owner, name), f"gone, read streams/transport.py again: {method}"
    assert fingerprint(owner, name) == GUARDED[owner, name], (
        f"changed, compare it with what stands in for it or depends on it: {method}"
    )


def label(case: tuple[type, str]) -> str:
    return f"{case[0].__name__}.{case[1]}"


@pytest.mark.parametrize("case", GUARDED, ids=label)
def test_faust_is_as_the_transport_knows_it(case: tuple[type, str]) -> None:
    check(*case)


@pytest.mark.parametrize("case", GUARDED, ids=label)
def test_a_changed_method_is_noticed(
    case: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def changed(self: Any) -> None:
        """Another body."""

    monkeypatch.setattr(*case, changed)
    with pytest.raises(AssertionError, match="changed, compare"):
        check(*case)


@pytest.mark.parametrize("case", OVERRIDDEN, ids=label)
def test_a_method_that_is_gone_is_noticed(
    case: tuple[type, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner in case[0].__mro__:
        if case[1] in vars(owner):
            monkeypatch.delattr(owner, case[1])
    with pytest.raises(AssertionError, match="gone, read"):
        check(*case)


@pytest.mark.parametrize("ours", OURS, ids=lambda ours: ours.__name__)
def test_every_override_has_a_guard(ours: type) -> None:
    theirs = ours.__mro__[1]
    overriding = {
        name
        for name, value in vars(ours).items()
        if isinstance(value, FunctionType) and hasattr(theirs, name) and name != "__init__"
    }
    guarded = {name for owner, name in OVERRIDDEN if issubclass(ours, owner)}
    assert overriding == guarded & set(vars(ours))


@dataclass(slots=True)
class Assigned:
    """An assignment as far as a fetch asks for it."""

    tps: frozenset[str]
    paused: frozenset[str] = frozenset()

    def state_value(self, partition: str) -> SimpleNamespace:
        return SimpleNamespace(paused=partition in self.paused)


@pytest.mark.parametrize(
    ("unread", "paused", "wait_ms"),
    [
        ([], [], ALL_ASKED_MS),  # what comes to any partition ends the wait
        (["b"], [], SOME_ASKED_MS),  # once b is read it is asked for by the next fetch only
        ([], ["b"], SOME_ASKED_MS),
        (["c"], [], ALL_ASKED_MS),  # no longer ours
    ],
)
def test_a_fetch_that_leaves_out_a_partition_holds_it_up_for_moments_only(
    unread: list[str], paused: list[str], wait_ms: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []

    def theirs(self: Fetcher, assignment: Assigned) -> None:
        waits.append(self._fetch_max_wait_ms)

    monkeypatch.setattr(Fetcher, "_get_actions_per_node", theirs)
    fetcher = Fetcher.__new__(Fetcher)
    transport.Fetcher.adopt(fetcher)
    fetcher._records = dict.fromkeys(unread)
    fetcher._get_actions_per_node(Assigned(frozenset("ab"), frozenset(paused)))
    assert waits == [wait_ms]


@dataclass(frozen=True, slots=True)
class Made:
    offset: int
    value: bytes | None = None


def cut(records: Sequence[Made], **limits: int) -> list[list[int]]:
    return [[record.offset for record in part] for part in chunks(records, **limits)]


def test_chunks_end_at_the_limits_and_not_before() -> None:
    records = [Made(number, b"12345") for number in range(6)]
    assert cut(records, most=3, most_bytes=100) == [[0, 1, 2], [3, 4, 5]]
    assert cut(records, most=9, most_bytes=10) == [[0, 1], [2, 3], [4, 5]]
    assert cut(records, most=9, most_bytes=9) == [[0], [1], [2], [3], [4], [5]]
    assert cut(records, most=9, most_bytes=1) == [[0], [1], [2], [3], [4], [5]]
    assert cut([], most=3, most_bytes=10) == []


def test_a_chunk_ends_before_a_missing_offset() -> None:
    records = [Made(offset) for offset in (3, 4, 6, 7, 9)]
    assert cut(records, most=9, most_bytes=9) == [[3, 4], [6, 7], [9]]


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9)), max_size=60),
    st.integers(1, 8),
    st.integers(1, 30),
)
def test_chunks_hold_every_record_once_in_order(
    steps: list[tuple[int, int]], most: int, most_bytes: int
) -> None:
    offset, records = 0, []
    for step, length in steps:
        offset += step
        records.append(Made(offset, b"x" * length))
    parts = list(chunks(records, most=most, most_bytes=most_bytes))
    assert [record for part in parts for record in part] == records
    for part in parts:
        assert 1 <= len(part) <= most
        assert len(part) == 1 or sum(len(record.value) for record in part) <= most_bytes
        assert part[-1].offset - part[0].offset == len(part) - 1


def test_the_limits_are_those_of_the_design() -> None:
    assert (CHUNK_RECORDS, CHUNK_BYTES) == (2_000, 8 * 1024 * 1024)


def test_pauses_double_up_to_30_seconds() -> None:
    assert [round(pause, 1) for pause in islice(pauses(), 12)] == [
        0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0,
    ]  # fmt: skip
