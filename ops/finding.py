"""Finding patients over HTTP, by what would be a patient's data in a URL: asked in the body."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from ops.parameters import Given, Misasked
from ops.route import Answer, Body, Route, Sealed
from schemas import identity, lookups
from schemas.identity import Identifier
from schemas.lookups import NAME_CHARACTERS_MAX, PREFIX_MAX, PREFIX_MIN, Unsearchable
from schemas.sealing import Keys
from sinks import lookups as patients
from sinks.lookups import FOUND_MAX, Patient, Sought
from sinks.queries import Snapshot
from streams.read_models import PATIENTS

VALUE_CHARACTERS_MAX = 250  # HL7's longest identifier
AUTHORITY_CHARACTERS_MAX = 200  # as the table holds it
SEALED: Mapping[str, Sealed] = {
    "demographics": Sealed(field="demographics", whose=("id",)),
}
_SAID = "a patient is sought by name, name_prefix, birth_date or mrn"
_ASKED = frozenset({"name", "name_prefix", "birth_date", "mrn"})
_MRN = frozenset({"value", "authority"})
_TOKENS = {
    "name": lookups.named,
    "name_prefix": lookups.beginning,
    "birth_date": lookups.born,
}


def read(value: object, keys: Keys) -> Given:
    """Whom a body asks for, as tokens of the asker's tenant: ``sought``.

    Raises :class:`~ops.parameters.Misasked`, which repeats nothing of it.
    """
    if not isinstance(value, dict) or not value.keys() <= _ASKED or not value:
        raise Misasked("the body can't be read", f"{_SAID}, all that is given together")
    tokens: list[str] = []
    for name, made in _TOKENS.items():
        if name in value:
            try:
                tokens += made(keys.identity, _text(value, name, NAME_CHARACTERS_MAX))
            except Unsearchable as why:
                raise Misasked(f"an element can't be sought: {name}", str(why)) from None
    return {"sought": Sought(tokens=tokens, **_identifier(value, keys))}


def _identifier(value: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    mrn = value.get("mrn")
    if "mrn" not in value:
        return {}
    if not isinstance(mrn, dict) or not mrn.keys() <= _MRN or "value" not in mrn:
        raise Misasked("an element can't be read: mrn", "its value, and authority if need be")
    number = _text(mrn, "value", VALUE_CHARACTERS_MAX)
    authority = None
    if "authority" in mrn:
        authority = _text(mrn, "authority", AUTHORITY_CHARACTERS_MAX)
    hashed = identity.lookup(keys.identity, Identifier(value=number, authority=authority or ""))
    return {"value_hmac": UUID(bytes=hashed), "authority": authority}


def _text(value: Mapping[str, Any], name: str, most: int) -> str:
    text = value[name]
    if not isinstance(text, str) or not 1 <= len(text) <= most or not _storable(text):
        raise Misasked(f"an element can't be read: {name}", f"a text of 1 to {most} characters")
    return text


def _storable(text: str) -> bool:
    """Whether a database takes it: neither a NUL nor half a character."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _search(_: object, snapshot: Snapshot, given: Given) -> Answer:
    found, more = patients.find(snapshot, given["sought"])
    return {"patients": found, "cut": more}


def _string(most: int, about: str) -> dict[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": most, "description": about}


ROUTES = (
    Route(
        path="/patients/search", operation="search_patients", answer=_search,
        about="The patients who are all that is said, as they are now; at most fifty.",
        rows={"patients": Patient}, sealed={"patients": SEALED}, projections=(PATIENTS.name,),
        more={"cut": {"type": "boolean", "description": f"Whether more than {FOUND_MAX} are."}},
        body=Body(
            read=read,
            schema={
                "type": "object", "additionalProperties": False, "minProperties": 1,
                "properties": {
                    "name": _string(
                        NAME_CHARACTERS_MAX,
                        "Whole words of a name in any order; case, accents and punctuation don't"
                        " count. Parts of words can't be sought.",
                    ),
                    "name_prefix": _string(
                        NAME_CHARACTERS_MAX,
                        f"How words of a name begin: {PREFIX_MIN} to {PREFIX_MAX} letters each.",
                    ),
                    "birth_date": {"type": "string", "format": "date"},
                    "mrn": {
                        "type": "object", "additionalProperties": False, "required": ["value"],
                        "description": "An identifier; of any authority, if none is said.",
                        "properties": {
                            "value": _string(VALUE_CHARACTERS_MAX, "As it is written."),
                            "authority": _string(AUTHORITY_CHARACTERS_MAX, "Who assigned it."),
                        },
                    },
                },
            },
        ),
    ),
)  # fmt: skip
