"""The topics: each declared once, with what it carries, its key, its bounds and its owner."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas import commands, events

PARTITIONS = 12  # the default of every topic; fixed per topic version
RECORD_BYTES_MAX = (
    8 * 1024 * 1024
)  # a sealed 5 MiB message with room; broker and fetch sizes follow
DAY_MS = 24 * 60 * 60 * 1000
FOREVER_MS = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A keyed log. The name ends in the contract's version; ``records`` are full Avro names.

    ``inner`` are records that travel sealed inside the topic's own, under schemas of their own.
    """

    name: str
    records: tuple[str, ...]
    key: str
    owner: str
    consumers: tuple[str, ...]
    retention_ms: int
    by_record: bool = False  # TopicRecordNameStrategy: many record types in one order
    inner: tuple[str, ...] = ()
    cleanup_policy: str = "delete"
    min_insync_replicas: int = 1

    def subject(self, record: str) -> str:
        """The registry's subject for a record of this topic."""
        if self.by_record or record in self.inner:
            return f"{self.name}-{record}"
        return f"{self.name}-value"


HL7V2 = Topic(
    name="emr.hl7v2.v1",
    records=("wardtrail.raw.Hl7v2Message",),
    key="keyed id of the feed's preferred identifier, else of the first in PID-3, else the message",
    owner="producers",
    consumers=("ledger",),
    retention_ms=7 * DAY_MS,  # sealed by the tenant's key: goes dark by retention
)
COMMANDS = Topic(
    name="app.commands.v1",
    records=("wardtrail.commands.Command",),
    key="stream_id",
    owner="producers",
    consumers=("ledger",),
    retention_ms=7 * DAY_MS,
    inner=tuple(declared.full_record for declared in commands.TYPES.values()),
)
COMMAND_RESULTS = Topic(
    name="app.command-results.v1",
    records=("wardtrail.commands.CommandResult",),
    key="stream_id",
    owner="ledger",
    consumers=(),
    retention_ms=7 * DAY_MS,
)
EVENTS = Topic(
    name="clinical.events.v1",
    records=tuple(f"wardtrail.events.{declared.record}" for declared in events.TYPES.values()),
    key="stream_id",
    owner="ledger",
    consumers=("read-models", "trajectory", "verification"),
    retention_ms=30 * DAY_MS,
    by_record=True,
)
POINTS = Topic(
    name="trajectory.points.v1",
    records=("wardtrail.trajectory.TrajectoryPoint",),
    key="admission_id",
    owner="trajectory",
    consumers=(),
    retention_ms=30 * DAY_MS,
)
VERIFICATIONS = Topic(
    name="verification.results.v1",
    records=("wardtrail.verification.VerificationResult",),
    key="task_id",
    owner="verification",
    consumers=(),
    retention_ms=30 * DAY_MS,
)
ERASURES = Topic(
    name="subject.erasures.v1",
    records=("wardtrail.erasures.Erasure",),
    key="patient_id",
    owner="eraser",
    consumers=("ledger",),
    retention_ms=FOREVER_MS,  # it outlives every backup that still holds a key
)
LETTERS = Topic(
    name="dead-letters.v1",
    records=("wardtrail.letters.DeadLetter",),
    key="letter_id",
    owner="ledger",
    consumers=(),
    retention_ms=30 * DAY_MS,
)

TOPICS: Mapping[str, Topic] = {
    declared.name: declared
    for declared in (
        HL7V2, COMMANDS, COMMAND_RESULTS, EVENTS, POINTS, VERIFICATIONS, ERASURES, LETTERS,
    )
}  # fmt: skip
