"""Who a message is about: its identifiers resolved to one patient, or a conflict and no guess."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from schemas import identity
from schemas.identity import Identifier
from sinks.identities import Known, Name

CREATION_TRIES = 5  # each loss of a race makes one more identifier known; then another tries


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom a message names: one patient, or several that its identifiers disagree on."""

    patients: tuple[str, ...]

    @property
    def patient_id(self) -> str:
        """The one patient, or the first of those in conflict."""
        return self.patients[0]

    @property
    def conflict(self) -> bool:
        """Whether the identifiers belong to several patients."""
        return len(self.patients) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A message's identifiers, best first, as the database knows them."""

    names: tuple[Name, ...]
    types: tuple[str, ...]
    newcomer: str  # the patient's id if none of the identifiers is known


def name(tenant_id: str, key: bytes, identifiers: Sequence[Identifier]) -> Named:
    """The identifiers under their keyed hashes."""
    return Named(
        names=tuple(
            (tenant_id, each.authority[:200], str(UUID(bytes=identity.lookup(key, each))))
            for each in identifiers
        ),
        types=tuple(each.type for each in identifiers),
        newcomer=str(identity.patient(key, identifiers[0])),
    )


def resolve(
    messages: Sequence[Named], known: Mapping[Name, str]
) -> tuple[list[Person], list[Known]]:
    """Resolve messages in order; return each one's person and the identifiers to make known.

    None known: a new patient by the best identifier. One patient known: that one, who gains
    the others. Several: a conflict, and nothing is learned from it.
    """
    found = dict(known)
    people, learned = [], []
    for message in messages:
        patients = list(dict.fromkeys(found[each] for each in message.names if each in found))
        if len(patients) > 1:
            people.append(Person(patients=tuple(sorted(patients))))
            continue
        patient = patients[0] if patients else message.newcomer
        people.append(Person(patients=(patient,)))
        for each, kind in zip(message.names, message.types, strict=True):
            if each not in found:
                found[each] = patient
                learned.append(Known(name=each, type=kind, patient_id=patient))
    return people, learned
