"""Brings messages into the disorder of a real line: late, doubled, sent again."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ops.simulator.day import Message
from ops.simulator.scenario import seeded

_CONTROL_ID = 9  # MSH-10, counted in what the separator splits, since that itself is MSH-1


def disordered(
    messages: Sequence[Message], seed: int, *, duplicates: float = 0.0, resends: float = 0.0,
    window: int | None = None, within_patients: bool = True,
) -> tuple[Message, ...]:  # fmt: skip
    """The messages shuffled, with exact duplicates and copies under a new MSH-10 among them.

    `duplicates` and `resends` are shares of the messages, 0 to 1. `window` bounds how far one
    is carried from its place, in messages; None is a full shuffle. Without `within_patients`
    the messages under one MRN stay in order, each copy right after its original.
    """
    assert 0 <= duplicates <= 1, f"a share is from 0 to 1: {duplicates}"
    assert 0 <= resends <= 1, f"a share is from 0 to 1: {resends}"
    assert window is None or window >= 1, f"a window has a width: {window}"
    rng = seeded(seed, "disorder")
    doubled = set(rng.sample(range(len(messages)), round(duplicates * len(messages))))
    again = set(rng.sample(range(len(messages)), round(resends * len(messages))))
    copies: list[Message] = []
    for number, message in enumerate(messages):
        copies.append(message)
        if number in doubled:
            copies.append(message)
        if number in again:
            copies.append(resent(message))
    shuffled = _shuffled(copies, rng, window)
    return tuple(shuffled if within_patients else _in_turn(copies, shuffled))


def resent(message: Message) -> Message:
    """The same message under another MSH-10, as an interface engine sends it again (rule T9)."""
    control_id = f"{message.control_id}R"
    head, _, rest = message.body.partition(b"\r")
    separator = head[3:4]  # MSH-1
    fields = head.split(separator)
    assert fields[_CONTROL_ID] == message.control_id.encode(), "the control id is in MSH-10"
    fields[_CONTROL_ID] = control_id.encode()
    return replace(message, control_id=control_id, body=separator.join(fields) + b"\r" + rest)


def _shuffled(messages: Sequence[Message], rng: random.Random, window: int | None) -> list[Message]:
    if window is None:
        return rng.sample(messages, len(messages))
    places = [number + rng.random() * window for number in range(len(messages))]
    order = sorted(range(len(messages)), key=places.__getitem__)
    return [messages[number] for number in order]


def _in_turn(ordered: Iterable[Message], shuffled: Sequence[Message]) -> list[Message]:
    """The patients in the order of `shuffled`, each patient's messages in that of `ordered`."""
    waiting: dict[str, list[Message]] = {}
    for message in ordered:
        waiting.setdefault(message.mrn, []).append(message)
    turns = {mrn: iter(theirs) for mrn, theirs in waiting.items()}
    return [next(turns[message.mrn]) for message in shuffled]
