"""A place as PV1-3 names it: HL7's person location (PL), taken apart."""

from dataclasses import dataclass

NULL = '""'
_CARET = "\\S\\"  # how a component that holds a caret is written in a place's text


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The components PL.1 to PL.9 (HL7 v2.8, 2.A.53) and what comes after; empty if not given.

    Each is the component's text without surrounding white space. An ``&`` in one may part
    sub-components or belong to a name such as ``A&E``: real feeds do both and nothing tells
    them apart, so it stays.
    """

    point_of_care: str = ""
    room: str = ""
    bed: str = ""
    facility: str = ""
    status: str = ""
    person_location_type: str = ""
    building: str = ""
    floor: str = ""
    description: str = ""
    further: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Read a place's text: components with ``^`` between, as events carry it.

        A component that is HL7's null (``""``) is as empty as one that isn't there. Any text
        is a place; a free-text one has only a point of care.
        """
        parts = [_component(part) for part in text.split("^")]
        parts += [""] * (9 - len(parts))
        return cls(
            point_of_care=parts[0], room=parts[1], bed=parts[2], facility=parts[3],
            status=parts[4], person_location_type=parts[5], building=parts[6],
            floor=parts[7], description=parts[8], further=tuple(parts[9:]),
        )  # fmt: skip

    @property
    def identity(self) -> tuple[str, str, str, str, str, str]:
        """What makes it this place and no other (rule T20); a bed alone is not unique."""
        return (
            self.facility, self.building, self.floor,
            self.point_of_care, self.room, self.bed,
        )  # fmt: skip

    @property
    def known(self) -> bool:
        """Whether anything of the identity is given."""
        return any(self.identity)


def _component(part: str) -> str:
    """One component's text."""
    plain = part.strip()
    return "" if plain == NULL else plain.replace(_CARET, "^")
