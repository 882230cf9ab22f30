"""Made-up people, each recognisable by a marker that occurs in no real name or number."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta

MARKER = "zyqorv"  # in every name, address and number, in either case; look for it in logs
_PHONE = "+999"  # a country code that is assigned to nobody
_NATIONAL_SHARE = 0.6
_ACCENTED_SHARE = 0.3
_STARTS = ("bra", "del", "fen", "gor", "hal", "jun", "kel", "lom", "mir", "nad", "pel", "rus")
_MIDDLES = ("a", "ebi", "i", "olu", "u", "ane", "iro", "eda", "omi")
_ACCENTED = ("øna", "şi", "łu", "ñe", "üra", "éli", "çi", "žo", "ða", "ωλι", "эни")
_FIRST_BIRTH = date(1928, 1, 1)
_BIRTH_DAYS = 97 * 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A patient's demographics as of one message; `national_id` is empty for some."""

    mrn: str
    national_id: str
    family: str
    given: str
    born: date
    sex: str
    street: str
    city: str
    phone: str

    @property
    def canaries(self) -> Iterator[str]:
        """The values that may stand nowhere in clear; all but the phone contain `MARKER`."""
        yield from (self.mrn, self.family, self.given, self.street, self.city, self.phone)
        if self.national_id:
            yield self.national_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Clinician:
    """A member of staff as PV1-7 names one."""

    number: str
    family: str
    given: str

    @property
    def canaries(self) -> Iterator[str]:
        """Staff are people too."""
        yield from (self.number, self.family, self.given)


def person(rng: random.Random, number: int) -> Person:
    """The `number`-th patient; MRN and national id are unique by it."""
    national = f"N{MARKER.upper()}{number * 7919 % 10_000_000:07d}"
    return Person(
        mrn=mrn(number),
        national_id=national if rng.random() < _NATIONAL_SHARE else "",
        family=_name(rng),
        given=_name(rng),
        born=_FIRST_BIRTH + timedelta(days=rng.randrange(_BIRTH_DAYS)),
        sex=rng.choice("FFFFMMMMOU"),
        street=_street(rng),
        city=_name(rng),
        phone=_phone(rng),
    )


def changed(rng: random.Random, known: Person) -> Person:
    """The same person with another name, address or phone, as an A08 reports it."""
    match rng.randrange(3):
        case 0:
            return replace(known, family=_name(rng))
        case 1:
            return replace(known, street=_street(rng), city=_name(rng))
        case _:
            return replace(known, phone=_phone(rng))


def clinician(rng: random.Random, number: int) -> Clinician:
    """The `number`-th member of staff."""
    return Clinician(number=f"D{MARKER.upper()}{number:04d}", family=_name(rng), given=_name(rng))


def stranger(rng: random.Random, number: int) -> Person:
    """Somebody who came without papers, under the `number`-th MRN, until recognised."""
    return replace(person(rng, number), national_id="")


def mrn(number: int) -> str:
    """The `number`-th MRN."""
    return f"{MARKER.upper()}{number:07d}"


def visit_number(number: int) -> str:
    """The `number`-th visit's number."""
    return f"V{MARKER.upper()}{number:08d}"


def _name(rng: random.Random) -> str:
    middle = rng.choice(_ACCENTED if rng.random() < _ACCENTED_SHARE else _MIDDLES)
    return (rng.choice(_STARTS) + middle + MARKER).capitalize()


def _street(rng: random.Random) -> str:
    # Some addresses hold a character that HL7 v2 must escape.
    house = f"{rng.randrange(1, 200)}" + (" & ½" if rng.random() < 0.1 else "")
    return f"{_name(rng)} Lane {house}"


def _phone(rng: random.Random) -> str:
    return f"{_PHONE}{rng.randrange(10**8):08d}"
