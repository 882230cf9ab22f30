"""Coded elements: systems under one name each, and codes as they can be compared (rule V8)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from schemas.identity import normal
from streams.ledger.mapping.claim import part
from streams.ledger.mapping.message import NULL, Message

LOCAL = "L"
CODE_CHARACTERS_MAX = 100  # the longest codes that are seen have some 40; longer is text
_OID = "URN:OID:"

SYSTEMS: Mapping[str, tuple[str, ...]] = {
    "LN": ("LOINC", "2.16.840.1.113883.6.1", "HTTP://LOINC.ORG"),
    "SCT": (
        "SNOMED", "SNOMEDCT", "SNOMED-CT", "SNOMED CT", "2.16.840.1.113883.6.96",
        "HTTP://SNOMED.INFO/SCT",
    ),
    "CVX": ("2.16.840.1.113883.12.292", "2.16.840.1.113883.6.59", "HTTP://HL7.ORG/FHIR/SID/CVX"),
    "MVX": ("2.16.840.1.113883.12.227", "HTTP://HL7.ORG/FHIR/SID/MVX"),
    "NDC": ("2.16.840.1.113883.6.69", "HTTP://HL7.ORG/FHIR/SID/NDC"),
    "RXNORM": (
        "RXNRM", "2.16.840.1.113883.6.88", "HTTP://WWW.NLM.NIH.GOV/RESEARCH/UMLS/RXNORM",
    ),
    "CPT": ("C4", "CPT4", "CPT-4", "2.16.840.1.113883.6.12", "HTTP://WWW.AMA-ASSN.ORG/GO/CPT"),
    "I10C": ("ICD10CM", "ICD-10-CM", "2.16.840.1.113883.6.90", "HTTP://HL7.ORG/FHIR/SID/ICD-10-CM"),
    "I10": ("ICD10", "ICD-10", "2.16.840.1.113883.6.3", "HTTP://HL7.ORG/FHIR/SID/ICD-10"),
    "I9C": ("ICD9CM", "ICD-9-CM", "2.16.840.1.113883.6.103", "HTTP://HL7.ORG/FHIR/SID/ICD-9-CM"),
    "UCUM": ("2.16.840.1.113883.6.8", "HTTP://UNITSOFMEASURE.ORG"),
    "MDC": ("2.16.840.1.113883.6.24", "URN:ISO:STD:ISO:11073:10101"),
    "ATC": ("WC", "2.16.840.1.113883.6.73", "HTTP://WWW.WHOCC.NO/ATC"),
    LOCAL: ("LOCAL",),
}  # fmt: skip
"""Code systems by their names in HL7 table 0396, with what else feeds call them."""

_NAMES = {other: name for name, others in SYSTEMS.items() for other in (name, *others)}
_PAIRS = ((1, 3), (4, 6), (10, 12))  # identifier and its system: CE's two, and CWE's third (v2.7)
_SPACE = re.compile(r"\s")
_NDC = re.compile(r"([0-9]{4,5})-([0-9]{3,4})-([0-9]{1,2})")
_NDC_LENGTHS = (5, 4, 2)


@dataclass(frozen=True, slots=True)
class Coding:
    """A code within its system; the text beside it is nobody's key (rule V8)."""

    system: str
    code: str

    @property
    def data(self) -> dict[str, str]:
        """As events carry it."""
        return {"system": self.system, "code": self.code}


def named(message: Message, parts: list[str]) -> tuple[Coding, ...]:
    """What a CE or CWE names, its alternates too; a code without a system is a local one."""
    return _read(message, parts, local=True)


def valued(message: Message, parts: list[str]) -> tuple[Coding, ...]:
    """The codes that a CE or CWE has as a result.

    Only what a system vouches for, and without white space: else it may be text, which is sealed.
    """
    return _read(message, parts, local=False)


def system(text: str) -> str:
    """A code system's one name: ``LN`` for ``LOINC``, its OID and its URI; ``L`` if not said."""
    said = normal(text).upper().removeprefix(_OID)
    return _NAMES.get(said, said) or LOCAL


def code(of: str, text: str) -> str:
    """A code as its system compares it: CVX in two digits, NDC in eleven."""
    said = normal(text)
    if of == "CVX" and said.isascii() and said.isdigit():
        return said.lstrip("0").zfill(2)
    match = _NDC.fullmatch(said) if of == "NDC" else None
    if match is None:
        return said
    return "".join(
        each.zfill(length) for each, length in zip(match.groups(), _NDC_LENGTHS, strict=True)
    )


def _read(message: Message, parts: list[str], *, local: bool) -> tuple[Coding, ...]:
    found: dict[Coding, None] = {}
    for identifier, of in _PAIRS:
        raw, said = part(parts, identifier), message.said(part(parts, of)) or ""
        text = "" if raw == NULL else normal(message.said(raw) or "")
        if not text or len(text) > CODE_CHARACTERS_MAX or not text.isprintable():
            continue
        known = system(said)
        if len(known) > CODE_CHARACTERS_MAX or (_SPACE.search(known) and known not in SYSTEMS):
            known, said = LOCAL, ""  # text where the system's name belongs
        if local or (said and not _SPACE.search(text)):
            found[Coding(known, code(known, text))] = None
    return tuple(found)
