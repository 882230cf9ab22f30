"""The bounds of the MLLP server; each has a test at the bound."""

from dataclasses import dataclass

from producers.batches import MESSAGES_MAX
from producers.mllp import FRAME_BYTES_MAX
from schemas.topics import RECORD_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the connections of a server may take, each and together."""

    frame_bytes: int = FRAME_BYTES_MAX
    batch_messages: int = MESSAGES_MAX  # of one frame, answered together
    connections: int = 1024  # a large hospital has some dozens of senders
    idle_seconds: float = 300.0  # senders keep connections open between messages
    frame_seconds: float = 30.0  # 5 MiB at 1.4 Mbit/s
    handshake_seconds: float = 10.0  # a few round trips; who needs more has gone
    write_seconds: float = 30.0  # who doesn't read answers for so long has gone
    settle_seconds: float = 1.0  # a CR after its FS comes with it or not at all
    connection_bytes: int = 8 * 1024 * 1024  # in flight; a frame of full size and the next
    total_bytes: int = 64 * 1024 * 1024  # held for all connections, in flight and begun
    # Whatever the large ones hold, a connection within this goes on: small messages get through.
    small_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        room = RECORD_BYTES_MAX - 64 * 1024  # envelope, record and batch take a few hundred
        if not 0 < self.frame_bytes <= room:
            raise ValueError(f"a frame has 1 to {room} bytes, or its record is too large")
