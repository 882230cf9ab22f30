"""Code systems under one name each, and codes as they can be compared (rule V8).

Feeds, rules and resources write the same system as a name of HL7 table 0396, as another name
they use for it, as an OID or as a URI.
"""

import re
from collections.abc import Mapping

from schemas.identity import normal

LOCAL = "L"
_OID = "URN:OID:"

SYSTEMS: Mapping[str, tuple[str, ...]] = {
    "LN": ("LOINC", "2.16.840.1.113883.6.1", "HTTP://LOINC.ORG"),
    "SCT": (
        "SNM", "SNOMED", "SNOMEDCT", "SNOMED-CT", "SNOMED CT", "2.16.840.1.113883.6.96",
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
_NDC = re.compile(r"([0-9]{4,5})-([0-9]{3,4})-([0-9]{1,2})")
_NDC_LENGTHS = (5, 4, 2)


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
