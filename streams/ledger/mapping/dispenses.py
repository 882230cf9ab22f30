"""Dispenses (RDS): what was handed out, when and how much; an order's own event stands beside."""

from streams.ledger.mapping import evidence, orders, records, values
from streams.ledger.mapping.evidence import Numbered, Order, Reading, Telling
from streams.ledger.mapping.triggers import TRIGGERS

_NAMES_NOTHING = "a dispense of nothing: RXD-2 is empty"
_ORDERS = orders.teller("dispense")


def tell(reading: Reading, segments: tuple[Numbered, ...]) -> Telling:
    """What is told of the orders of one patient group, and each RXD under its ORC."""
    yield from _ORDERS(reading, segments)
    control: Numbered | None = None
    for each in segments:
        if each.name == "ORC":
            control = each
        elif each.name == "RXD":
            yield from _dispensed(reading, control, each)


def _dispensed(reading: Reading, control: Numbered | None, each: Numbered) -> Telling:
    segment = each.segment
    word, codes = evidence.named(reading, segment, 2)
    if not word:
        yield _NAMES_NOTHING
        return
    told: Order = evidence.order(reading, control.segment if control else None, what=(word, codes))
    at = evidence.clinical(reading, [segment.component(3)])
    staff, called = records.people(reading, segment, 10)
    text = {
        "what": records.words(reading, segment, 2),
        "notes": [note for note in [reading.message.said(segment.field(9))] if note],
        "people": called,
    }
    yield records.draft(
        reading, TRIGGERS["RDS", reading.trigger].event_type,
        ordinal=each.ordinal, role="rxd",
        occurred=reading.occurred([("RXD-3", segment.component(3))]),
        stream=evidence.stream(
            reading, "dispense", told, (word, *at, segment.component(1)), [segment.component(3)]
        ),
        data={
            "codes": [one.data for one in codes],
            "amount": values.number(segment.component(4)),
            "unit": values.measured(reading.message, segment, 5),
            "order_id": None, "staff_ids": [],
        },
        clear={
            "number": records.numbers(
                placer=told.placer, filler=told.filler, prescription=reading.number(segment, 7)
            ),
            "text": {name: said for name, said in text.items() if said},
        },
        order=told.number, staff=staff,
    )  # fmt: skip
