"""The command that shows how far every processor is behind."""

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from typing import Any, NoReturn

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ops.behind import Behind, Lag, Total
from ops.cli import shown
from ops.cli.errors import Failed
from ops.lag import Gauge
from ops.settings import Settings
from sinks.subscriptions import OUTCOMES

WATCH_SECONDS = 1.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
@click.option("--watch", is_flag=True, help="Look again every second until interrupted.")
@click.option("--totals", is_flag=True, help="Without the single partitions.")
@click.option("--max-seconds", type=float, help="Exit with 1 if a record has waited longer.")
def lag(as_json: bool, watch: bool, totals: bool, max_seconds: float | None) -> None:
    """Show how far every processor is behind.

    In records and in seconds (the age of the oldest record that waits), by partition, with its
    owner and epoch, what became of the records, and the offset committed to Kafka, which must
    equal the database's position. A partition that stands still is named with the reason.
    """
    settings = Settings.load()
    with Gauge.open(settings) as gauge:
        if not watch:
            measured = gauge.measure()
            _show(measured, as_json=as_json, totals=totals)
            _require(measured, max_seconds)
            return
        with suppress(KeyboardInterrupt):  # how a watch ends
            _watch(gauge, as_json=as_json)


def _watch(gauge: Gauge, *, as_json: bool) -> NoReturn:
    """Look every second: totals in place, or a line of JSON each time."""
    live = Live(console=shown.out(), refresh_per_second=4)
    with nullcontext() if as_json else live:
        while True:
            measured = gauge.measure()
            if as_json:
                sys.stdout.buffer.write(shown.line(report(measured)))
                sys.stdout.buffer.flush()
            else:
                live.update(Group(totals_table(measured.totals()), *_stopped(measured)))
            time.sleep(WATCH_SECONDS)


def report(measured: Lag) -> dict[str, Any]:
    """The lag as JSON has it."""
    return {
        "at": measured.at,
        "records": measured.records,
        "totals": [asdict(each) for each in measured.totals()],
        "partitions": [asdict(each) for each in measured.partitions],
    }


def totals_table(totals: Sequence[Total]) -> Table:
    """One line for each processor."""
    table = Table(box=None, pad_edge=False)
    _columns(table, "processor", "subscription")
    _columns(table, "records", "seconds", "mirrored", *OUTCOMES, right=True)
    for each in totals:
        mirrored = {True: "yes", False: "not yet", None: shown.NONE}[each.mirrored]
        table.add_row(
            each.processor,
            each.subscription,
            _records(each.records),
            _seconds(each.seconds),
            mirrored,
            *_outcomes(each.outcomes),
        )
    return table


def _show(measured: Lag, *, as_json: bool, totals: bool) -> None:
    if as_json:
        shown.json(report(measured))
        return
    if not totals:
        shown.out().print(_partitions(measured.partitions))
        shown.out().print()
    shown.out().print(totals_table(measured.totals()))
    for line in _stopped(measured):
        shown.out().print(line)


def _stopped(measured: Lag) -> list[Text]:
    """A line for each partition that stands still, with what to do about it."""
    return [
        Text(
            shown.safe(f"since {shown.moment(each.stopped.since)} UTC {each.stopped.said}"),
            style="red", overflow="fold",
        )
        for each in measured.stopped
        if each.stopped is not None
    ]  # fmt: skip


def _require(measured: Lag, max_seconds: float | None) -> None:
    """Fail where a record has waited longer, or nobody can say for how long."""
    if max_seconds is None:
        return
    late = sorted(
        {
            each.subscription
            for each in measured.partitions
            if each.seconds is None or each.seconds > max_seconds
        }
    )
    if late:
        raise Failed(f"records wait for more than {max_seconds:g} s: {', '.join(late)}")


def _partitions(partitions: Sequence[Behind]) -> Table:
    table = Table(box=None, pad_edge=False)
    _columns(table, "subscription", "topic/partition")
    _columns(
        table, "records", "seconds", "next", "committed", "position", "epoch", *OUTCOMES,
        right=True,
    )  # fmt: skip
    _columns(table, "owner")
    for each in partitions:
        table.add_row(
            each.subscription,
            f"{each.topic}/{each.partition}",
            _records(each.records),
            _seconds(each.seconds),
            _number(each.next_offset),
            _number(each.committed_offset),
            str(each.last_position),
            str(each.epoch),
            *_outcomes(each.outcomes),
            shown.plain(each.owner or "nobody"),
        )
    return table


def _columns(table: Table, *names: str, right: bool = False) -> None:
    for name in names:
        table.add_column(name, justify="right" if right else "left", no_wrap=True)


def _outcomes(outcomes: Mapping[str, int]) -> list[str]:
    return [str(outcomes.get(name, 0)) for name in OUTCOMES]


def _records(records: int) -> Text:
    return Text(str(records), style="green" if records == 0 else "yellow")


def _seconds(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds:.1f}"


def _number(number: int | None) -> str:
    return shown.NONE if number is None else str(number)
