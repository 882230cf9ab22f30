"""The intake's local copy of feeds, tenants and wrapped keys: a file that is good for a time.

It holds keys only as the root key wrapped them. A tenant that is deleted while nobody reads the
rows here stays in the file, so what is older than raw records are kept isn't used any more.
"""

import json
import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from ops import access
from schemas.feeds import Feed
from schemas.topics import HL7V2
from sinks import tenancy
from sinks.tenancy import Listened, Standing, Wrapped

NAME = "feeds.json"
# As long as raw records are kept: a deleted tenant's go dark by then as well.
GOOD_SECONDS = HL7V2.retention_ms / 1_000
LEFT_SECONDS = 60.0  # nobody writes one for so long; a younger one may be somebody's at work
WRITTEN_SECONDS = 600.0  # how old the file may be while the rows are read and don't change

_SETS = (
    "processing_ids", "senders", "facilities", "receiving_applications", "receiving_facilities",
    "certificates",
)  # fmt: skip

logger = logging.getLogger(__name__)


class CopyUnread(Exception):  # noqa: N818  named for what is wrong
    """The file is there, and this account can't read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Rows as they were read at a moment (seconds since 1970)."""

    read_at: float
    listened: Sequence[Listened] = ()
    wrapped: Sequence[Wrapped] = ()
    standings: Sequence[Standing] = ()

    def good(self, now: float) -> bool:
        """Whether it may be used; a clock that was set back makes nothing good for longer."""
        return abs(now - self.read_at) <= GOOD_SECONDS

    def without(self, tenant_id: UUID) -> "Copy":
        """The same, with nothing of a tenant."""
        return replace(
            self,
            listened=[each for each in self.listened if each.feed.tenant_id != tenant_id],
            wrapped=[each for each in self.wrapped if each.tenant_id != tenant_id],
            standings=[each for each in self.standings if each.tenant_id != tenant_id],
        )


def load(file: Path, now: float) -> Copy | None:
    """What the file holds; None where it holds nothing that may be used, and then it is removed.

    Raises :class:`CopyUnread`.
    """
    try:
        copy = _loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CopyUnread(
            f"the local copy of feeds can't be read: {str(error.strerror).lower()} (hint: it must"
            f" be of this account, or be removed): {file}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        logger.warning("the local copy of feeds can't be read: removed")
        file.unlink(missing_ok=True)
        return None
    if not copy.good(now):
        logger.warning("the local copy of feeds is too old to be used: removed")
        file.unlink(missing_ok=True)
        return None
    return copy


def store(file: Path, copy: Copy) -> None:
    """Write it, for its owner's eyes."""
    access.write_private(file, _dumps(copy))
    sweep(file, time.time())


def sweep(file: Path, now: float) -> None:
    """Remove what a process that was killed in writing the file left beside it: it holds keys."""
    for left in file.parent.glob(f".{file.name}.*"):
        try:
            if abs(now - left.stat().st_mtime) > LEFT_SECONDS:
                left.unlink()
        except FileNotFoundError:  # whoever was writing it is done, or swept as well
            continue
        except OSError as error:
            said = str(error.strerror).lower()
            logger.error("a broken-off copy of feeds isn't removed: %s: %s", said, left)


def forget(file: Path, tenant_id: UUID) -> bool:
    """Take a deleted tenant out of the file; whether it was there.

    A process that serves writes its own within seconds, without the tenant too. Raises as
    :func:`load`.
    """
    sweep(file, time.time())
    copy = load(file, time.time())
    if copy is None or copy == copy.without(tenant_id):
        return False
    store(file, copy.without(tenant_id))
    return True


def _dumps(copy: Copy) -> str:
    def plain(value: Any) -> Any:  # noqa: ANN401  any field's value
        if isinstance(value, bytes):
            return b64encode(value).decode()
        return sorted(value) if isinstance(value, frozenset) else str(value)

    return json.dumps(
        {
            "read_at": copy.read_at,
            "feeds": [{**asdict(each.feed), "port": each.port} for each in copy.listened],
            "keys": [asdict(each) for each in copy.wrapped],
            "tenants": [asdict(each) for each in copy.standings],
        },
        default=plain,
        sort_keys=True,
    )


def _loads(stored: str) -> Copy:
    loaded = json.loads(stored)
    return Copy(
        read_at=float(loaded["read_at"]),
        listened=[_listened(each) for each in loaded["feeds"]],
        wrapped=[
            Wrapped(
                tenant_id=UUID(each["tenant_id"]), purpose=each["purpose"],
                version=each["version"], wrapped=b64decode(each["wrapped"]),
            )
            for each in loaded["keys"]
        ],
        standings=[
            Standing(**{**each, "tenant_id": UUID(each["tenant_id"])}) for each in loaded["tenants"]
        ],
    )  # fmt: skip


def _listened(stored: dict[str, Any]) -> Listened:
    port = stored.pop("port")
    at, fault = tenancy.located(stored["zone"])
    instance = stored.get("emr_instance_id")
    feed = Feed(
        **{
            **stored,
            "feed_id": UUID(stored["feed_id"]),
            "tenant_id": UUID(stored["tenant_id"]),
            "zone": at,
            "fault": fault or stored.get("fault"),
            "identifier_types": tuple(stored["identifier_types"]),
            "emr_instance_id": instance and UUID(instance),
            **{name: frozenset(stored[name]) for name in _SETS if name in stored},
        }
    )
    return Listened(feed=feed, port=port)
