"""The options that say how a feed is recognised, read, answered and bounded."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from schemas.feeds import AUTO, CUSTODY, ORIGINAL, OUTCOME
from sinks import tenancy
from streams.ledger.mapping import charsets
from streams.ledger.mapping.facts import Unmappable

ANY = "any"
NONE = "none"
NAMES_MAX = 100  # of one field; a sender has a few names
SENDER_MAX = 227  # MSH-3 to MSH-6 before HL7 2.7
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TAKEN = "Taken and not yet answered"
_Command = TypeVar("_Command", bound=Callable[..., Any])


def bound(command: _Command) -> _Command:
    """The options that say how a feed is recognised, read, answered and bounded."""
    for decorate in (
        click.option(
            "--in-flight-bytes", type=click.IntRange(min=0), help=f"{_TAKEN}; 0: default."
        ),
        click.option("--connections", type=click.IntRange(min=0), help="At a time; 0: no bound."),
        click.option("--messages-per-second", type=click.IntRange(min=0), help="0: no bound."),
        click.option(
            "--ignored-answer",
            type=click.Choice(["AA", "AE", "AR"]),
            help="To what becomes no events, where answered by outcome.",
        ),
        click.option(
            "--answer-when",
            type=click.Choice([CUSTODY, OUTCOME]),
            help="Durable in the log, or read by the ledger.",
        ),
        click.option(
            "--acknowledgement",
            type=click.Choice([AUTO, ORIGINAL]),
            help="Heed MSH-15 and MSH-16, or not.",
        ),
        click.option(
            "--transient-answer",
            type=click.Choice([NONE, "AE", "AR"]),
            help="While the log is away.",
        ),
        click.option(
            "--refusal-answer", type=click.Choice(["AR", "AE"]), help="To what is not taken."
        ),
        click.option("--certificates", help="SHA-256 of client certificates, in hex; or any."),
        click.option("--receiving-facilities", help="MSH-6 values it comes with; or any."),
        click.option("--receiving-applications", help="MSH-5 values it comes with; or any."),
        click.option("--facilities", help="MSH-4 values it comes with; or any."),
        click.option("--senders", help="MSH-3 values it comes with, with commas between; or any."),
        click.option("--port", type=click.IntRange(0, 65_535), help="0: the default listener."),
        click.option("--emr", help="The EMR instance, such as CERNER:Main; empty: none."),
        click.option("--processing-ids", help="MSH-11 values that are taken: P or P,T; or any."),
        click.option("--authority", help="Stands in where an identifier names no authority."),
        click.option("--charset", help="Charset that wins over MSH-18; empty: what MSH-18 says."),
        click.option("--zone", help="IANA time zone for times without an offset: Europe/London."),
    ):
        command = decorate(command)
    return command


def changed(said: dict[str, Any]) -> dict[str, Any]:
    """The columns that the options set."""
    columns: dict[str, Any] = {}
    for option, (column, read) in _COLUMNS.items():
        if said[option] is not None:
            columns[column] = read(said[option])
    return columns


def _charset(name: str) -> str | None:
    """A charset that the mapping can read, by any of its names."""
    if not name.strip():
        return None
    try:
        charsets.decode(b"MSH|", name.strip())
    except Unmappable:
        raise click.BadParameter(f"no such charset (such as 8859/1 or UTF-8): {name}") from None
    return name.strip()


def _processing_ids(listed: str) -> list[str]:
    """The values of MSH-11; an empty list takes any."""
    values = sorted({value.strip() for value in listed.split(",") if value.strip()})
    if [value.lower() for value in values] == [ANY]:
        return []
    if not values or any(len(value) > 3 or not value.isalnum() for value in values):
        raise click.BadParameter(f"processing ids are such as P,T,D; or any: {listed}")
    return values


def _names(listed: str) -> list[str]:
    """Names of senders and receivers; an empty list takes any."""
    values = sorted({value.strip() for value in listed.split(",") if value.strip()})
    if [value.lower() for value in values] == [ANY]:
        return []
    if not values or len(values) > NAMES_MAX or any(len(each) > SENDER_MAX for each in values):
        raise click.BadParameter(
            f"1 to {NAMES_MAX} names of at most {SENDER_MAX} characters, or any: {listed}"
        )
    return values


def _certificates(listed: str) -> list[str]:
    """SHA-256 digests, with colons or without."""
    values = [value.replace(":", "").lower() for value in _names(listed)]
    if any(not _SHA256.fullmatch(value) for value in values):
        raise click.BadParameter(
            "a certificate is named by its SHA-256, 64 hexadecimal digits"
            f" (openssl x509 -fingerprint -sha256): {listed}"
        )
    return values


def _optional(number: int) -> int | None:
    return number or None


# Each option, the column that it sets, and how its value is read.
_COLUMNS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "zone": ("zone", lambda said: tenancy.zone(said).key),
    "charset": ("charset", _charset),
    "authority": ("authority", str.strip),
    "processing_ids": ("processing_ids", _processing_ids),
    "port": ("port", _optional),
    "senders": ("senders", _names),
    "facilities": ("facilities", _names),
    "receiving_applications": ("receiving_applications", _names),
    "receiving_facilities": ("receiving_facilities", _names),
    "certificates": ("certificates", _certificates),
    "refusal_answer": ("refusal_answer", str),
    "transient_answer": ("transient_answer", lambda said: None if said == NONE else said),
    "acknowledgement": ("acknowledgement", str),
    "answer_when": ("answer_when", str),
    "ignored_answer": ("ignored_answer", str),
    "messages_per_second": ("messages_per_second", _optional),
    "connections": ("connections_max", _optional),
    "in_flight_bytes": ("in_flight_bytes_max", _optional),
}
