"""The acknowledgement of a message (HL7 v2, 2.9): MSH, MSA and, if it doesn't accept, ERR.

Codes mean (rule I3): AA, taken into custody; AR, not taken, for the reason in ERR-3; AE only
where a feed is told to get it. ERR-3 says which kind it is: 206 and 207 pass, all others stay.
CA, CE and CR say the same as accept acknowledgements of enhanced mode. An answer is a function
of the message, but for its time in MSH-7: who sends the same again is told the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from producers.peek import DELIMITERS, Header, NoHeader

ACCEPTED, ERROR, REJECTED = "AA", "AE", "AR"
ACCEPTING = frozenset({ACCEPTED, "CA"})
# HL7 table 0357, as far as an intake can tell.
ERRORS: Mapping[int, str] = MappingProxyType(
    {
        100: "Segment sequence error",
        101: "Required field missing",
        102: "Data type error",
        103: "Table value not found",
        200: "Unsupported message type",
        201: "Unsupported event code",
        202: "Unsupported processing id",
        203: "Unsupported version id",
        204: "Unknown key identifier",
        206: "Application record locked",
        207: "Application internal error",
    }
)
TRANSIENT = frozenset({206, 207})
# What the ledger says of messages that became nothing, by its causes.
CAUSES: Mapping[str, int] = MappingProxyType(
    {
        "no_header": 100,
        "structure": 100,
        "required_field": 101,
        "no_patient": 101,
        "no_visit": 101,
        "charset": 102,
        "message_type": 200,
        "trigger": 201,
        "erased": 204,  # whom it names is known no more
        # What is ours to mend: the message is kept, and the same sent again is answered by
        # what has become of it then.
        "mapper_failed": 207,
        "decide_failed": 207,
        "refused": 207,
        "sealed": 207,
        "feed_unknown": 207,
    }
)
# Fields of MSH that come back in an answer; longer ones than this are no names.
ECHO_BYTES_MAX = 1024
_UNSENDABLE = b"\x0b\x1c\r\n"  # MLLP's marks and the segment ends
_VERSION = b"2.5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a message wasn't taken: a code of :data:`ERRORS` and a sentence without its content.

    ``field`` is the one of MSH that it is about, where it is about one.
    """

    code: int
    reason: str
    field: int | None = None

    def __post_init__(self) -> None:
        assert self.code in ERRORS, "an error code is one of table 0357"

    @property
    def passes(self) -> bool:
        """Whether sending the same again can succeed."""
        return self.code in TRANSIENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer as the sender reads it: MSA-1, MSA-2, and ERR-3 where there is one."""

    code: str
    control_id: bytes
    error: int | None


def answer(
    header: Header | NoHeader,
    code: str,
    *,
    at: datetime,
    own_id: str,
    trouble: Trouble | None,
    enhanced: bool = False,
) -> bytes:
    """The acknowledgement's bytes, in the sender's delimiters; segments end with CR.

    Sender and receiver change places, MSH-10 comes back in MSA-2; without a header both are
    empty. ``own_id`` is our MSH-10. ``enhanced``: it wants no acknowledgement itself.
    """
    assert trouble is None or code not in ACCEPTING, "who accepts tells of no trouble"
    assert trouble is not None or code in ACCEPTING, "who doesn't accept says why"
    if isinstance(header, NoHeader):
        header = _NOBODY
    separator, delimiters = header.separator, header.delimiters
    component = delimiters[:1]
    trigger = _echo(header.component(9, 2))
    fields = [
        b"MSH",
        delimiters,
        _echo(header.field(5)),
        _echo(header.field(6)),
        _echo(header.field(3)),
        _echo(header.field(4)),
        stamp(at, separator + delimiters),
        b"",
        component.join((b"ACK", trigger, b"ACK")) if trigger else b"ACK",
        own_id.encode(),
        _echo(header.field(11)) or b"P",
        _echo(header.field(12)) or _VERSION,
    ]
    charset = _echo(header.field(18))
    if charset or enhanced:
        never = b"NE" if enhanced else b""
        fields += [b"", b"", never, never, *((b"", charset) if charset else ())]
    msh = separator.join(fields)
    msa = [b"MSA", code.encode(), _echo(header.control_id)]
    if trouble is not None:
        said = _plain(trouble.reason, separator + delimiters)
        msa.append(said)
        name = _plain(ERRORS[trouble.code], separator + delimiters)
        coded = component.join((b"%d" % trouble.code, name, b"HL70357"))
        place = (b"MSH", b"1", b"%d" % trouble.field) if trouble.field else ()
        err = (b"ERR", b"", component.join(place), coded, b"E", b"", b"", b"", said)
        return b"\r".join((msh, separator.join(msa), separator.join(err), b""))
    return b"\r".join((msh, separator.join(msa), b""))


def stamp(at: datetime, delimiters: bytes) -> bytes:
    """A time in UTC as HL7 writes it, without its offset where ``+`` parts fields."""
    offset = b"" if b"+" in delimiters else b"+0000"
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%S").encode() + offset


def read(payload: bytes, header: Header) -> Answer | None:
    """An answer that came back; None where no MSA is in it. ``header`` is the payload's own."""
    code, control_id, error = "", b"", None
    for line in payload.replace(b"\n", b"\r").split(b"\r"):
        fields = line.split(header.separator, 4)
        if fields[0] == b"MSA" and len(fields) > 1 and not code:
            code = fields[1].strip().decode("ascii", "replace")[:2]
            control_id = fields[2].strip() if len(fields) > 2 else b""
        elif fields[0] == b"ERR" and len(fields) > 3 and error is None:
            number = fields[3].split(header.delimiters[:1], 1)[0].strip()
            error = int(number) if number.isdigit() and len(number) == 3 else None
    return Answer(code=code, control_id=control_id, error=error) if code else None


def echoed(control_id: bytes) -> bytes:
    """What an answer says in MSA-2 to this MSH-10."""
    return _echo(control_id).strip()


def _echo(field: bytes) -> bytes:
    return field[:ECHO_BYTES_MAX].translate(None, _UNSENDABLE)


def _plain(said: str, taken: bytes) -> bytes:
    """Our own words in ASCII, without the sender's delimiters."""
    return bytes(0x20 if char in taken else char for char in said.encode("ascii", "replace"))


_NOBODY = Header(b"|", DELIMITERS, (b"MSH", b"|", DELIMITERS), b"", b"")
