"""Erasures read from their log up to its end, and obeyed, before anybody's text is opened.

Whatever may open or seal for people does this first: a database that was restored holds keys that
were destroyed since, and knows nothing of it; the log does.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from confluent_kafka import Message

from schemas.codec import Codec, Undecodable
from schemas.erasures import Erasure
from schemas.sealing import Keys, KeyService, KeyServiceAway
from schemas.topics import ERASURES
from sinks import erasures, tenancy, tenant_keys
from sinks.database import Database
from sinks.erasures import Read
from sinks.tenant_keys import Opened, Tried
from streams import log
from streams.ledger import erasing
from streams.ledger.erasing import Unproven

TOPIC = ERASURES.name

logger = logging.getLogger(__name__)


class ErasuresLost(Exception):  # noqa: N818  named for what is wrong
    """The log of erasures doesn't hold all that it must; nothing may be opened by that."""


@dataclass(slots=True)
class Replayed:
    """What reading the log came to: how many versions of keys were alive until now.

    And the tenants whose own keys don't open, so that their erasures can't be proven, with why:
    until that is mended and the log was read again, nothing of theirs may be opened.
    """

    destroyed: int = 0
    waiting: dict[UUID, str] = field(default_factory=dict)


def replay(
    database: Database,
    bootstrap_servers: str,
    codec: Callable[[], Codec],
    service: KeyService,
) -> Replayed:
    """Obey every erasure that the log holds and this database doesn't know.

    ``codec`` is asked for only where there is something to read. A partition's position waits at
    the first record of a tenant whose keys don't open; what others erased after it is obeyed all
    the same, and read again next time. Raises :class:`ErasuresLost`, `TopicReplaced`,
    `TopicMissing`, `BrokerAway`, `DatabaseAway`, `KeyServiceAway`.
    """
    topic_id = log.topic_ids(bootstrap_servers, [TOPIC])[TOPIC]
    at = erasures.positions(database, TOPIC)
    stays: dict[int, int] = {}
    done = Replayed()
    for partition, low, upto, records in log.pieces(bootstrap_servers, TOPIC, at):
        known = at.get(partition, 0)
        if low > known or upto < known:
            raise ErasuresLost(
                f"the log of erasures has lost some of partition {partition}: it has offsets {low}"
                f" to {upto}, wanted: {known}"
            )
        read, waits = _read(database, records, codec(), service, done) if records else ([], None)
        if waits is not None:
            stays.setdefault(partition, waits)
        reached = stays.get(partition, upto)
        done.destroyed += erasures.obey(
            database, TOPIC, topic_id, partition, read, upto=reached
        )  # fmt: skip
        at[partition] = upto
    return done


def _read(
    database: Database, records: Sequence[Message], codec: Codec, service: KeyService,
    done: Replayed,
) -> tuple[list[Read], int | None]:  # fmt: skip
    """Whom the records erase: those whose tenant there is, and whose proof is its own.

    And the offset of the first that can't be judged, whose tenant waits.
    """
    decoded = [_decoded(each, codec) for each in records]
    tenants = {erasure.tenant_id for _, erasure, _ in decoded if erasure is not None}
    with database.connection() as connection, connection.transaction():
        wrapped = tenancy.wrapped_keys(connection, tenants)
    opened = tenant_keys.opened(wrapped, service, Opened())
    if opened.away is not None:
        raise KeyServiceAway(opened.away)
    keys = {tenant: tried.keys for tenant, tried in opened.tenants.items() if tried.keys}
    shut = {tenant: _why(tenant, each) for tenant, each in opened.tenants.items() if not each.keys}
    done.waiting.update(shut)
    waits = [offset for offset, erasure, _ in decoded if erasure and erasure.tenant_id in shut]
    read = [
        _judged(offset, erasure, said, keys)
        for offset, erasure, said in decoded
        if erasure is None or erasure.tenant_id not in shut
    ]
    return read, min(waits, default=None)


def _why(tenant: UUID, tried: Tried) -> str:
    return tried.shut or f"a key of this tenant is missing, tenant: {tenant}"


def _decoded(message: Message, codec: Codec) -> tuple[int, Erasure | None, Mapping[str, Any]]:
    offset = message.offset()
    assert offset is not None, "a record that was read has its offset"
    try:
        return offset, *erasing.read(codec, message.value() or b"")
    except Undecodable as error:
        logger.error("no erasure at offset %d: %s", offset, error)
        return offset, None, {}


def _judged(
    offset: int, erasure: Erasure | None, said: Mapping[str, Any], keys: Mapping[UUID, Keys]
) -> Read:
    if erasure is None:
        return Read(offset=offset, outcome="dead")
    if erasure.tenant_id not in keys:  # deleted, or younger than a database that was restored
        return Read(offset=offset, outcome="ignored")
    try:
        erasing.prove(erasure, said, keys[erasure.tenant_id])
    except Unproven as error:
        logger.error("an erasure at offset %d is not obeyed: %s", offset, error)
        return Read(offset=offset, outcome="dead")
    return Read(offset=offset, erased=erasing.erased(erasure))
