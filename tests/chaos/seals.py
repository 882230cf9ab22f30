"""Envelopes moved to other rows, fields, people and tenants, or changed in a byte: none opens."""

import random
from dataclasses import dataclass
from uuid import UUID

from schemas.sealing import EnvelopeInvalid, Key, KeyMissing, Keys, Scope, Subject

TENANTS, PEOPLE, RECORDS = 3, 12, 4
FIELDS = ("demographics", "visit_number", "note")
ROUND = 10_000  # between two looks at the clock

Row = tuple[UUID, UUID | None, UUID, str]  # tenant, person, record, field


class Unsealed(Exception):  # noqa: N818  named for what is wrong
    """An envelope opened where, or as, it must not."""


@dataclass(slots=True)
class Tried:
    """How many moved and changed envelopes stayed closed."""

    swaps: int = 0
    flips: int = 0


class Ward:
    """Rows of several tenants and people with their envelopes, and the keys that open them."""

    def __init__(self, seed: object) -> None:
        self.rng = random.Random(f"seals/{seed}")
        self.keys = {UUID(int=number): self._keys(number) for number in range(1, TENANTS + 1)}
        self.rows: list[tuple[Row, bytes, bytes]] = []
        for tenant, keys in self.keys.items():
            for person in (None, *keys.subjects):
                for record in range(RECORDS):
                    for field in FIELDS:
                        row = (tenant, person, UUID(int=0x4EC0 + record), field)
                        clear = self.rng.randbytes(self.rng.randrange(40))
                        self.rows.append((row, clear, seal(keys, row, clear)))

    def _keys(self, tenant: int) -> Keys:
        def key(scope: Scope, version: int = 1) -> Key:
            return Key.of(self.rng.randbytes(32), version=version, scope=scope)

        # The same people's ids in each tenant: only their keys and tenants differ.
        return Keys(
            tenant_id=UUID(int=tenant), identity=self.rng.randbytes(32),
            data={version: key(Scope.TENANT, version) for version in (1, 2)},
            subjects={
                UUID(int=0xA000 + person): Subject(
                    keys={version: key(Scope.PERSON, version) for version in (1, 2)},
                    known_now=True,
                )
                for person in range(PEOPLE)
            },
        )  # fmt: skip

    def swap(self) -> None:
        """An envelope in another one's place."""
        (row, _, _), (other, _, envelope) = self.rng.sample(self.rows, 2)
        self._stays_closed(row, envelope, f"of {other} in the place of {row}")

    def flip(self, place: int | None = None) -> None:
        """An envelope with another byte somewhere."""
        row, _, envelope = self.rng.choice(self.rows)
        place = self.rng.randrange(len(envelope)) if place is None else place
        changed = bytearray(envelope)
        changed[place] ^= self.rng.randrange(1, 256)
        self._stays_closed(row, bytes(changed), f"with another byte at {place}")

    def sound(self) -> None:
        """What nobody touched opens."""
        for row, clear, envelope in self.rows:
            if unseal(self.keys[row[0]], row, envelope) != clear:
                raise Unsealed(f"something else was sealed: {row}")

    def _stays_closed(self, row: Row, envelope: bytes, said: str) -> None:
        try:
            unseal(self.keys[row[0]], row, envelope)
        except (EnvelopeInvalid, KeyMissing):
            return
        raise Unsealed(f"an envelope opened, {said}")


def seal(keys: Keys, row: Row, clear: bytes) -> bytes:
    """An envelope for a row."""
    _, person, record, field = row
    return keys.seal(clear, person=person, record=record, field=field)


def unseal(keys: Keys, row: Row, envelope: bytes) -> bytes:
    """What a row's envelope holds."""
    _, person, record, field = row
    return keys.open(envelope, person=person, record=record, field=field)


def play(seed: object, tried: Tried, *, tries: int = ROUND) -> None:
    """As many swaps and flips, half of each; :class:`Unsealed` ends it."""
    ward = Ward(seed)
    ward.sound()
    for _ in range(tries // 2):
        ward.swap()
        tried.swaps += 1
        ward.flip()
        tried.flips += 1
