"""Writes down who opens a patient's data by a command, what and why, before it is opened."""

import errno
import os
from datetime import UTC, datetime
from uuid import UUID

import orjson

from ops import account
from ops.settings import Settings

FILE = "opened.log"  # in the home's logs/
WHY_MAX = 200  # characters


def note(settings: Settings, *, what: str, tenant_id: UUID, why: str | None) -> None:
    """Append a line of JSON; where that can't be done it raises ``OSError``, and nothing opens.

    ``what`` is the command. ``why`` is what its user said, None where nothing was.
    """
    line = orjson.dumps(
        {
            "at": datetime.now(UTC), "by": account.name(), "what": what,
            "tenant_id": tenant_id, "why": None if why is None else why[:WHY_MAX],
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )  # fmt: skip
    file = settings.home / "logs" / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    # One write, at the end, whoever writes beside: no line is torn.
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if os.write(handle, line) < len(line):  # the disk is full in the midst of it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
    finally:
        os.close(handle)
