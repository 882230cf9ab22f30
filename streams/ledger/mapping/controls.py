"""The tables of order controls that orders are mapped by, as data and as docs/orders.md."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from streams.ledger.mapping import repeats

MADE: Mapping[str, str] = {
    "placed": "it is to be done",
    "changed": "it is to be done as said now",
    "cancelled": "it is not to be done: its tasks are void",
    "discontinued": "it is not gone on with: its tasks are void",
    "held": "it is to wait: its tasks are pending until it is released",
    "released": "it waits no more, and is to be done",
    "stated": "it stands, and something is told of it",
}
"""What becomes of an order, each an event ``order.<name>``."""

REPLACED = "replaced"
"""Cancelled if the message goes on to place an order of another number, else changed."""

CONTROL: Mapping[str, tuple[str, str]] = {
    "NW": ("placed", "new order"),
    "RO": ("placed", "order that replaces another"),
    "CH": ("placed", "child order"),
    "PA": ("placed", "parent order"),
    "SN": ("placed", "order that asks for a number"),
    "OP": ("placed", "order for an outside dispense"),
    "XO": ("changed", "change the order"),
    "XR": ("changed", "changed as asked"),
    "XX": ("changed", "changed by the filler"),
    "PY": ("changed", "replacement for an outside dispense"),
    "RP": (REPLACED, "replace the order"),
    "RQ": (REPLACED, "replaced as asked"),
    "RU": (REPLACED, "replaced by the filler"),
    "CA": ("cancelled", "cancel the order"),
    "OC": ("cancelled", "cancelled by the filler"),
    "CR": ("cancelled", "cancelled as asked"),
    "UA": ("cancelled", "the filler can't accept it"),
    "DC": ("discontinued", "discontinue the order"),
    "OD": ("discontinued", "discontinued by the filler"),
    "DR": ("discontinued", "discontinued as asked"),
    "HD": ("held", "hold the order"),
    "OH": ("held", "held by the filler"),
    "HR": ("held", "held as asked"),
    "RL": ("released", "release from hold"),
    "OE": ("released", "released by the filler"),
    "OR": ("released", "released as asked"),
    "OK": ("stated", "accepted"),
    "NA": ("stated", "number assigned"),
    "SC": ("stated", "status changed"),
    "SR": ("stated", "answer to a question for the status"),
    "RE": ("stated", "something performed follows"),
    "RR": ("stated", "request received"),
    "CN": ("stated", "combined result"),
    "AF": ("stated", "refill approved"),
    "RF": ("stated", "refill asked for"),
    "FU": ("stated", "refilled by the filler"),
    "OF": ("stated", "refilled as asked"),
}
"""ORC-1, HL7 table 0119: what becomes of the order."""

NOTHING: Mapping[str, str] = {
    "SS": "question for a status",
    "PR": "result of before, beside a new order",
    "LI": "link to a problem or goal",
    "UN": "unlink from a problem or goal",
    "MC": "charge that is no order",
    "NR": "notice that was received",
    "DE": "data error: the request wasn't read",
    "DF": "refill denied",
    "UC": "the filler can't cancel",
    "UD": "the filler can't discontinue",
    "UF": "the filler can't refill",
    "UH": "the filler can't hold",
    "UM": "the filler can't replace",
    "UR": "the filler can't release",
    "UX": "the filler can't change",
}
"""ORC-1 that changes nothing about an order: it stands as it stood, and no event is made."""

STATUS: Mapping[str, tuple[str, str]] = {
    "CA": ("cancelled", "cancelled"),
    "RP": ("cancelled", "replaced by another order"),
    "DC": ("discontinued", "discontinued"),
    "HD": ("held", "on hold"),
    "SC": ("stated", "scheduled, in process"),
    "IP": ("stated", "in process"),
    "A": ("stated", "some results are there"),
    "CM": ("stated", "completed, says who can't prove it: an order is not an act"),
    "ER": ("stated", "error, order not found"),
}
"""ORC-5, HL7 table 0038, where ORC-1 is empty or tells no more than how the order stands."""

PRIORITY: Mapping[str, str] = {
    "S": "stat", "STAT": "stat", "A": "asap", "ASAP": "asap", "R": "routine",
    "ROUTINE": "routine", "P": "preoperative", "C": "callback", "T": "timing_critical",
    "PRN": "as_needed",
}  # fmt: skip
"""TQ1-9 (HL7 table 0485), ORC-7.6, OBR-27.6, OBR-5."""

MESSAGES: Mapping[tuple[str, str], str] = {
    ("ORM", "O01"): "service",
    ("OML", "O21"): "service",
    ("OML", "O33"): "service",
    ("OML", "O35"): "service",
    ("OML", "O39"): "service",
    ("OMG", "O19"): "service",
    ("OMI", "O23"): "service",
    ("OMP", "O09"): "pharmacy",
    ("RDE", "O11"): "pharmacy",
    ("RDE", "O25"): "pharmacy",
    ("RDE", "O01"): "pharmacy",  # v2.3's name of it
    ("RDS", "O13"): "dispense",
    ("RDS", "O01"): "dispense",  # v2.3's name of it
}
"""The messages that tell of orders, and of which kind."""

UNKNOWN = "an order control that nobody knows: ORC-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What becomes of an order: a name of ``MADE``, or nothing and why."""

    name: str | None
    reason: str = ""

    def __post_init__(self) -> None:
        assert self.name in {*MADE, REPLACED, None}, f"unknown: {self.name}"
        assert self.name or self.reason, "nothing has a reason"


def made(control: str, status: str) -> Made:
    """By ORC-1, else ORC-5; an order without either is placed by being told of.

    A control that nobody knows makes nothing: it may take the order back.
    """
    if control in NOTHING:
        return Made(name=None, reason=f"no order: {NOTHING[control]}")
    if control and control not in CONTROL:
        return Made(name=None, reason=UNKNOWN)
    name = CONTROL[control][0] if control else "placed"
    if not control or name == "stated":
        return Made(name=STATUS.get(status, (name, ""))[0])
    return Made(name=name)


_PAGE = """\
# Orders: which message becomes what, and what a task makes of it

This page is generated from the tables that the mapping runs on
(`python -m streams.ledger.mapping.controls > docs/orders.md`); a test holds it to it.

Each order of {messages} becomes one event of the order's own stream, beside the `patient.updated`
of its patient group. An order is not an act (rule V4): no event of this page ever verifies
anything, whatever its status says. What makes a task of it, see [verification.md](verification.md).

| event | says that |
|---|---|
{events}

## Order control

| ORC-1 | is | event |
|---|---|---|
{controls}

`replaced` is `order.cancelled` where a later ORC of the message places an order of another
number, else `order.changed`. These say nothing that holds of an order, and make no event:
{nothing}.
A control outside these tables makes no event either, which is the message's reason: it might take
the order back.

An empty ORC-1, or an OBR, RXO, RXE or RXD without an ORC, is an order that is placed by being
told of. Where ORC-1 is empty or makes `order.stated`, ORC-5 may say more:

| ORC-5 | is | event |
|---|---|---|
{statuses}

Any other status leaves it as it is.

## Which order it is

By the placer's number (OBR-2, else ORC-2), else by the filler's (OBR-3, else ORC-3), each with its
authority, else the feed's; results and administrations name it the same way. What has neither
number is left out, which is the message's reason. An order that is told of by both numbers says by
`filler_order_id` which one the filler's is: what was told under the filler's alone, before or
after, is of the same order. Where no message of orders names both numbers they are two orders.
Several details of one order in one message are one event with the codes of all.

## What it says

| field | from, first that is said |
|---|---|
| time of the event | ORC-15, ORC-9, MSH-7 |
| `codes` | OBR-4; RXO-1 and RXE-2, else RXD-2 |
| `starts_at`, `ends_at` | TQ1-7 and TQ1-8; ORC-7 (4, 5); OBR-27 (4, 5); RXE-1 (4, 5); OBR-6 |
| `occurrences` | TQ1-14, ORC-7.12, OBR-27.12, RXE-1.12, a duration `X6` |
| `repeats` | TQ1-3, or component 2 of ORC-7, OBR-27, RXE-1, if it is one of the patterns below |
| `interval_s` | that, if it is `Q` with a number and S, M, H, D or W |
| `due` | that with the start, as said below; times of day from TQ1-4 or its second subcomponent |
| `as_needed` | `PRN`, alone or before another pattern, or the priority PRN |
| `priority` | TQ1-9; component 6 of ORC-7, OBR-27, RXE-1; OBR-5: {priorities} |
| `provider_id` | ORC-12, OBR-16, hashed |
| sealed: `text` | the words of what is ordered, repeat patterns, instructions, notes (NTE-3), the \
provider's name |
| sealed: `number` | the numbers of placer and filler |

A start that says no more than the day begins with it, and ends with it where no end is said; an
end that says no more than the day is the end of that day. Where no end is said, a duration after
the start is it (component 3 of ORC-7, OBR-27, RXE-1: `D3`, `H12`, `W1`; TQ1-6: a number and s, min,
h, d or wk). An end that isn't after the start is none. Of an order that is timed in several parts
(TQ1, TQ1-3 or ORC-7 repeat) the first is taken, and `simple` is false.

## How often

| pattern | is |
|---|---|
{patterns}
| 5ID, 6ID ... | so many times a day, at most {times} |
| Q6H, Q30M, Q2D, Q1W ... | at that interval |
| PRN, PRNQ6H, PRNBID ... | as needed: no task waits for it |
{single}

Other text is no pattern: it is sealed, and the order is one that is done once.

A pattern of days is made a list, `due`, with the days of the feed's zone, each beginning at the
start's time of day (at midnight, where the start says no more than the day):

- Where the order names times of day (`BID&0600,1800`, or TQ1-4), these are due from the start on,
  each in the rule's window around it.
- Where it names none, the house chooses, and we don't know how. So each of a day's times may be any
  time of that day, and lies, for what is nearest to it (rule V9), at one of as many points as are
  spread evenly over the day. Two acts on a day are the two of BID, at 09:00 and 16:00 as well as
  at 08:00 and 20:00; one alone is one.
- An interval from a start that says no more than the day is read so too: `Q8H` three times a day,
  `Q2D` on every second day. From a start with a time it stays an interval, without a list.
- The list ends with the order's end or its count, whichever comes first; without both it is that
  of the first day. One of more than {most} times isn't listed: the order is due once.
"""


def markdown() -> str:
    """docs/orders.md."""
    nothing = [f"{code} ({told})" for code, told in NOTHING.items()]
    return _PAGE.format(
        messages=", ".join(f"{kind}^{trigger}" for kind, trigger in MESSAGES),
        events="\n".join(f"| `order.{name}` | {told} |" for name, told in MADE.items()),
        controls="\n".join(_row(code, told, name) for code, (name, told) in CONTROL.items()),
        statuses="\n".join(_row(code, told, name) for code, (name, told) in STATUS.items()),
        nothing=", ".join(nothing),
        patterns="\n".join(f"| {code} | {told} |" for code, (*_, told) in repeats.DAILY.items()),
        single="\n".join(f"| {code} | {told} |" for code, told in repeats.SINGLE.items()),
        times=repeats.TIMES_MAX,
        most=repeats.DUE_MAX,
        priorities=", ".join(f"{code} {name}" for code, name in PRIORITY.items()),
    )


def _row(code: str, told: str, name: str) -> str:
    event = name if name == REPLACED else f"`order.{name}`"
    return f"| {code} | {told} | {event} |"


if __name__ == "__main__":
    sys.stdout.write(markdown())
