"""Who a message is about: its identifiers resolved to one patient, or a conflict and no guess."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from schemas import identity
from schemas.identity import Identifier
from sinks.aliases import UNDO, Forest, Told, forest, grow
from sinks.identities import Known, Name

# A type of identifier (table 0203, or a site's own) stands in clear: whatever else a sender put
# there isn't kept beside it.
_CODE = re.compile(r"[A-Z][A-Z0-9]{0,9}")
CREATION_TRIES = 5  # each loss of a race makes one more identifier known; then another tries


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom identifiers name: one patient, or several that they disagree on.

    ``sources`` are those whom the message names besides, as :class:`Named` has them.
    ``one_already`` says that all which the message tells of two patients was so before it.
    """

    patients: tuple[str, ...]
    sources: tuple["Person", ...] = ()
    one_already: bool = False

    @property
    def patient_id(self) -> str:
        """The one patient, or the first of those in conflict."""
        return self.patients[0]

    @property
    def conflict(self) -> bool:
        """Whether the identifiers belong to several patients."""
        return len(self.patients) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a message tells of two patients, as :class:`~sinks.aliases.Told` will have it."""

    event_id: str
    kind: str
    said_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Identifiers that name one patient, best first, as the database knows them.

    ``sources`` are named besides: who is to be another (``change``), whose the visit was.
    """

    names: tuple[Name, ...]
    types: tuple[str, ...]
    newcomer: str  # the patient's id if none of the identifiers is known
    sources: tuple["Named", ...] = ()
    change: Change | None = None

    @property
    def everyone(self) -> tuple["Named", ...]:
        """These identifiers, and the sources'."""
        return (self, *self.sources)


def hashed_name(tenant_id: str, key: bytes, identifier: Identifier) -> Name:
    """What ``patient_identifiers`` knows an identifier by; ``key`` is the tenant's identity key."""
    lookup = str(UUID(bytes=identity.lookup(key, identifier)))
    return tenant_id, identifier.authority[:200], lookup


def name(
    tenant_id: str,
    key: bytes,
    identifiers: Sequence[Identifier],
    *,
    sources: Sequence[Named] = (),
    change: Change | None = None,
) -> Named:
    """The identifiers under their keyed hashes.

    Those that a source gives up don't name the other patient, though some senders list them
    there too; unless there are no others.
    """
    hashed: dict[Name, Identifier] = {}
    for each in identifiers:
        hashed.setdefault(hashed_name(tenant_id, key, each), each)
    given_up = {each for source in sources for each in source.names}
    left = {one: each for one, each in hashed.items() if one not in given_up} or hashed
    return Named(
        names=tuple(left),
        types=tuple(each.type for each in left.values()),
        newcomer=str(identity.patient(key, next(iter(left.values())))),
        sources=tuple(sources),
        change=change,
    )


def asked(messages: Iterable[Named], known: Mapping[Name, str]) -> set[str]:
    """The patients of whom it must be known what was told of them, to resolve the messages.

    None, for most batches: only who is named together with another one, or changes.
    """
    patients: set[str] = set()
    for message in messages:
        for each in message.everyone:
            found = _found(each, known)
            if len(found) > 1 or message.sources:
                patients.update(found)
    return patients


def resolve(
    messages: Sequence[Named], known: Mapping[Name, str], told: Collection[Told] = ()
) -> tuple[list[Person], list[Known]]:
    """Resolve messages in order; return each one's person and the identifiers to make known.

    None known: a new patient by the best identifier. One patient known: that one, also where
    they are another's alias by now: their streams stay theirs. Several: their one survivor, by
    all that was ``told`` before, here or in a message further up; or the one of them who isn't
    a source's, as the message says that it is theirs (rule M1); else a conflict, and nothing is
    learned from it.
    """
    found = dict(known)
    tellings = list(told)
    grown = forest(tellings)
    people: list[Person] = []
    learned: list[Known] = []
    for message in messages:
        sources = [_person(each, found, grown, learned) for each in message.sources]
        person = _person(message, found, grown, learned, besides=sources)
        changes = [] if person.conflict else _tellings(message, person, sources)
        before = [grown.survivor(each.patient_id) for each in changes]
        after = [grown.survivor(each.into_patient_id) for each in changes]
        for each in changes:
            grown, _ = grow(grown, tellings, each)
        telling = any(each.change for each in message.sources)
        already = telling and not person.conflict and before == after
        undone = any(each.kind == UNDO for each in changes)
        people.append(replace(person, sources=tuple(sources), one_already=already and not undone))
    return people, learned


def _found(named: Named, known: Mapping[Name, str]) -> list[str]:
    """The patients whom the identifiers name, in the order of these."""
    return list(dict.fromkeys(known[each] for each in named.names if each in known))


def _person(
    named: Named,
    found: dict[Name, str],
    grown: Forest,
    learned: list[Known],
    besides: Sequence[Person] = (),
) -> Person:
    """The patient of these identifiers, who gains those that are new."""
    patients = _found(named, found)
    if len(patients) > 1:
        patients = sorted({grown.survivor(each) for each in patients})
    if len(patients) > 1:
        others = {grown.survivor(each.patient_id) for each in besides if not each.conflict}
        patients = [each for each in patients if each not in others] or patients
    if len(patients) > 1:
        return Person(patients=tuple(patients))
    patient = patients[0] if patients else named.newcomer
    for each, kind in zip(named.names, named.types, strict=True):
        if each not in found:
            found[each] = patient
            code = kind if _CODE.fullmatch(kind) else ""
            learned.append(Known(name=each, type=code, patient_id=patient))
    return Person(patients=(patient,))


def _tellings(message: Named, person: Person, sources: Sequence[Person]) -> list[Told]:
    """What the message tells of two patients; nothing where they are one and the same."""
    return [
        Told(
            event_id=source.change.event_id,
            patient_id=whose.patient_id,
            into_patient_id=person.patient_id,
            kind=source.change.kind,
            said_at=source.change.said_at,
        )
        for source, whose in zip(message.sources, sources, strict=True)
        if source.change and not whose.conflict and whose.patient_id != person.patient_id
    ]
