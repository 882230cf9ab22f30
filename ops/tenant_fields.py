"""What may be said of a tenant, checked: JSON that is bounded and has the shape it is read by."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import orjson

TEXT_BYTES_MAX = 16 * 1024  # of one value; it travels with every listing
ITEMS_MAX = 100
DEPTH_MAX = 5
NAME_MAX = 255
_WORD = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
# A label of a host name (RFC 1123, 2.1).
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Names that a deployment answers by itself.
_TAKEN = frozenset({"www", "localhost", "api"})


class TenantUnfit(Exception):  # noqa: N818  named for what is wrong
    """Something said of a tenant isn't as it must be."""


def name(said: str) -> str:
    """A tenant's name: printable, in one line."""
    stripped = said.strip()
    if not stripped or len(stripped) > NAME_MAX or not stripped.isprintable():
        raise TenantUnfit(f"a tenant's name has 1 to {NAME_MAX} printable characters")
    return stripped


def subdomain(said: str) -> str:
    """A label of a host name, in lower case."""
    if not _LABEL.fullmatch(said) or said in _TAKEN:
        raise TenantUnfit(
            "a subdomain is a label of a host name, in lower case, such as city-hospital (and none"
            f" of {', '.join(sorted(_TAKEN))}): {said}"
        )
    return said


def plan(said: str) -> str:
    """The name of a plan."""
    return _word(said, "a plan")


def features(text: str) -> dict[str, bool]:
    """Feature flags: names, and whether each is on."""
    value = _object(text, "features")
    for each, on in value.items():
        _word(each, "a feature")
        if not isinstance(on, bool):
            raise TenantUnfit(f"a feature is true or false: {each}")
    return value


def enabled_specialties(text: str) -> list[str]:
    """The specialties' names, each once."""
    value = _parsed(text, "enabled specialties")
    if not isinstance(value, list) or len(value) > ITEMS_MAX:
        raise TenantUnfit(f"enabled specialties are a list of at most {ITEMS_MAX} names")
    return sorted({_word(each, "a specialty") for each in value})


def branding(text: str) -> dict[str, Any]:
    """Any object, bounded."""
    return _object(text, "branding")


def integrations(text: str) -> dict[str, Any]:
    """For each outside system, by name, an object of settings; secrets don't belong here."""
    value = _object(text, "integrations")
    for each, settings in value.items():
        _word(each, "an integration")
        if not isinstance(settings, dict):
            raise TenantUnfit(f"an integration is an object of settings: {each}")
    return value


CHECKED: Mapping[str, Callable[[str], Any]] = MappingProxyType(
    {
        "plan": plan, "features": features, "enabled_specialties": enabled_specialties,
        "branding": branding, "integrations": integrations,
    }
)  # fmt: skip


def _object(text: str, what: str) -> dict[str, Any]:
    value = _parsed(text, what)
    if not isinstance(value, dict):
        raise TenantUnfit(f"{what} must be a JSON object")
    _bounded(value, what, DEPTH_MAX)
    return value


def _parsed(text: str, what: str) -> Any:  # noqa: ANN401  any JSON
    if len(text.encode()) > TEXT_BYTES_MAX:
        raise TenantUnfit(f"{what} must have at most so many bytes: {TEXT_BYTES_MAX}")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise TenantUnfit(f"{what} must be JSON") from None


def _bounded(value: object, what: str, deeper: int) -> None:
    """At most so many items on each level, and so many levels."""
    if not isinstance(value, dict | list):
        return
    if deeper == 0:
        raise TenantUnfit(f"{what} must have at most so many levels: {DEPTH_MAX}")
    if len(value) > ITEMS_MAX:
        raise TenantUnfit(f"{what} must have at most so many items on a level: {ITEMS_MAX}")
    for each in value.values() if isinstance(value, dict) else value:
        _bounded(each, what, deeper - 1)


def _word(said: object, what: str) -> str:
    if not isinstance(said, str) or not _WORD.fullmatch(said):
        raise TenantUnfit(f"{what} is a word of a-z, 0-9, _ . - of at most 64 characters: {said}")
    return said
