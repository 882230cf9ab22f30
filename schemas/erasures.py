"""Erasures as they are announced: whose key is destroyed, proven by the tenant's own key."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self
from uuid import UUID, uuid5

from schemas.clock import instant, micros
from schemas.identity import EVENTS
from schemas.topics import ERASURES

RECORD = ERASURES.records[0]
_LABEL = b"wardtrail erasure 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """That one id of a person is erased, with every version of their key up to ``key_version``.

    ``key_version`` 0: none was made. What was reported up to ``erased_at`` stays dark for ever.
    """

    request_id: UUID
    tenant_id: UUID
    patient_id: UUID
    key_version: int
    erased_at: datetime

    @property
    def erasure_id(self) -> UUID:
        """Follows from request and person, so that what is announced twice is one."""
        return uuid5(EVENTS, f"{self.request_id}/erase/{self.patient_id}")

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """What a record says; ValueError or OverflowError where an id or the time is none."""
        ids = {name: UUID(said[name]) for name in ("request_id", "tenant_id", "patient_id")}
        found = cls(
            **ids, key_version=said["key_version"], erased_at=instant(said["erased_at"])
        )  # fmt: skip
        if found.key_version < 0 or UUID(said["erasure_id"]) != found.erasure_id:
            raise ValueError("the record contradicts itself")
        return found

    def record(self, identity_key: bytes) -> dict[str, Any]:
        """As it stands in the topic, with its proof."""
        return {
            "erasure_id": str(self.erasure_id), "request_id": str(self.request_id),
            "tenant_id": str(self.tenant_id), "patient_id": str(self.patient_id),
            "key_version": self.key_version, "erased_at": micros(self.erased_at),
            "proof": self.proof(identity_key),
        }  # fmt: skip

    def proof(self, identity_key: bytes) -> bytes:
        """A keyed hash of everything said, 32 bytes, under a key that follows from the tenant's.

        Whoever may write to the topic, but holds no tenant's key, can erase nobody by it.
        """
        assert len(identity_key) == 32, "an identity key has 32 bytes"
        key = hmac.digest(identity_key, _LABEL, "sha256")
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["erased_at"] = micros(self.erased_at)
        said = "/".join(f"{name}={value}" for name, value in values.items())
        return hmac.digest(key, said.encode(), "sha256")

    def proven(self, said: Mapping[str, Any], identity_key: bytes) -> bool:
        """Whether the record that this was read from was made by who has the tenant's key."""
        return hmac.compare_digest(said["proof"], self.proof(identity_key))
