"""The judge's loop: what is due is judged, and written with its mark's removal, or stays due."""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from schemas.failpoints import FailPoint
from sinks import relay, verification
from sinks.database import Database, DatabaseAway, Refused
from sinks.verification import PATIENTS_MAX, Grown, Work
from streams.verification import absence, rows
from streams.verification.judge import judge
from streams.verification.projection import CHANNEL

POLL_SECONDS = 0.5  # how long a lost notice goes unnoticed
LOOK_SECONDS = 10.0  # how long a mark may lie that was made while its patient was judged
BACKOFF_SECONDS = (0.1, 30.0)
GROWN_MAX = 5  # in a row; patients are tied to each other less often than they are judged

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Judge:
    """Judges patients that are due; runs in a thread of its own, beside others elsewhere."""

    database: Database
    judged: int = 0
    """How many results were written."""
    failure: str | None = None
    _seen: tuple[tuple[str, str, str, datetime], ...] = ()
    _look_at: float = 0.0
    _grown: int = field(default=0)

    def run(self, stop: threading.Event) -> None:
        """Judge until ``stop``; what only passes is waited for."""
        backoff = BACKOFF_SECONDS[0]
        while not stop.is_set():
            try:
                with relay.listening(self.database, CHANNEL) as wait:
                    while not stop.is_set():
                        if not self.round():
                            wait(POLL_SECONDS)
                        backoff = BACKOFF_SECONDS[0]
            except (DatabaseAway, FailPoint) as trouble:
                logger.warning("judge: again in %.1f s: %s", backoff, trouble)
                stop.wait(backoff)
                backoff = min(backoff * 2, BACKOFF_SECONDS[1])
            except Exception as error:  # a thread that died in silence would show only as lag
                self.failure = type(error).__name__
                logger.critical("judge stopped: %s", self.failure)
                break

    def round(self) -> int:
        """Judge the next patients that are due; return how many marks were worked on."""
        expanded = verification.expand(self.database)
        return expanded + self._batch() + self._passed()

    def _batch(self) -> int:
        """One transaction; where judging fails, one for each patient, and the failing set aside."""
        try:
            worked = self._judge(PATIENTS_MAX)
            self._grown = 0
        except Grown:
            self._grown += 1
            if self._grown > GROWN_MAX:
                raise
            return 1
        except _Failed as failed:
            if len(failed.patients) > 1:
                return self._singly()
            self._aside(failed)
            return 1
        return worked

    def _singly(self) -> int:
        try:
            return self._judge(1)
        except _Failed as failed:
            self._aside(failed)
            return 1

    def _aside(self, failed: "_Failed") -> None:
        # By its type: an error's text may quote a row.
        logger.error("judging a patient failed, and is set aside: %s", failed.error)
        for patient in failed.patients:
            verification.failed(self.database, failed.tenant_id, patient, failed.error)

    def _judge(self, limit: int) -> int:
        work: Work | None = None
        try:
            with verification.due(self.database, rows.asked_for, limit=limit) as work:
                if work is None:
                    return 0
                work.results = results(work)
        except (DatabaseAway, FailPoint, Grown):
            raise
        except Exception as error:
            if work is None:
                raise
            raise _Failed(work.tenant_id, work.patients, _kind(error)) from error
        self.judged += work.written
        return len(work.patients)

    def _passed(self) -> int:
        """Make due what the feeds' progress has decided since we looked last."""
        watermarks, rules = verification.progress(self.database)
        seen = tuple(
            sorted((w["tenant_id"], w["feed_id"], w["told"], w["clinical_at"]) for w in watermarks)
        )
        now = time.monotonic()
        if seen == self._seen and now < self._look_at:
            return 0
        by_tenant = absence.progress(rows.watermarks(watermarks))
        count = 0
        for each in map(rows.rule, rules):
            progress = by_tenant.get(each.tenant_id)
            count += verification.passed(
                self.database, each.tenant_id, each.rule_id,
                least=progress.least(each) if progress else None,
                clock=progress.clock if progress else None,
                stale_after_s=each.stale_after_s,
            )  # fmt: skip
        self._seen, self._look_at = seen, now + LOOK_SECONDS
        return count


class _Failed(Exception):  # noqa: N818  named for what happened
    """Judging these patients raised something that no patience mends."""

    def __init__(self, tenant_id: str, patients: Sequence[str], error: str) -> None:
        super().__init__(error)
        self.tenant_id, self.patients, self.error = tenant_id, patients, error


def results(work: Work) -> list[tuple[dict[str, object], dict[str, object]]]:
    """The row and the record of every task around the patients that are due."""
    homes = {row["task_id"]: row["partition"] for row in work.around.tasks}
    return [
        (rows.row(each, partition=homes[each.task_id]), rows.record(each))
        for each in judge(rows.facts(work.around))
    ]


def _kind(error: Exception) -> str:
    return str(error) if isinstance(error, Refused) else type(error).__name__
