"""Opens the sealed fields of rows for a reader who may see them, a page of rows at a time."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import orjson

from ops.keys import AccessKey
from ops.route import Sealed
from producers.ports import KeysAway
from schemas import sealing
from schemas.sealing import (
    EnvelopeInvalid,
    KeyDestroyed,
    KeyMissing,
    Keys,
    KeyServiceAway,
    KeysWanted,
    Subject,
)

logger = logging.getLogger(__name__)


class People(Protocol):
    """Gives people's keys, of many at once; :meth:`sinks.keyring.Keyring.reading` does."""

    def __call__(
        self, wanted: Collection[tuple[UUID, UUID]], *, anew: bool = False
    ) -> Mapping[tuple[UUID, UUID], Subject]:
        """The keys by tenant and person; ``anew``: as they are at this moment."""


def nobodys(
    wanted: Collection[tuple[UUID, UUID]],  # noqa: ARG001  as People has it
    *,
    anew: bool = False,  # noqa: ARG001  as People has it
) -> Mapping[tuple[UUID, UUID], Subject]:
    """No keys but the tenants': a :class:`People`."""
    return {}


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens envelopes by the tenants' keys, which ``keys`` gives or raises ``KeysAway``.

    ``people`` gives the keys of those whom rows are about.
    """

    keys: Callable[[UUID], Keys]
    people: People = nobodys

    def opened(
        self, key: AccessKey, sealed: Mapping[str, Sealed], row: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The row with the values of its sealed fields, or null for who may not see them.

        An envelope that belongs elsewhere, or whose key was destroyed, is null too.
        """
        return self.page(key, sealed, [row])[0]

    def page(
        self, key: AccessKey, sealed: Mapping[str, Sealed], rows: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """As :meth:`opened`, for rows whose people's keys are asked for together."""
        about = {_whose(each, row) for row in rows for each in sealed.values()}
        opening = _Opening(self._held(key, about) if key.phi else None, self.people)
        return [opening.row(sealed, row) for row in rows]

    def _held(self, key: AccessKey, about: Iterable[UUID]) -> Keys | None:
        """The tenant's keys and these people's; None where they aren't to be had now."""
        try:
            keys = self.keys(key.tenant_id).apart()
            found = self.people([(key.tenant_id, each) for each in about])
        except (KeysAway, KeyMissing, EnvelopeInvalid, KeyServiceAway) as trouble:
            logger.error("sealed fields stay closed: %s", type(trouble).__name__)
            return None
        keys.subjects.update({name[1]: subject for name, subject in found.items()})
        return keys


def _whose(declared: Sealed, row: Mapping[str, Any]) -> UUID:
    return next(UUID(str(row[one])) for one in declared.whose if row[one] is not None)


@dataclass(frozen=True, slots=True)
class _Opening:
    """Opens one page by the keys that were asked for; without any it opens nothing."""

    keys: Keys | None
    people: People

    def row(self, sealed: Mapping[str, Sealed], row: Mapping[str, Any]) -> dict[str, Any]:
        clear = {}
        for name, declared in sealed.items():
            whose = _whose(declared, row)
            if declared.within:
                clear[name] = self._within(row[name], whose)
            elif row[name] is not None:
                clear[name] = self._open(row[name], whose, declared.field)
        return {**row, **clear}

    def _within(self, value: Any, whose: UUID) -> Any:  # noqa: ANN401  any JSON
        """The value with each envelope in it opened."""
        if isinstance(value, list):
            return [self._within(each, whose) for each in value]
        if isinstance(value, dict):
            return {name: self._within(each, whose) for name, each in value.items()}
        if not isinstance(value, str):
            return value
        try:
            envelope = sealing.untext(value)
            sealing.header(envelope)
        except EnvelopeInvalid:  # a word in clear
            return value
        return self._open(envelope, whose, None)

    def _open(self, stored: bytes | str, whose: UUID, field: str | None) -> object:
        if self.keys is None:
            return None
        try:
            envelope = sealing.untext(stored) if isinstance(stored, str) else stored
            told = sealing.header(envelope)
            if field not in (None, told.field):
                raise EnvelopeInvalid(f"envelope belongs to another field: {field}")
            opened: object = orjson.loads(self._clear(self.keys, envelope, whose, told))
            return opened
        except KeyDestroyed:
            logger.info("a sealed field stays closed: its person was erased")
        except (EnvelopeInvalid, KeyMissing, KeyServiceAway, orjson.JSONDecodeError) as trouble:
            logger.error("a sealed field stays closed: %s", type(trouble).__name__)
        return None

    def _clear(self, keys: Keys, envelope: bytes, whose: UUID, told: sealing.Header) -> bytes:
        """What is sealed; a version that isn't held may be younger than what is."""
        try:
            return keys.open(envelope, person=whose, record=told.record, field=told.field)
        except KeysWanted as wanted:
            found = self.people(wanted.people, anew=True)
            keys.subjects.update({name[1]: subject for name, subject in found.items()})
        return keys.open(envelope, person=whose, record=told.record, field=told.field)
