"""The ledger's processor: raw messages in, numbered events out, each message once."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from schemas import sealing
from schemas.clock import instant
from schemas.codec import Codec, Undecodable
from schemas.feeds import Feed
from schemas.sealing import EnvelopeInvalid, KeyMissing, Keys, KeyService, KeysWanted, Subject
from schemas.topics import COMMANDS, ERASURES, EVENTS, HL7V2
from sinks import aggregates, aliases, ledger, outcomes, parking, subscriptions, tenancy
from sinks import identities as identity_rows
from sinks.breaker import BreakerOpen
from sinks.darkening import KeysStale
from sinks.database import Database, for_tenants
from sinks.keyring import HELD_SECONDS, Keyring
from sinks.numbering import Entry
from sinks.subject_keys import Name
from sinks.subscriptions import Held
from sinks.waiting import Freed
from streams import ports
from streams.ledger import identities, touching
from streams.ledger.commands.reading import Reading
from streams.ledger.decide import said_at, whose
from streams.ledger.erasing import Erasing
from streams.ledger.mapped import Mapped, entry_of, failed, letter_of, naming
from streams.ledger.mapping.facts import Facts, Unmappable
from streams.ledger.mapping.hl7v2 import map_message
from streams.ledger.releasing import Releasing
from streams.ownership import Ownership, told

KEY_TRIES = 5  # each finds more people whose keys a chunk needs, and is then done again
FREED_TRIES = 5  # each is a release that somebody asked for, and that ended between two looks
RAW = HL7V2.records[0]
Written = TypeVar("Written")

Asked = tuple[Name, datetime | None]
"""A person whose key is needed, and when that was said which is to be sealed by it."""

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Turns ``emr.hl7v2.v1``, ``app.commands.v1`` and ``subject.erasures.v1`` into ``events``.

    A :class:`~streams.ports.Processor`; the topics' partitions of a number go together.
    """

    database: Database
    ownership: Ownership
    codec: Codec
    root: KeyService
    name: str = "ledger"
    topics: tuple[str, ...] = (HL7V2.name, COMMANDS.name, ERASURES.name)
    held_seconds: float = HELD_SECONDS
    keyring: Keyring = field(init=False)
    commands: Reading = field(init=False)
    erasures: Erasing = field(init=False)

    def __post_init__(self) -> None:
        self.keyring = Keyring(self.database, self.root, held_seconds=self.held_seconds)
        self.commands = Reading(codec=self.codec, keys_of=self._keys_of)
        self.erasures = Erasing(codec=self.codec, keys_of=self._keys_of)

    def take(
        self, partitions: Sequence[ports.Partition], *, generation: int
    ) -> Mapping[ports.Partition, int]:
        """See :class:`~streams.ports.Processor`."""
        return self.ownership.take(partitions, generation=generation)

    def skip(self, topic: str, partition: int, *, upto: int) -> int:
        """See :class:`~streams.ports.Processor`."""
        return self.ownership.skip(topic, partition, upto=upto)

    def prepare(
        self, topic: str, partition: int, records: Sequence[ports.Record]
    ) -> list[Mapped] | list[Entry]:
        """Decode, open and map a chunk; runs while the one before it is written."""
        if topic == COMMANDS.name:
            return self.commands.entries(records)
        if topic == ERASURES.name:
            return self.erasures.entries(records)
        with told():
            return self.mapped([self._read(record) for record in records])

    def mapped(self, read: Sequence[Mapped]) -> list[Mapped]:
        """What messages say that were read: opened and mapped by what is known now."""
        with told():
            tenants = {str(each.message["tenant_id"]) for each in read if each.message}
            feeds = self._feeds(tenants)
            keys = {tenant: _apart(self._tenant_keys(UUID(tenant))) for tenant in tenants}
        return [self._map(each, feeds, keys) for each in read]

    def apply(self, topic: str, partition: int, batch: Sequence[Mapped | Entry]) -> int:
        """Append a chunk in one transaction; return the next offset."""
        try:
            with self.ownership.holding(self.name, topic, partition) as held:
                return self._append(held, batch)
        except BreakerOpen as stopped:  # it closes when letters are retried or discarded
            logger.error("%s", stopped)
            raise ports.Transient(str(stopped)) from stopped

    def _append(self, held: Held, batch: Sequence[Mapped | Entry]) -> int:
        for _ in range(FREED_TRIES):
            try:
                return self.through(
                    self._waiting(held, batch),
                    lambda entries: ledger.append(
                        self.database, held, entries, topic=EVENTS.name, line=self.root.line()
                    ),
                )
            except Freed as freed:  # a release came between
                logger.info("%s", freed)
        raise ports.Transient("releases come between ever again; again")

    def through(
        self,
        batch: Sequence[Mapped | Entry],
        write: Callable[[list[Entry]], Written],
        people: Mapping[tuple[int, int], identities.Person] | None = None,
    ) -> Written:
        """Have a batch written, as often as it takes to know the keys that it needs.

        ``people`` are whom its parts name, where that is known already.
        """
        mapped = [each for each in batch if isinstance(each, Mapped)]
        people = self.people(mapped) if people is None else people
        entries = self._entries(batch, mapped, people)
        for _ in range(KEY_TRIES):
            try:
                return write(entries)
            except KeysWanted as more:  # of whom only the streams' own events tell
                _learn(batch, self._sealing(more.people, anew=True), again=True)
            except KeysStale as gone:  # of whom was erased within the minute
                self.keyring.forget(gone.people)
                entries = self._entries(batch, mapped, people)
        raise ports.Transient("a chunk names ever more people whose keys it needs; again")

    def _waiting(self, held: Held, batch: Sequence[Mapped | Entry]) -> Sequence[Mapped | Entry]:
        """The batch, with letters for those that wait behind what is parked, here or before.

        Looked at before identities are resolved: what waits makes nobody known. Messages of a
        deleted tenant are bare, before anything is created for them.
        """
        batch, parked = self._of_the_living(held, batch)
        mapped = [each for each in batch if isinstance(each, Mapped)]
        if not parked and all(each.letter is None for each in mapped):
            return batch
        known = identity_rows.find(
            self.database, [name for each in mapped for name in touching.names(each)]
        )
        tenants = {each.message["tenant_id"] for each in mapped if each.message}
        told = aliases.told(self.database, tenants, set(known.values()))
        keys = touching.keys(mapped, known, told)
        with self.database.transaction() as connection:
            for_tenants(connection, tenants)
            stuck = parking.blocked(connection, held, {key for of in keys.values() for key in of})
            names = [name for each in mapped if (name := each.known_as())]
            passed = outcomes.known(connection, names)
        letters = touching.waiting(mapped, keys, stuck, passed)
        return [
            replace(each, letter=letters[each.offset])
            if isinstance(each, Mapped) and each.offset in letters
            else each
            for each in batch
        ]

    @property
    def names(self) -> tuple[str, ...]:
        """The subscriptions whose dead letters are ours."""
        return (self.name,)

    def releasing(self, held: Held) -> Releasing:
        """What is done with the ledger's dead letters of a partition when they are released."""
        return Releasing(door=self, held=held)

    def _entries(
        self,
        batch: Sequence[Mapped | Entry],
        mapped: Sequence[Mapped],
        people: Mapping[tuple[int, int], identities.Person],
    ) -> list[Entry]:
        """What a chunk becomes by people's keys as they are at hand."""
        _learn(batch, self._found(_whose(mapped, people) + self._asking(batch)), again=False)
        return [
            entry_of(each, people, touching.touches) if isinstance(each, Mapped) else each
            for each in batch
        ]

    def _read(self, record: ports.Record) -> Mapped:
        read = Mapped(offset=record.offset, key=record.key, value=record.value)
        try:
            message = self.codec.decode_as(RAW, record.value or b"")
            for each in ("tenant_id", "feed_id", "message_id"):
                if str(UUID(message[each])) != message[each]:
                    raise ValueError("the same id written otherwise would be another one")
            instant(message["received_at"])
        except (Undecodable, ValueError, OverflowError) as error:
            reason = str(error) if isinstance(error, Undecodable) else "an id or a time is none"
            return replace(read, letter=letter_of(read, "decode", "undecodable", reason))
        return replace(read, message=message)

    def _feeds(self, tenants: set[str]) -> dict[UUID, Feed]:
        """The feeds as they are set now: a changed time zone holds from the next batch on."""
        with self.database.transaction() as connection:
            listed = tenancy.feeds(connection, tenants)
        return {each.feed.feed_id: each.feed for each in listed}

    def _tenant_keys(self, tenant: UUID) -> Keys | None:
        return self.keyring.tenant(tenant)

    def _keys_of(self, tenant: UUID, fresh: bool) -> Keys | None:
        """The tenant's keys, asked for again if they are to be ``fresh``."""
        with told():
            return self.keyring.tenant(tenant, fresh=True) if fresh else self._tenant_keys(tenant)

    def _map(
        self, read: Mapped, feeds: Mapping[UUID, Feed], keys: dict[str, Keys | None]
    ) -> Mapped:
        message = read.message
        if message is None:
            return read
        feed = feeds.get(UUID(message["feed_id"]))
        try:
            if feed is None or str(feed.tenant_id) != message["tenant_id"]:
                raise Unclaimed("no feed of this tenant has this id (see: wardtrail feeds list)")
            if feed.fault is not None:  # it may be mended; what was sent by it waits
                raise ports.Transient(f"a feed can't be read: {feed.fault}")
            read = replace(read, feed=feed)
            body, opened = self._open(message, keys)
            read = replace(read, keys=opened, body=body)
            said = map_message(body, feed, received_at=instant(message["received_at"]))
        except Unclaimed as error:
            return replace(read, letter=letter_of(read, "map", "feed_unknown", str(error)))
        except (EnvelopeInvalid, KeyMissing) as error:
            return replace(read, letter=letter_of(read, "open", "sealed", str(error)))
        except Unmappable as error:
            return replace(read, letter=letter_of(read, "map", error.cause, error.reason))
        except (ports.Transient, ports.Broken):
            raise
        except Exception as error:  # a fault of ours stops this message, not its partition
            return replace(read, letter=failed(read, "map", "mapper", error))
        return naming(replace(read, said=said))

    def _open(self, message: Mapping[str, Any], held: dict[str, Keys | None]) -> tuple[bytes, Keys]:
        """The message's bytes, and the keys that opened it, of those of the chunk's tenants.

        A key that isn't at hand may be younger than what we hold. It is in its row before any
        message is sealed by it, so one that isn't there now was destroyed, or never was:
        :class:`~schemas.sealing.KeyMissing`.
        """
        tenant = message["tenant_id"]
        keys, version = held[tenant], sealing.header(message["body"]).key_version
        if keys is None or version not in keys.data:
            with told():
                keys = held[tenant] = _apart(self.keyring.tenant(UUID(tenant), fresh=True))
        if keys is None:
            raise KeyMissing("the tenant has no keys")
        record = UUID(message["message_id"])
        return keys.open(message["body"], person=None, record=record, field="body"), keys

    def _of_the_living(
        self, held: Held, batch: Sequence[Mapped | Entry]
    ) -> tuple[Sequence[Mapped | Entry], bool]:
        """The batch, messages of a deleted tenant bare; whether anything is parked before it."""
        tenants = {
            each.message["tenant_id"]
            for each in batch
            if isinstance(each, Mapped) and each.message is not None
        }
        with self.database.transaction() as connection:
            gone = tenancy.gone(connection, tenants)
            parked = subscriptions.parked_keys(connection, held) > 0
        if gone:
            batch = [
                Entry(offset=each.offset)
                if isinstance(each, Mapped) and each.message and each.message["tenant_id"] in gone
                else each
                for each in batch
            ]
        return batch, parked

    def people(
        self, batch: Sequence[Mapped], *, learning: bool = True
    ) -> dict[tuple[int, int], identities.Person]:
        """Whom each part of a message names, by offset and the part's number.

        Identifiers that are new are made known beforehand, unless nothing is to be learned. What
        was told of patients is asked for only where a message names several, or makes one of two.
        """
        parts = {
            (each.offset, number): part
            for each in batch
            if each.letter is None or each.letter.state == "dead"
            for number, part in enumerate(each.named)
        }
        everyone = [one for part in parts.values() for one in part.everyone]
        known = identity_rows.find(self.database, [name for one in everyone for name in one.names])
        told: Sequence[aliases.Told] = ()
        asked: set[str] = set()
        for _ in range(identities.CREATION_TRIES):
            wanted = identities.asked(parts.values(), known)
            if not wanted <= asked:
                tenants = {name[0] for one in everyone for name in one.names}
                told, asked = aliases.told(self.database, tenants, wanted), wanted
            people, learned = identities.resolve(list(parts.values()), known, told)
            if not (learned and learning):
                return dict(zip(parts, people, strict=True))
            known = {**known, **identity_rows.create(self.database, learned)}
        raise ports.Transient("others make the same identifiers known; again")

    def _sealing(self, wanted: Collection[Name], *, anew: bool = False) -> dict[Name, Subject]:
        """People's keys; where their tenant lost its own since, it is deleted at this moment."""
        try:
            return self.keyring.sealing(wanted, anew=anew)
        except KeyMissing as lost:
            raise ports.Transient(str(lost)) from lost

    def _found(self, asked: Sequence["Asked"]) -> dict[Name, Subject]:
        """People's keys, anew for those of whom something was said after they were erased.

        Only where their tenant wants that: else they stay dark.
        """
        found = self._sealing({name for name, _ in asked})
        later: dict[Name, datetime] = {}
        for name, at in asked:
            if at is not None and found[name].destroyed and at > max(found[name].erased.values()):
                later[name] = max(at, later.get(name, at))
        if later:
            with told(), self.database.transaction() as connection:
                anew = tenancy.anew(connection, {name[0] for name in later})
            later = {name: at for name, at in later.items() if name[0] in anew}
        if later:
            with told():
                found |= self.keyring.after_erasure(later)
        return found

    def _asking(self, batch: Sequence[Mapped | Entry]) -> list["Asked"]:
        """The people whose keys commands will need, as far as is known before they're decided.

        Each with when it was asked: who was erased comes anew by what was asked of them later.
        """
        asked = {
            id(each.command): (each.command, each.said_at)
            for each in batch
            if isinstance(each, Entry) and each.command
        }
        if not asked:
            return []
        named = aggregates.people(self.database, [command for command, _ in asked.values()])
        return [(one, asked[id(command)][1]) for command, one in named]


class Unclaimed(Exception):  # noqa: N818  named for what is wrong
    """A message of no feed that we know."""


def _apart(keys: Keys | None) -> Keys | None:
    return None if keys is None else keys.apart()


def _whose(
    batch: Iterable[Mapped], people: Mapping[tuple[int, int], identities.Person]
) -> list[Asked]:
    """The people whose keys are needed to seal what messages say, and when each said it."""
    wanted: list[Asked] = []
    for each in batch:
        if each.letter is not None or not isinstance(each.said, Facts) or each.keys is None:
            continue
        named = [people[each.offset, number] for number in range(len(each.said.parts))]
        # What fails here fails again where it becomes a dead letter.
        with suppress(Exception):
            at, tenant = said_at(each.said), each.keys.tenant_id
            wanted += [((tenant, one), at) for one in whose(each.said, named)]
    return wanted


def _learn(batch: Iterable[Mapped | Entry], found: Mapping[Name, Subject], *, again: bool) -> None:
    """Give the chunk's keys those of people; what they knew is forgotten, unless ``again``."""
    chunk = {id(each.keys): each.keys for each in batch if each.keys is not None}
    for keys in chunk.values():
        if not again:
            keys.subjects.clear()
        of_tenant = {name[1]: one for name, one in found.items() if name[0] == keys.tenant_id}
        keys.subjects.update(of_tenant)
