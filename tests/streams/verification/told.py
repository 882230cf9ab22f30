"""Events of one day, as the log has them, put through the projection and the judge."""

from dataclasses import dataclass, field
from typing import Any

from schemas.clock import micros
from sinks.transaction import Recorded
from streams.verification.asked import id_of
from streams.verification.judging import Judge
from streams.verification.projection import PROJECTION
from tests.sinks.provisioned import FEED, OURS, apply, event
from tests.streams.verification.cases import at, uid

RECORDED = "2 00:00"  # when the ledger had all of it
RULE = {
    "name": "temperature", "evidence_kinds": ["observation"],
    "codes": [{"system": "LN", "code": "8310-5"}], "window_before_s": 1800,
    "window_after_s": 1800, "allowance_s": 3600, "encounter_policy": "any", "thresholds": None,
    "feeds": [], "stale_after_s": 7200, "order_codes": [],
}  # fmt: skip
IGNORED = ("partition_seq", "judged_at", "revision")


def happened(kind, stream, data, *, said="", occurred="09:00", version=1, **given):
    """A fact, whatever its place in the log: the same id and times wherever it stands."""
    name = f"{kind}/{stream}/{said}/{version}"
    return {
        "event_type": kind, "stream_type": kind.partition(".")[0], "stream_id": uid(stream),
        "event_id": uid(name), "event_version": version, "data": data,
        "occurred_at": micros(at(occurred)), "recorded_at": micros(at(RECORDED)),
        "tenant_id": OURS, **given,
    }  # fmt: skip


def task(name="t", *, due="10:00", patient="p", rule="r", status=None, version=1, **given):
    data = {
        "patient_id": uid(patient), "admission_id": None, "rule_id": uid(rule), "order_id": None,
        "due_at": micros(at(due)), "window_starts_at": None, "window_ends_at": None,
        "status": status or "pending", "hlc_micros": version, "hlc_counter": 0,
        "replica": "ledger", **given,
    }  # fmt: skip
    kind = "task.cancelled" if status == "cancelled" else "task.created"
    return happened(kind, name, data, version=version)


def evidence(
    name="e", performed="10:00", *, reported=None, state="final", patient="p", visit=None,
    feed=FEED, order=None
):  # fmt: skip
    reported = reported or performed
    data = {
        "patient_id": uid(patient), "reported_at": micros(at(reported)), "version": None,
        "kind": "observation", "state": state, "raw_state": "F",
        "codes": [{"system": "LN", "code": "8310-5"}], "value_number": 37.0, "value_unit": "Cel",
        "value_comparator": None, "value_code": None,
        "admission_id": uid(visit) if visit else None, "order_id": uid(order) if order else None,
    }  # fmt: skip
    said = f"{reported}/{state}/{patient}"
    return happened("evidence.recorded", name, data, said=said, occurred=performed, feed_id=feed)


def order(
    name="o", said="placed", *, reported="09:00", ordered=None, patient="p", code="24323-8",
    starts=None, ends=None, day=False, filler=None, visit=None, **given
):  # fmt: skip
    """What is told of an order; ``day``: its start says no more than the day."""
    data = {
        "patient_id": uid(patient), "reported_at": micros(at(reported)), "kind": "service",
        "codes": [{"system": "LN", "code": code}] if code else [],
        "starts_at": starts and micros(at(starts)), "ends_at": ends and micros(at(ends)),
        "starts_precision": starts and ("day" if day else "minute"),
        "ends_precision": ends and "minute", "occurrences": None, "interval_s": None,
        "simple": True, "admission_id": uid(visit) if visit else None,
        "filler_order_id": uid(filler) if filler else None, **given,
    }  # fmt: skip
    told = f"{reported}/{patient}/{code}/{starts}/{ends}/{filler}/{sorted(given.items())}"
    return happened(f"order.{said}", name, data, said=told, occurred=ordered or reported)


def retired(name="r", occurred="12:00", version=2):
    data = {"reason_code": None}
    return happened("verification_rule.retired", name, data, occurred=occurred, version=version)


def rule(name="r", *, version=1, **given):
    return happened("verification_rule.defined", name, {**RULE, **given}, version=version)


def merged(source, into, said="09:00"):
    data = {"reported_at": micros(at(said)), "into_patient_id": uid(into), "kind": "merge"}
    return happened("patient.merged", source, data, said=f"{into}/{said}")


def parted(source, into, said="12:00"):
    data = {"reported_at": micros(at(said)), "from_patient_id": uid(into)}
    return happened("patient.unmerged", source, data, said=f"{into}/{said}")


def moved(visit, patient, was, said="11:00"):
    data = {
        "reported_at": micros(at(said)), "patient_id": uid(patient), "from_patient_id": uid(was),
    }  # fmt: skip
    return happened("admission.patient_changed", visit, data, said=f"{patient}/{said}")


def joined(visit, into, patient, said="11:00"):
    data = {
        "reported_at": micros(at(said)), "patient_id": uid(patient), "into_admission_id": uid(into),
    }  # fmt: skip
    return happened("admission.joined", visit, data, said=f"{into}/{said}")


def asked_of(order="o", rule="r", number=0):
    """The id of a task that an order makes."""
    return id_of(uid(order), uid(rule), number)


def decided(
    outcome, clock, *, task="t", version=1, order=None, rule="r", number=0, due=None, window=None,
    patient="p", replica="ledger", **given
):  # fmt: skip
    """``order``: on the task of that number that it makes by the rule, ``due`` or in a window."""
    starts, ends = window or (None, None)
    data = {
        "task_id": asked_of(order, rule, number) if order else uid(task),
        "order_id": uid(order) if order else None, "rule_id": uid(rule) if order else None,
        "due_at": due and micros(at(due)), "window_starts_at": starts and micros(at(starts)),
        "window_ends_at": ends and micros(at(ends)),
        "patient_id": uid(patient), "outcome": outcome, "clock": clock,
        "hlc_micros": version, "hlc_counter": 0, "replica": replica, "author_id": uid("nurse"),
    }  # fmt: skip
    stream = f"v/{order or task}" + (f"/{number}" if number else "")
    return happened("verification.decided", stream, data, version=version, **given)


def spoke(clock, feed=FEED):
    """A feed's message about nobody in particular, by which it has told up to that time."""
    data = {"patient_id": uid("nobody"), "reported_at": micros(at(clock))}
    return happened("patient.updated", "nobody", data, said=f"{clock}/{feed}", feed_id=feed)


@dataclass(slots=True)
class Line:
    """A projection's partition in a database, with the judge behind it."""

    store: Any
    partition: int = 0
    held: Any = None
    at: int = 0
    judge: Any = field(default=None)

    def __post_init__(self):
        tenant = "INSERT INTO tenants (id, name) VALUES (%s, 'ours') ON CONFLICT DO NOTHING"
        self.store.run(tenant, OURS)
        self.held = self.store.take(PROJECTION.name, self.partition)
        self.judge = Judge(database=self.store.database)

    def tell(self, *facts, judge=True):
        """Put the next events through the projection, as one batch."""
        batch = []
        for number, fact in enumerate(facts, start=self.at):
            placed = {**event(number + 1), **fact, "partition": self.partition}
            placed |= {"partition_seq": number + 1, "global_position": number + 1}
            batch.append(Recorded(number, b"key", b"value", placed))
        if batch:
            self.at = apply(self.store, self.held, batch, PROJECTION)
        if judge:
            self.settle()

    def settle(self):
        """Judge until nothing is due."""
        for _ in range(50):
            if not self.judge.round():
                return
        raise AssertionError("something is always due")

    def rows(self):
        """What is known of each task, without the numbers of when it came to be known."""
        found = self.store.rows("SELECT * FROM emr_verifications ORDER BY task_id")
        return [
            {name: value for name, value in row.items() if name not in IGNORED} for row in found
        ]

    def outcomes(self):
        """The outcome of each task by its name's id."""
        return {str(row["task_id"]): row["status"] for row in self.rows()}

    def asked(self):
        """The outcomes and reasons of the tasks that orders ask for, by due time."""
        found = self.store.rows(
            "SELECT status::text, reasons FROM emr_verifications JOIN verification_tasks"
            " USING (task_id) WHERE order_id IS NOT NULL ORDER BY due_at, task_id"
        )
        return [(row["status"], *row["reasons"]) for row in found]

    def outcome(self, name="t"):
        return self.outcomes()[uid(name)]
