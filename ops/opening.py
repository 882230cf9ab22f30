"""Opens the sealed fields of rows for a reader who may see them."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from ops.keys import AccessKey
from ops.route import Sealed
from producers.ports import KeysAway
from schemas import sealing
from schemas.sealing import EnvelopeInvalid, KeyMissing, Keys

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens envelopes by the tenants' keys, which ``keys`` gives or raises ``KeysAway``."""

    keys: Callable[[UUID], Keys]

    def opened(
        self, key: AccessKey, sealed: Mapping[str, Sealed], row: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The row with the values of its sealed fields, or null for who may not see them.

        An envelope that belongs elsewhere, or whose key was destroyed, is null too.
        """
        clear = {}
        for name, declared in sealed.items():
            whose = next(UUID(str(row[one])) for one in declared.whose if row[one] is not None)
            if declared.within:
                clear[name] = self._within(key, row[name], whose)
            elif row[name] is not None:
                clear[name] = self._open(key, row[name], whose, declared.field)
        return {**row, **clear}

    def _within(self, key: AccessKey, value: Any, whose: UUID) -> Any:  # noqa: ANN401  any JSON
        """The value with each envelope in it opened."""
        if isinstance(value, list):
            return [self._within(key, each, whose) for each in value]
        if isinstance(value, dict):
            return {name: self._within(key, each, whose) for name, each in value.items()}
        if not isinstance(value, str):
            return value
        try:
            envelope = sealing.untext(value)
            sealing.header(envelope)
        except EnvelopeInvalid:  # a word in clear
            return value
        return self._open(key, envelope, whose, None)

    def _open(self, key: AccessKey, stored: bytes | str, whose: UUID, field: str | None) -> object:
        if not key.phi:
            return None
        try:
            envelope = sealing.untext(stored) if isinstance(stored, str) else stored
            told = sealing.header(envelope)
            if field not in (None, told.field):
                raise EnvelopeInvalid(f"envelope belongs to another field: {field}")
            keys = self.keys(key.tenant_id)
            clear = keys.open(envelope, person=whose, record=told.record, field=told.field)
            opened: object = orjson.loads(clear)
            return opened
        except (EnvelopeInvalid, KeyMissing, KeysAway, orjson.JSONDecodeError) as trouble:
            logger.error("a sealed field stays closed: %s", type(trouble).__name__)
            return None
