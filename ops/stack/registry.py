"""Apicurio Registry on loopback, its schemas stored in Kafka."""

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from ops.stack.errors import StackFailed
from ops.stack.state import RegistryServer

JOURNAL = "kafkasql-journal"
TOPICS = (JOURNAL, "kafkasql-snapshots", "registry-events")
COMPATIBILITY = "FULL_TRANSITIVE"
REPLY_SECONDS = 5.0

JVM = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


def argv(server: RegistryServer, java: Path, folder: Path, bootstrap_servers: str) -> list[str]:
    """The command that runs the registry, on loopback only."""
    properties = {
        "quarkus.http.host": "127.0.0.1",
        "quarkus.http.port": str(server.port),
        "quarkus.http.access-log.enabled": "false",
        "quarkus.banner.enabled": "false",
        "quarkus.log.console.format": "%d{yyyy-MM-dd HH:mm:ss} %p %m (%c)%n",
        'quarkus.log.category."io.apicurio".level': "WARN",
        "apicurio.storage.kind": "kafkasql",
        "apicurio.kafkasql.bootstrap.servers": bootstrap_servers,
        "apicurio.events.kafka.config.bootstrap.servers": bootstrap_servers,
        "apicurio.kafkasql.topic": JOURNAL,
        # Its default of 5 s is the time that the first answer may take.
        "apicurio.kafkasql.consumer.poll.timeout": "200",
    }
    runner = next(folder.glob("apicurio-registry-app-*-runner.jar"))
    options = [f"-D{name}={value}" for name, value in properties.items()]
    return [str(java), *JVM, *options, "-jar", str(runner)]


def create_topics(client: AdminClient) -> None:
    """Create the registry's topics, never to be deleted from.

    Left to itself it creates them with the broker's retention, and its schemas are gone
    after seven days.
    """
    wanted = [
        NewTopic(
            name,
            num_partitions=1,
            replication_factor=-1,
            config={"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"},
        )
        for name in TOPICS
    ]
    for name, done in client.create_topics(wanted, request_timeout=20.0).items():
        try:
            done.result(timeout=25.0)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise StackFailed(f"the registry's topic could not be created: {name}") from error


def ready(url: str) -> bool:
    """Whether the registry answers what its subjects are."""
    try:
        return _ask(url, "GET", "/subjects")[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def require_compatibility(url: str) -> None:
    """Have every new version of a schema checked against all before it (default: none)."""
    try:
        status, held = _ask(url, "GET", "/config")
        if status == http.client.OK and held.get("compatibilityLevel") == COMPATIBILITY:
            return
        status, held = _ask(url, "PUT", "/config", {"compatibility": COMPATIBILITY})
    except (OSError, http.client.HTTPException) as error:
        raise StackFailed(f"the registry doesn't take its compatibility: {url}") from error
    if status != http.client.OK:
        raise StackFailed(f"the registry refuses the compatibility {COMPATIBILITY}: {status}")


def _ask(
    url: str, method: str, path: str, body: dict[str, str] | None = None
) -> tuple[int, dict[str, object]]:
    """Status and JSON object (empty if it is none) of one request to the registry."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "", parts.port or 80, timeout=REPLY_SECONDS
    )
    try:
        headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"} if body else {}
        connection.request(
            method, f"{parts.path}{path}", json.dumps(body) if body else None, headers
        )
        response = connection.getresponse()
        answer = json.loads(response.read(1024 * 1024) or b"null")
        return response.status, answer if isinstance(answer, dict) else {}
    except ValueError:
        return http.client.BAD_GATEWAY, {}
    finally:
        connection.close()
