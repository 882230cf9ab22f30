"""Serves MLLP in a process of its own: the line's server, or a bare one that only answers.

serving.py real          on the settings' port, with publisher, broker, feeds and keys
serving.py bare PORT     asyncio, frames and answers, nothing kept
"""

import asyncio
import sys

from ops import serve
from ops.settings import Settings
from producers.mllp import CR, FS, VT

END = FS + CR


class Bare(asyncio.Protocol):
    """Splits at the frame's end, answers AA with the control id."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See :class:`asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport), "a stream"
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        """Answer every frame that is whole."""
        *frames, self._buffer = (self._buffer + data).split(END)
        self._transport.write(b"".join(map(_answer, frames)))


def _answer(frame: bytes) -> bytes:
    control_id = frame.split(b"|", 10)[9]
    return VT + b"MSH|^~\\&|B||||20260101||ACK|1|P|2.5\rMSA|AA|" + control_id + CR + END


async def bare(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Bare, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1] == "real":
        sys.exit(serve.run(Settings.load()))
    asyncio.run(bare(int(sys.argv[2])))
