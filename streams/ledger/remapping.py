"""Stored messages mapped anew: what a newer mapper says of them that the ledger doesn't.

What is written stands beside what was told: an event that counts no more stays, and another one
says so; nothing is rewritten. A message is compared and its events are appended in transactions of
their own, so that whoever is killed in between goes on with the next one.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any
from uuid import UUID

from schemas.clock import micros
from schemas.sealing import Keys
from schemas.topics import EVENTS, HL7V2
from sinks import joins, ledger, remapping, tenancy
from sinks.database import Database, Row, for_tenants
from sinks.numbering import Entry
from sinks.remapping import After, Name, Which, name_of
from streams import ports
from streams.ledger import differences
from streams.ledger.decide import decide
from streams.ledger.differences import WHO_IS_WHO, Differs, Readable, Told
from streams.ledger.identities import Person
from streams.ledger.mapped import Mapped
from streams.ledger.mapping.facts import Facts
from streams.ledger.mapping.hl7v2 import MAPPER_VERSION
from streams.ledger.processor import Ledger
from streams.ownership import told as knowing

PAGE_MESSAGES = 200
TRIES = 5  # each is a message that somebody changed between two looks
BODY_GONE = "its body is gone: it told of somebody who was erased"
ERASED = "it tells of somebody who was erased"
WHO = "it tells which patients or visits are one, by what was known then"
ELSEWHERE = "its visit goes on by another number, where it was told again"

logger = logging.getLogger(__name__)

People = dict[tuple[int, int], Person]


class Darkened(Exception):  # noqa: N818  named for what is wrong
    """Messages are of people who were erased: nothing is told anew of them."""

    def __init__(self, names: Iterable[Name]) -> None:
        super().__init__("messages are of people who were erased")
        self.names = frozenset(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A stored message, what it said and what it says by the mapper of this release."""

    row: Row = field(repr=False)
    told: Told = field(repr=False)
    mapped: Mapped = field(repr=False)
    differs: Differs

    @property
    def name(self) -> Name:
        """How its row is known."""
        return name_of(self.row)


@dataclass(slots=True, kw_only=True)
class Report:
    """What came of looking at messages; of nobody's data but types, names of fields, reasons."""

    looked: int = 0
    differing: int = 0
    appended: int = 0
    said: Counter[tuple[str, str]] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    some: dict[tuple[str, str], str] = field(default_factory=dict)

    def count(self, found: Iterable[Found]) -> None:
        """Take in what was found; of each difference one message is named."""
        for each in found:
            self.looked += 1
            if each.differs.left is not None:
                self.left[each.differs.left] += 1
            self.differing += each.differs.any
            for said in each.differs.said:
                self.said[said] += 1
                self.some.setdefault(said, each.name[2])


@dataclass(slots=True, kw_only=True)
class Remapping:
    """Compares messages with what they would become now, and appends what differs."""

    door: Ledger
    database: Database

    def run(
        self,
        which: Which,
        *,
        apply: bool,
        most: int | None = None,
        tell: Callable[[int], None] = lambda _looked: None,
    ) -> Report:
        """Look at the messages one page after another; with ``apply`` append what differs.

        Raises :class:`~streams.ports.Transient`, :class:`~sinks.database.DatabaseAway`.
        """
        report, after = Report(), None
        while most is None or report.looked < most:
            limit = PAGE_MESSAGES if most is None else min(PAGE_MESSAGES, most - report.looked)
            page, after = self._page(which, after, limit)
            if not page:
                break
            found = self.compare(page)
            if apply:
                found = self._settle(found, report)
            report.count(found)
            tell(report.looked)
        return report

    def compare(self, rows: Sequence[Row]) -> list[Found]:
        """What each of these messages of one tenant said, and says now. Writes nothing."""
        tenant = UUID(rows[0]["tenant_id"])
        with knowing(), self.database.transaction() as connection:
            for_tenants(connection, [str(tenant)])
            events = remapping.told(connection, rows)
        stored = [_stored(row, events[name_of(row)]) for row in rows]
        mapped = self.door.mapped(
            [
                Mapped(offset=number, key=None, value=None, message=told.message)
                for number, told in enumerate(stored)
            ]
        )
        people = _people(stored, mapped, self.door.people(mapped, learning=False))
        into = self._into(stored)
        keys = self._reading(tenant, stored, people)
        return [
            Found(row=row, told=told, mapped=one, differs=_differs(told, one, people, keys, into))
            for row, told, one in zip(rows, stored, mapped, strict=True)
        ]

    def _page(
        self, which: Which, after: After | None, limit: int
    ) -> tuple[list[Row], After | None]:
        with knowing(), self.database.transaction() as connection:
            for_tenants(connection, [str(which.tenant_id)])
            rows = remapping.page(connection, which, after, limit)
        if not rows:
            return [], after
        last = rows[-1]
        return rows, (last["recorded_at"], last["feed_id"], last["message_id"])

    def _settle(self, found: Sequence[Found], report: Report) -> list[Found]:
        """Append what differs, by the partitions that the messages came by."""
        by_place = sorted(found, key=lambda each: (each.row["topic"], each.row["partition"]))
        done: list[Found] = []
        for (topic, partition), group in groupby(
            by_place, key=lambda each: (each.row["topic"], each.row["partition"])
        ):
            waiting = list(group)
            for _ in range(TRIES):
                try:
                    ended = self._append(waiting, topic, partition, report)
                except Darkened as dark:
                    waiting = [
                        replace(one, differs=Differs(left=ERASED))
                        if one.name in dark.names
                        else one
                        for one in waiting
                    ]
                    continue
                done += [each for each in waiting if each.name in ended]
                again = [each.row for each in waiting if each.name not in ended]
                if not again:
                    break
                waiting = self.compare(self._anew(again))
                if not waiting:
                    break
            else:
                raise ports.Transient("messages change ever again while they're mapped anew")
        return done

    def _anew(self, rows: Sequence[Row]) -> list[Row]:
        """The messages as they stand by now; those that are gone went with their tenant."""
        with knowing(), self.database.transaction() as connection:
            for_tenants(connection, [rows[0]["tenant_id"]])
            found: list[Row] = []
            for row in rows:
                which = Which(
                    tenant_id=row["tenant_id"], topic=row["topic"], feed_id=row["feed_id"],
                    message_id=row["message_id"],
                )  # fmt: skip
                found += remapping.page(connection, which, None, 1)
        return found

    def _append(
        self, found: Sequence[Found], topic: str, partition: int, report: Report
    ) -> set[Name]:
        """Append in one transaction what differs; the messages that were as they were compared."""
        changed = [each for each in found if each.differs.any]
        names = [each.name for each in changed]
        batch = [replace(each.mapped, ids=each.differs.ids) for each in changed]
        people: People = {}
        if batch:
            now = self.door.people(batch)  # who is new is made known beforehand
            people = _people([each.told for each in changed], batch, now)

        with knowing():
            return self.door.through(
                batch,
                lambda entries: self._write(
                    topic, partition, found, dict(zip(names, entries, strict=True)), report
                ),
                people,
            )

    def _write(
        self,
        topic: str,
        partition: int,
        found: Sequence[Found],
        entries: Mapping[Name, Entry],
        report: Report,
    ) -> set[Name]:
        tenant = found[0].row["tenant_id"]
        events = {one.name: {row["event_id"] for row in one.told.events} for one in found}
        with self.database.transaction() as connection:
            for_tenants(connection, [tenant])
            held = remapping.hold(connection, topic, partition)
            ledger.lock_all(connection, EVENTS.name)  # before rows of messages, as batches do
            if tenancy.gone(connection, {tenant}):
                return set(events)
            as_was = remapping.still(connection, [one.row for one in found], events)
            new = [one for one in found if one.name in entries and one.name in as_was]
            written = ledger.write_down(
                connection, held, [_entry(entries[one.name], one) for one in new],
                Counter[str](), topic=EVENTS.name, line=self.door.root.line(), extra=None,
            )  # fmt: skip
            dark = {
                one.name
                for one, entry in zip(new, written, strict=True)
                if entry.message and not entry.message["body_sealed"]
            }
            if dark:
                raise Darkened(dark)
            counts = {one.name: _standing(one) for one in new}
            remapping.become(connection, held, written, counts)
            same = [one.row for one in found if one.name in as_was and one.differs.same]
            remapping.same(connection, same, MAPPER_VERSION)
        report.appended += sum(len(entry.events) for entry in written)
        return as_was

    def _into(self, stored: Sequence[Told]) -> joins.Visits:
        """As which visit each one goes on that the messages tell of."""
        streams = {
            row["stream_id"]
            for told in stored for row in told.events if row["stream_type"] == "admission"
        }  # fmt: skip
        if not streams:
            return joins.Visits({})
        with knowing(), self.database.transaction() as connection:
            for_tenants(connection, [stored[0].message["tenant_id"]])
            return joins.visits(connection, streams)

    def _reading(self, tenant: UUID, stored: Sequence[Told], people: People) -> Keys | None:
        """The tenant's keys, with those of everybody who was or is told of, to read with."""
        with knowing():
            keys = self.door.keyring.tenant(tenant)
            if keys is None:
                return None
            wanted = {UUID(row["person_id"]) for told in stored for row in told.events}
            wanted |= {UUID(each) for person in people.values() for each in person.patients[:1]}
            subjects = self.door.keyring.reading({(tenant, each) for each in wanted})
        return Readable(
            tenant_id=keys.tenant_id, data=keys.data, identity=keys.identity,
            subjects={name[1]: one for name, one in subjects.items()},
        )  # fmt: skip


def _stored(row: Row, events: Sequence[Row]) -> Told:
    """A message's row and its events, the row as the record that it was."""
    message: dict[str, Any] = {
        **{name: row[name] for name in ("tenant_id", "feed_id", "message_id", "message_type")},
        "received_at": micros(row["received_at"]),
        "body": bytes(row["body_sealed"]),
        "trace": events[0]["metadata"].get("trace") if events else None,
    }
    return Told(message, tuple(events))


def _people(
    stored: Sequence[Told], mapped: Sequence[Mapped], now: Mapping[tuple[int, int], Person]
) -> People:
    """Whom each part named, by the message's number and the part's."""
    return {
        (one.offset, number): person
        for told, one in zip(stored, mapped, strict=True)
        if one.letter is None and isinstance(one.said, Facts)
        for number, person in enumerate(
            differences.people(
                told, one.said, [now[one.offset, each] for each in range(len(one.said.parts))]
            )
        )
    }


def _differs(
    told: Told, one: Mapped, people: People, keys: Keys | None, into: joins.Visits
) -> Differs:
    if not told.message["body"]:
        return Differs(left=BODY_GONE)
    if one.letter is not None:
        return Differs(left=f"it can't be mapped now: {one.letter.cause}")
    assert keys is not None, "what was opened has its tenant's keys"
    rows = []
    if isinstance(one.said, Facts):
        assert one.feed is not None, "what was mapped has its feed"
        whom = [people[one.offset, number] for number in range(len(one.said.parts))]
        try:
            rows = decide(
                one.said, whom, told.message,
                feed=one.feed, keys=keys, mapper_version=MAPPER_VERSION,
            )  # fmt: skip
        except Exception as error:  # a fault of ours is told of this message alone
            logger.error("decide failed: %s", type(error).__name__)
            return Differs(left="it can't be mapped now: decide_failed")
    found = differences.compare(told, rows, keys, into.last)
    if any(event_type in WHO_IS_WHO for event_type, _ in found.said):
        return Differs(said=found.said, left=WHO)
    if any(into.last(row["stream_id"]) != row["stream_id"] for row in found.gone):
        return Differs(said=found.said, left=ELSEWHERE)
    return found


def _entry(entry: Entry, one: Found) -> Entry:
    """What is appended of a message: what counts no more first, then what is new."""
    if entry.letter is not None:
        raise ledger.unfit(entry.letter)
    new = set(one.differs.ids.values())
    rows: list[Mapping[str, Any]] = [
        differences.marker(row, MAPPER_VERSION) for row in one.differs.gone
    ]
    rows += [row for row in entry.events if row["event_id"] in new]
    return replace(entry, events=rows, stands=True)


def _standing(one: Found) -> int:
    return len(list(one.told.standing)) - len(one.differs.gone) + len(one.differs.ids)


def which_of(tenant_id: UUID, *, everything: bool, **more: Any) -> Which:  # noqa: ANN401
    """The messages of feeds that an older mapper read; or all of them."""
    below = None if everything else MAPPER_VERSION
    return Which(tenant_id=tenant_id, topic=HL7V2.name, below=below, **more)


def counted(report: Report) -> Iterator[tuple[str, str, int, str]]:
    """The differences, the most frequent of each event type first: type, what, how many, one."""
    for (event_type, what), count in sorted(
        report.said.items(), key=lambda each: (each[0][0], -each[1], each[0][1])
    ):
        yield event_type, what, count, report.some[event_type, what]
