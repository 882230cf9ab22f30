"""Carrying out an erasure, step by step, each of which may be the last of a process."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from ops import access
from ops.settings import Settings
from producers.publisher import configuration
from schemas import erasures as records
from schemas import headers, identity
from schemas.codec import Codec
from schemas.erasures import Erasure
from schemas.failpoints import hit
from schemas.sealing import EnvelopeInvalid, Keys, KeyService
from schemas.topics import COMMANDS, ERASURES, EVENTS, FOREVER_MS, HL7V2
from sinks import cleaning, dead_letters, erasing, remains, tenancy
from sinks.database import Database, for_tenants
from sinks.erasing import Request
from sinks.keyring import HELD_SECONDS
from sinks.remains import Remains, Telling
from streams import erasures, log
from streams.ledger.erasing import ERASED, MESSAGE_TYPE
from streams.ledger.whose import Theirs
from streams.read_models import PATIENTS

DELIVERY_SECONDS = 30.0
POLL_SECONDS = 0.2
WAIT_SECONDS = 60.0  # for the ledger and the read models to tell of it
RAW = (HL7V2.name, COMMANDS.name)  # under the tenant's key: they go dark by retention

Progress = Callable[[str], None]

logger = logging.getLogger(__name__)


class ErasureUnfinished(Exception):  # noqa: N818  named for what is wrong
    """Something isn't done yet; the same again goes on where it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eraser:
    """Who carries out requests: a worker's rows, an owner's cleaning, the log, the keys."""

    database: Database
    migrate_url: str
    admin_url: str
    bootstrap_servers: str
    codec: Codec
    service: KeyService
    held_seconds: float
    wait_seconds: float = WAIT_SECONDS
    old_texts_stay: bool = False  # those under the tenant's key, which no key of theirs sealed
    tell: Progress = lambda _: None

    @classmethod
    def of(
        cls, settings: Settings, database: Database, *, wait_seconds: float, tell: Progress,
        held_seconds: float = HELD_SECONDS, old_texts_stay: bool = False,
    ) -> "Eraser":  # fmt: skip
        """As the settings have it, but for how long others hold keys: nobody knows their settings.

        ``held_seconds`` is the longest of any process, by default the most that one may have.
        """
        assert held_seconds >= settings.held_seconds, "ours is one of them"
        return cls(
            database=database,
            migrate_url=access.role_url(settings, "wt_migrate"),
            admin_url=access.database_as_admin(settings),
            bootstrap_servers=access.bootstrap_servers(settings),
            codec=Codec(access.schema_ids(settings)), service=access.root(settings),
            held_seconds=held_seconds, wait_seconds=wait_seconds, tell=tell,
            old_texts_stay=old_texts_stay,
        )  # fmt: skip

    def run(self, tenant_id: UUID, request_ids: Sequence[UUID]) -> list[Request]:
        """Carry out requests of a tenant together, to their end; those that are done as they are.

        Raises as :func:`sinks.erasing.begin`, and :class:`ErasureUnfinished` where something
        must come first: then the same again goes on.
        """
        self._replay()
        done = {each.id: each for each in self._read(tenant_id, request_ids)}
        open_ = [each for each in request_ids if done[each].status != "completed"]
        begun = [erasing.begin(self.database, tenant_id, each) for each in open_]
        if not begun:
            return list(done.values())
        hit("erase: requested")
        self._announce(tenant_id, begun)
        hit("erase: announced")
        begun = self._destroyed(tenant_id, begun)
        hit("erase: destroyed")
        self._await_told(tenant_id, begun)
        hit("erase: told")
        receipts = self._taken_out(tenant_id, begun)
        hit("erase: taken out")
        self._await_caches(begun)
        cleaned = self._cleaned()
        hit("erase: vacuumed")
        waiting = [each for each in begun if receipts[each.id]["old_texts"]]
        for each in begun:
            if each not in waiting or self.old_texts_stay:
                receipt = {**receipts[each.id], **cleaned}
                done[each.id] = erasing.complete(self.database, tenant_id, each.id, receipt)
        if waiting and not self.old_texts_stay:
            raise ErasureUnfinished(
                "texts of theirs are under the tenant's key, of before people had keys of their own"
                " (hint: nothing here opens them any more, but whoever has that key can; wardtrail"
                " erase run --old-texts-stay ends it all the same), requests: "
                + ", ".join(str(each.id) for each in waiting)
            )
        return list(done.values())

    def _replay(self) -> None:
        erasures.replay(self.database, self.bootstrap_servers, lambda: self.codec, self.service)

    def _read(self, tenant_id: UUID, request_ids: Sequence[UUID]) -> list[Request]:
        with self.database.connection() as connection, connection.transaction():
            return [
                found
                for each in request_ids
                for found in erasing.requests(connection, tenant_id, request_id=each)
            ]

    def _unannounced(self, tenant_id: UUID, begun: Sequence[Request]) -> list[Erasure]:
        """What the log doesn't hold: what it held was obeyed when we began."""
        with self.database.connection() as connection, connection.transaction():
            for_tenants(connection, [tenant_id])
            return [
                erasure
                for request in begun
                if (alive := erasing.alive(connection, request))
                for erasure in announcements(request)
                if erasure.patient_id in alive
            ]

    def _announce(self, tenant_id: UUID, begun: Sequence[Request]) -> None:
        """Publish what the log doesn't hold, once, and wait until the brokers hold it."""
        lacking = self._unannounced(tenant_id, begun)
        if not lacking:
            return
        self.tell("announcing")
        keys = self._keys(tenant_id)
        producer = Producer(configuration(self.bootstrap_servers, DELIVERY_SECONDS))
        failed: list[Any] = []

        def reported(error: Any, _: Any) -> None:  # noqa: ANN401  the client's own
            if error is not None:
                failed.append(error)

        for erasure in lacking:
            value = erasure.record(keys.identity)
            producer.produce(
                ERASURES.name, key=value["patient_id"].encode(),
                value=self.codec.encode(records.RECORD, value),
                headers=headers.for_erasure(value), on_delivery=reported,
            )  # fmt: skip
        if producer.flush(DELIVERY_SECONDS + 1) or failed:
            raise log.BrokerAway("the brokers don't hold the announcement, nothing is destroyed")

    def _destroyed(self, tenant_id: UUID, begun: Sequence[Request]) -> list[Request]:
        """Obey the log, as every process does; then the keys of these requests are gone."""
        if any(each.destroyed_at is None for each in begun):
            self.tell("destroying keys")
            self._replay()
            if self._unannounced(tenant_id, begun):  # such as of a tenant that is being deleted
                raise ErasureUnfinished(
                    "the log holds the announcement, and this database hasn't obeyed it (hint:"
                    " is the tenant there? see: wardtrail tenants list)"
                )
        return [erasing.destroyed(self.database, tenant_id, each.id) for each in begun]

    def _await_told(self, tenant_id: UUID, begun: Sequence[Request]) -> None:
        """Wait until the ledger has told of it, and nobody is found by what they were called."""
        self.tell("waiting for the ledger and the read models")
        told = [each for request in begun for each in announcements(request)]
        telling = Telling(
            tenant_id=tenant_id, feed_id=identity.app_feed(tenant_id),
            messages=[each.erasure_id for each in told], events=[_event_id(each) for each in told],
        )  # fmt: skip
        people = [each.patient_id for each in told]
        deadline = time.monotonic() + self.wait_seconds
        while True:
            with self.database.connection() as connection, connection.transaction():
                applied, past, tokens = remains.told(
                    connection, telling, people, projection=PATIENTS.name, topic=EVENTS.name
                )
            if applied == len(told) and past and not tokens:
                return
            if time.monotonic() > deadline:
                raise ErasureUnfinished(_waiting(applied, len(told), past=past))
            time.sleep(POLL_SECONDS)

    def _taken_out(self, tenant_id: UUID, begun: Sequence[Request]) -> dict[UUID, dict[str, Any]]:
        """Take the raw bodies out of rows; what was found, as each request's receipt says it."""
        self.tell("taking raw bodies out")
        people = [each.patient_id for request in begun for each in request.people]
        found = remains.find(self.database, tenant_id, people)
        theirs = self._theirs(tenant_id, found)
        unread = 0
        for page in remains.silent(self.database, tenant_id):
            for each in page:
                whose = theirs.message(each)
                unread += whose is None
                for one in whose or ():
                    assert each.feed_id is not None, "a message has its feed"
                    found.messages[one].add((each.feed_id, each.id))
        letters, unreadable, shut = self._letters(tenant_id, theirs)
        until = self._held_until()
        bodies = {
            request.id: sorted(
                {m for one in request.people for m in found.messages[one.patient_id]}
            )
            for request in begun
        }
        remains.take_out(self.migrate_url, bodies)
        old = {
            request.id: sum(found.under_tenant[one.patient_id] for one in request.people)
            for request in begun
        }
        return {
            request.id: {
                **_receipt(request, found, letters),
                "bodies": len(bodies[request.id]), "unreadable_bodies": unread,
                "unreadable_letters": unreadable, "shut_letters": shut,
                "old_texts": old[request.id],
                "stays": _stays(old[request.id], unread, unreadable, shut),
                "raw_topics_until": until,
            }
            for request in begun
        }  # fmt: skip

    def _theirs(self, tenant_id: UUID, found: Remains) -> Theirs:
        with self.database.connection() as connection, connection.transaction():
            feeds = tenancy.feeds(connection, [tenant_id])
        return Theirs(
            people=found.people, streams=found.streams,
            names=remains.names(self.database, tenant_id, sorted(found.people)),
            keys=self._keys(tenant_id), codec=self.codec,
            feeds={each.feed.feed_id: each.feed for each in feeds},
        )  # fmt: skip

    def _letters(self, tenant_id: UUID, theirs: Theirs) -> tuple[Counter[UUID], int, int]:
        """Empty the dead letters that are theirs; how many of each.

        And of how many it isn't known, which open or don't: those stop nobody's erasure.
        """
        line, unread, shut = self.service.line(), 0, 0
        emptied: Counter[UUID] = Counter()
        for page in remains.letters(self.database, tenant_id):
            for each in page:
                try:
                    whose = theirs.letter(each, line)
                except EnvelopeInvalid as invalid:
                    logger.warning("a dead letter isn't looked into: %s: %s", each.id, invalid)
                    shut += 1
                    continue
                unread += whose is None
                if whose:
                    sealed = dead_letters.sealed(each.id, None, None, line)
                    with self.database.connection() as connection, connection.transaction():
                        for_tenants(connection, [tenant_id])
                        remains.empty_letter(connection, each.id, sealed)
                    emptied.update(whose)
        return emptied, unread, shut

    def _held_until(self) -> dict[str, str | None]:
        """Until when the brokers keep what was published by now; None: for ever."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, **log.QUIET})
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in RAW]
        try:
            answers = admin.describe_configs(asked, request_timeout=log.REPLY_SECONDS)
            kept = {
                one.name: int(answer.result(log.REPLY_SECONDS)["retention.ms"].value)
                for one, answer in answers.items()
            }
        except (KafkaException, TimeoutError) as error:
            raise log.BrokerAway(f"retention can't be asked: {type(error).__name__}") from error
        now = self._now()
        return {
            name: None if kept[name] == FOREVER_MS
            else (now + timedelta(milliseconds=kept[name])).isoformat()
            for name in RAW
        }  # fmt: skip

    def _await_caches(self, begun: Sequence[Request]) -> None:
        """Wait until no process holds a key any more that it read before it was destroyed."""
        times = [each.destroyed_at for each in begun if each.destroyed_at is not None]
        assert len(times) == len(begun), "noted by the step before"
        until = max(times) + timedelta(seconds=self.held_seconds)
        while (left := (until - self._now()).total_seconds()) > 0:
            self.tell(f"waiting until no process holds the key, seconds: {left:.0f}")
            time.sleep(min(left, 1.0))

    def _cleaned(self) -> dict[str, Any]:
        """Have the database let go of dead rows, and of the log segment that has the key."""
        self.tell("vacuuming")
        at = cleaning.vacuum(self.migrate_url)
        self.tell("switching the write-ahead log")
        cleaning.switch_log(self.admin_url, at)
        return {
            "held_seconds": self.held_seconds, "vacuumed_at": self._now().isoformat(),
            "wal_until": at,
        }  # fmt: skip

    def _keys(self, tenant_id: UUID) -> Keys:
        with self.database.connection() as connection, connection.transaction():
            wrapped = tenancy.wrapped_keys(connection, [tenant_id])
        found = tenancy.unwrap(wrapped, self.service).get(tenant_id)
        assert found is not None, "a tenant with a request has keys"
        return found

    def _now(self) -> datetime:
        with self.database.connection() as connection:
            return erasing.now(connection)


def announcements(request: Request) -> Sequence[Erasure]:
    """What is to be announced by a request that was taken up; the same whenever it is asked."""
    assert request.erased_at is not None, "taken up"
    return [
        Erasure(
            request_id=request.id, tenant_id=request.tenant_id, patient_id=each.patient_id,
            key_version=each.key_version or 0, erased_at=request.erased_at,
        )
        for each in request.people
    ]  # fmt: skip


def _receipt(request: Request, found: Remains, letters: Counter[UUID]) -> dict[str, Any]:
    """What went dark of each id of a person."""
    return {
        "people": [
            {
                "patient_id": str(each.patient_id), "key_version": each.key_version,
                "events": found.events[each.patient_id],
                "envelopes": found.envelopes[each.patient_id],
                "letters": letters[each.patient_id],
            }
            for each in request.people
        ],
        "tokens": request.receipt.get("tokens", 0),
    }  # fmt: skip


def _stays(old: int, bodies: int, letters: int, shut: int) -> list[dict[str, Any]]:
    """What is theirs, or may be and nobody can tell, and stays; and who can read it."""
    found = (
        (old, "texts under the tenant's key, of before people had keys of their own",
         "nothing here opens them any more; whoever has the tenant's key and the rows can"),
        (bodies, "raw bodies that can't be read",
         "whoever has the tenant's key can read what is whole of them"),
        (letters, "dead letters that can't be read",
         "whoever has the root key can read them, and a body in them with the tenant's key"),
        (shut, "dead letters that don't open",
         "they are damaged, or of another root key: whoever has that one can read them"),
    )  # fmt: skip
    return [{"what": what, "count": count, "why": why} for count, what, why in found if count]


def _event_id(erasure: Erasure) -> UUID:
    return identity.event(erasure.erasure_id, ERASED.name, 0, MESSAGE_TYPE)


def _waiting(applied: int, wanted: int, *, past: bool) -> str:
    if applied < wanted:
        return (
            "the keys are destroyed; the ledger hasn't told of it yet (hint: run a worker, see"
            f" wardtrail lag and wardtrail dead-letters list), told: {applied} of {wanted}"
        )
    behind = "is behind" if not past else "still finds them: is their stream parked?"
    return f"the keys are destroyed; {PATIENTS.name} {behind} (hint: wardtrail lag)"
