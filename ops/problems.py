"""What goes wrong with a request, as its sender is told it: problems of RFC 9457."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import hdrs, web

from ops.parameters import Misasked, NotFound
from producers.ports import KeysAway, NotDurable
from sinks.commands import WaitingFull
from sinks.database import DatabaseAway, LoginRefused
from sinks.queries import AnswerTooLong, NotMigrated

PROBLEM = "application/problem+json"
RETRY_SECONDS = 1

logger = logging.getLogger(__name__)


class Busy(Exception):  # noqa: N818  named for what is wrong
    """As much is done as may be at once."""


class NotThereYet(Exception):  # noqa: N818  named for what is wrong
    """What answers hasn't come as far as the asker wants."""


class Unfit(Exception):  # noqa: N818  named for what is wrong
    """A body that isn't taken; neither line nor hint repeats anything of it."""

    def __init__(self, status: int, line: str, hint: str = "") -> None:
        super().__init__(line)
        self.status, self.hint = status, hint


Told = dict[str, Any]


# Each trouble that passes, with its line and what to do about it.
_PASSES: Sequence[tuple[tuple[type[Exception], ...], str, str]] = (
    ((Busy, WaitingFull), "too much is asked at once", "ask again"),
    ((NotThereYet,), "not there yet: min_position isn't folded", "ask again"),
    ((DatabaseAway,), "the database is away or slow", "ask again"),
    (
        (NotDurable,), "the brokers don't hold the command: nothing is promised",
        "send it again under the same command_id",
    ),
    ((KeysAway,), "the tenant's keys can't be had now", "send it again"),
)  # fmt: skip


def told(error: Exception) -> Told:
    """The problem that an exception is; nothing of the question or of a row is in it."""
    for kinds, line, hint in _PASSES:
        if isinstance(error, kinds):
            return problem(503, line, hint)
    match error:
        case Misasked():
            return problem(400, str(error), error.hint)
        case Unfit():
            return problem(error.status, str(error), error.hint)
        case NotFound():
            return problem(404, str(error))
        case AnswerTooLong():
            return problem(422, str(error), "ask about less: one track, one room, an instant")
        case LoginRefused() | NotMigrated():
            logger.error("questions can't be answered: %s", error)
            return problem(503, "the database isn't ready for questions")
        case _:
            logger.error("a question failed: %s", type(error).__name__)
            return problem(500, "unexpected trouble")


def problem(status: int, detail: str, hint: str = "", **more: object) -> Told:
    """A problem: one line, where there is one a hint, and what else is known of it."""
    said = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    return {**said, **({"hint": hint} if hint else {}), **more}


def response(told: Told, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """A problem as an answer; a 503 says when to try again."""
    status: int = told["status"]
    away: dict[str, str] = {hdrs.RETRY_AFTER: str(RETRY_SECONDS)} if status == 503 else {}
    return web.Response(
        status=status, body=orjson.dumps(told), content_type=PROBLEM,
        headers={**away, **(headers or {})},
    )  # fmt: skip
