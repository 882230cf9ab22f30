"""What the MLLP server has done so far, in plain numbers."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Counts since the start; ``open_connections`` and ``held_bytes`` are as of now."""

    connections: int = 0
    connections_refused: int = 0
    open_connections: int = 0
    held_bytes: int = 0
    bytes_in: int = 0
    frames: int = 0
    batches: int = 0  # of the frames
    miscounted: int = 0  # batches whose trailers count other than what is there
    acknowledgements: int = 0  # received ones, which get no answer (rule I5)
    publish_failures: int = 0
    answered: Counter[str] = field(default_factory=Counter)  # by code
    refused: Counter[str] = field(default_factory=Counter)  # by cause
    closed: Counter[str] = field(default_factory=Counter)  # by our reason to close

    def snapshot(self) -> dict[str, int]:
        """All as one flat mapping; a counter by code or cause is named ``answered: AA``."""
        plain = {
            name: getattr(self, name)
            for name in (
                "connections", "connections_refused", "open_connections", "held_bytes",
                "bytes_in", "frames", "batches", "miscounted", "acknowledgements",
                "publish_failures",
            )
        }  # fmt: skip
        for name in ("answered", "refused", "closed"):
            plain |= {f"{name}: {key}": count for key, count in getattr(self, name).items()}
        return plain
