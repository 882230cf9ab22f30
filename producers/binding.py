"""Which of a port's feeds a message belongs to, by its sender and its certificate; pure."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from producers.peek import Header, NoHeader, text
from schemas.feeds import Feed

# Why a message belongs to no feed, or to none that takes it, as counters and rows name it.
CERTIFICATE, SENDER, FACILITY, RECEIVER = "certificate", "sender", "facility", "receiver"
NO_FIT, SEVERAL_FIT = "fits no feed", "fits several feeds"
# The fields that tell feeds apart, in the order in which a mismatch is told.
_FIELDS = (
    (SENDER, 3, "senders"),
    (FACILITY, 4, "facilities"),
    (RECEIVER, 5, "receiving_applications"),
    (RECEIVER, 6, "receiving_facilities"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A message of no feed. ``feed`` is the one it would be of, where the port has no other."""

    cause: str
    feed: Feed | None
    field: int | None = None  # of MSH, where one field tells


def bind(
    header: Header | NoHeader, feeds: Sequence[Feed], certificate: str | None
) -> Feed | Mismatch:
    """The one feed of these that the message fits.

    ``certificate`` is the client's as :func:`fingerprint` gives it, None on a connection
    without one. A message without a header fits where nothing of a header is asked for. One
    that fits two feeds is nobody's: it is not guessed whose patient it tells of.
    """
    found = [feed for feed in feeds if _misfit(header, feed, certificate) is None]
    if len(found) == 1:
        return found[0]
    if found:
        return Mismatch(cause=SEVERAL_FIT, feed=None)
    if len(feeds) == 1:
        misfit = _misfit(header, feeds[0], certificate)
        assert misfit is not None, "the only feed doesn't fit"
        return misfit
    return Mismatch(cause=NO_FIT, feed=None)


def _misfit(header: Header | NoHeader, feed: Feed, certificate: str | None) -> Mismatch | None:
    """What of the message isn't as the feed is bound; None where it fits.

    A field is compared whole and by its first component (HD: namespace), as it was sent.
    """
    if feed.certificates and certificate not in feed.certificates:
        return Mismatch(cause=CERTIFICATE, feed=feed)
    for cause, number, name in _FIELDS:
        taken: frozenset[str] = getattr(feed, name)
        if not taken:
            continue
        if isinstance(header, NoHeader) or not taken & {
            text(header.field(number)), text(header.component(number, 1)),
        }:  # fmt: skip
            return Mismatch(cause=cause, feed=feed, field=number)
    return None


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate in DER, as hexadecimal digits: what feeds are bound to."""
    return hashlib.sha256(certificate).hexdigest()
