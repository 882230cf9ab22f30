"""Apache Kafka as one KRaft process on loopback."""

import base64
import subprocess
import time
import uuid
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.stack.errors import StackFailed
from ops.stack.state import KafkaServer

MESSAGE_BYTES = 9 * 1024 * 1024  # a record of 8 MiB with its batch's overhead
FORMAT_SECONDS = 60
JOIN_SECONDS = 20.0
WARM_UP_GROUP = "wardtrail-warm-up"

# The compiler's first tier alone halves the start; 384 MB take a few messages of MESSAGE_BYTES.
JVM = ("-Xms96m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# A killed broker may register again only when its last session is over (default: 9 s).
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=400
group.initial.rebalance.delay.ms=0
message.max.bytes={message_bytes}
replica.fetch.max.bytes={message_bytes}
# The default of 128 MB would be a third of the heap.
log.cleaner.dedupe.buffer.size=8388608
log.cleaner.threads=1
num.network.threads=2
num.io.threads=4
"""

LOG4J = """\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %m (%c)%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
"""


def cluster_id() -> str:
    """A fresh id for a cluster; one that began with a dash would be taken for an option."""
    while True:
        fresh = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not fresh.startswith("-"):
            return fresh


def prepare(server: KafkaServer, java: Path, jars: Path, folder: Path) -> list[str]:
    """Write the broker's files, format its data folder the first time; return its argv."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    data = folder / "data"
    properties = folder / "server.properties"
    properties.write_text(
        PROPERTIES.format(
            port=server.port,
            controller_port=server.controller_port,
            data=data,
            message_bytes=MESSAGE_BYTES,
        ),
        encoding="utf-8",
    )
    log4j = folder / "log4j2.properties"
    log4j.write_text(LOG4J, encoding="utf-8")
    run = [str(java), *JVM, f"-Dlog4j2.configurationFile={log4j}", "-cp", f"{jars}/*"]
    if not (data / "meta.properties").exists():
        _format([*run, "kafka.tools.StorageTool", "format"], server, properties)
    return [*run, "kafka.Kafka", str(properties)]


def _format(run: list[str], server: KafkaServer, properties: Path) -> None:
    try:
        done = subprocess.run(  # noqa: S603  our own arguments, without a shell
            [*run, "-t", server.cluster_id, "-c", str(properties)],
            capture_output=True,
            text=True,
            timeout=FORMAT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StackFailed(
            f"kafka's folder took longer to format than this many seconds: {FORMAT_SECONDS}"
        ) from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines() or ["nothing said"]
        raise StackFailed(f"kafka's folder could not be formatted: {said[-1][:400]}")


def admin(bootstrap_servers: str) -> AdminClient:
    """An admin client that dials again quickly and says nothing on standard error."""
    return AdminClient(_quiet(bootstrap_servers))


def ready(client: AdminClient) -> bool:
    """Whether the brokers answer a request for their topics, not merely accept connections."""
    try:
        return bool(client.list_topics(timeout=1.0).brokers)
    except KafkaException:
        return False


def join_a_group(bootstrap_servers: str, topic: str) -> bool:
    """Have the broker make its group coordinator, which the first consumer would wait for.

    Asking the coordinator for a group's offset is enough: it creates and loads its topic.
    """
    consumer = Consumer(
        {
            **_quiet(bootstrap_servers),
            "group.id": WARM_UP_GROUP,
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 2,
        }
    )
    deadline = time.monotonic() + JOIN_SECONDS
    try:
        while not _coordinated(consumer, topic):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        consumer.subscribe([topic])
        while not consumer.assignment() and time.monotonic() < deadline:
            consumer.poll(0.1)
        return bool(consumer.assignment())
    finally:
        consumer.close()


def _coordinated(consumer: Consumer, topic: str) -> bool:
    """Whether the group coordinator answers; after a restart it loads its topic first."""
    try:
        consumer.committed([TopicPartition(topic, 0)], timeout=5.0)
    except KafkaException:
        return False
    return True


def _quiet(bootstrap_servers: str) -> dict[str, object]:
    return {
        "bootstrap.servers": bootstrap_servers,
        "socket.timeout.ms": 10_000,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 100,
        "log_level": 0,
        "error_cb": lambda _error: None,
    }
