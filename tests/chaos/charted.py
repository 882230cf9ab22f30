"""Work and evidence of a play: made from a seed, in shares for its acts, out of order."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from schemas import identity
from schemas.commands import TYPES
from schemas.identity import Identifier
from schemas.sealing import Keys
from streams.ledger.commands.verifications import stream_of
from tests.chaos.asked import CLERK, ISSUED, Ask

MORNING = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
MINUTES = 14 * 60  # within which tasks are due
CODES = ("8310-5", "8867-4", "9279-1")  # a rule for each
WARD = str(UUID(int=0xDE0001))
AUTHORITY = "NORTH"
RULE: Mapping[str, Any] = {
    "evidence_kinds": ["observation"], "window_before_s": 1800, "window_after_s": 1800,
    "allowance_s": 3600, "encounter_policy": "any", "thresholds": None, "feeds": [],
    "stale_after_s": 7200,
}  # fmt: skip
ABSENT: Mapping[str, Any] = {
    "clock": None, "hlc_micros": None, "hlc_counter": None, "replica": None,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What has to stand before anything refers to it, and what comes in each act."""

    people: list[bytes]
    founding: list[Ask]
    acts: list[list[Ask | bytes]]
    numbers: set[str]
    """The orders that evidence was told of."""

    @property
    def bodies(self) -> list[bytes]:
        """Every message."""
        told = [each for act in self.acts for each in act if isinstance(each, bytes)]
        return [*self.people, *told]


def chart(seed: int, tenant: UUID, keys: Keys, *, patients: int, tasks: int, acts: int) -> Chart:
    """Tasks of some patients, with what feeds and people say of them, in shuffled shares.

    One patient is merged into another one for good, a second one for a while.
    """
    made = _Made(rng=random.Random(f"chart/{seed}"), tenant=tenant, keys=keys, patients=patients)
    for number in range(tasks):
        made.task(number)
    for source, into, undone in ((0, 1, False), (2, 3, True)):
        made.merged(source, into, undone=undone)
    for act in range(acts):
        # Feeds go on telling, so that absence comes to say something, in the end of all tasks.
        at = MORNING + timedelta(minutes=MINUTES * (act + 1) / acts, hours=8 * (act == acts - 1))
        made.say(act / acts + 0.5 / acts, made.adt("A31", patients - 1, at))
    made.say(0.4, made.command("verification_rule.revise", _rule(2), _defined(2, high=39.0)))
    made.items.sort(key=lambda item: item[0])
    whole = [said for _, said in made.items]
    shares = [
        whole[len(whole) * act // acts : len(whole) * (act + 1) // acts] for act in range(acts)
    ]
    people = [made.adt("A28", number, MORNING - timedelta(hours=1)) for number in range(patients)]
    ward = made.command("department.create", WARD, {"code": "W1", "name": "Ward"})
    rules = [
        made.command("verification_rule.define", _rule(number), _defined(number))
        for number in range(len(CODES))
    ]
    return Chart(people=people, founding=[ward, *rules], acts=shares, numbers=made.numbers)


@dataclass(slots=True, kw_only=True)
class _Made:
    """What was made so far: each item with its place in the play, from 0 to 1."""

    rng: random.Random
    tenant: UUID
    keys: Keys
    patients: int
    items: list[tuple[float, Ask | bytes]] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)
    told: int = 0

    def say(self, place: float, said: Ask | bytes) -> None:
        self.items.append((place, said))

    def after(self, place: float) -> float:
        """A later place, so that what follows on something comes after it."""
        return place + self.rng.random() * (1 - place)

    def task(self, number: int) -> None:
        """A task, perhaps edited, cancelled or decided on; and what is told of the like."""
        rng, place = self.rng, self.rng.random()
        patient, rule = rng.randrange(self.patients), rng.randrange(len(CODES))
        due, task = MORNING + timedelta(minutes=rng.randrange(MINUTES)), self._uuid()
        data = {
            "title": "Temperature", "description": None, "priority": "normal",
            "due_at": _micros(due), "department_id": WARD, "shift_id": None,
            "patient_id": self._patient(patient), "admission_id": None, "assigned_to": None,
            "order_id": None, "rule_id": _rule(rule), "window_starts_at": None,
            "window_ends_at": None, "recurrence": None, **ABSENT,
        }  # fmt: skip
        self.say(place, self.command("task.create", task, data))
        for name, stream, more in self._later(task, data, due):
            self.say(self.after(place), self.command(name, stream, more))
        if rng.random() < 0.75:
            self._evidence(f"P{number}", patient, rule, due)

    def _later(
        self, task: str, data: Mapping[str, Any], due: datetime
    ) -> Iterator[tuple[str, str, dict[str, Any]]]:
        drawn = self.rng.random()
        if drawn < 0.06:
            yield "task.cancel", task, {"cancelled_at": None, "reason": None, **ABSENT}
        elif drawn < 0.14:
            moved = dict.fromkeys(("title", "description", "priority", "shift_id"))
            windows = {"window_starts_at": None, "window_ends_at": None, "cleared": []}
            later = {"due_at": _micros(due + timedelta(minutes=self.rng.randrange(90)))}
            yield "task.edit", task, {**moved, **windows, **later, **ABSENT}
        elif drawn < 0.22:
            yield "verification.decide", stream_of(task), {
                "task_id": task, "patient_id": data["patient_id"], "evidence_seen": None,
                "outcome": self.rng.choice(("verified", "refuted")), "reason": None, **ABSENT,
            }  # fmt: skip

    def _evidence(self, number: str, patient: int, rule: int, due: datetime) -> None:
        """A result near the due time; perhaps corrected, taken back, another's, or told twice."""
        rng, place = self.rng, self.rng.random()
        self.numbers.add(number)
        performed = due + timedelta(minutes=rng.randrange(-40, 41))
        reported = performed + timedelta(minutes=5 if rng.random() < 0.85 else 400)
        state = rng.choices(("F", "P", "X"), (8, 1, 1))[0]
        first = self.oru(number, patient, rule, performed, reported, state)
        self.say(place, first)
        if rng.random() < 0.1:
            self.say(self.after(place), first)
        drawn, later = rng.random(), reported + timedelta(minutes=30)
        if drawn < 0.15:
            at = rng.random()  # also before what it corrects
            self.say(at, self.oru(number, patient, rule, performed, later, "C"))
        elif drawn < 0.25:
            self.say(rng.random(), self.oru(number, patient, rule, performed, later, "W"))
        elif drawn < 0.35:
            other = rng.randrange(self.patients)
            self.say(rng.random(), self.oru(number, other, rule, performed, later, "C"))

    def merged(self, source: int, into: int, *, undone: bool) -> None:
        at, place = MORNING + timedelta(hours=2), self.rng.random() / 2
        self.say(place, self.adt("A40", into, at, f"MRG|{_pid(source)}"))
        if undone:
            later = at + timedelta(hours=3)
            self.say(self.after(place), self.adt("A37", into, later, f"PID|2||{_pid(source)}"))

    def command(self, name: str, stream: str, data: Mapping[str, Any]) -> Ask:
        command_id, self.told = self._uuid(), self.told + 1
        record = {
            "command_id": command_id, "command_type": name, "schema_version": 1,
            "tenant_id": str(self.tenant), "stream_type": TYPES[name].stream_type,
            "stream_id": stream, "expected_version": None, "issued_at": ISSUED + self.told,
            "issued_by": CLERK, "correlation_id": command_id, "trace": None,
        }  # fmt: skip
        return Ask(record=record, data=data)

    def adt(self, trigger: str, patient: int, at: datetime, *more: str) -> bytes:
        event = f"EVN|{trigger}|{_time(at)}"
        return self._body(f"ADT^{trigger}", at, event, f"PID|1||{_pid(patient)}", *more)

    def oru(
        self, number: str, patient: int, rule: int, performed: datetime, reported: datetime,
        state: str,
    ) -> bytes:  # fmt: skip
        code = f"{CODES[rule]}^Reading^LN"
        value = 36 + self.rng.random() * 5
        return self._body(
            "ORU^R01^ORU_R01", reported, f"PID|1||{_pid(patient)}",
            f"OBR|1|{number}^CPOE||{code}|||{_time(performed)}",
            f"OBX|1|NM|{code}||{value:.1f}|Cel|||||{state}|||{_time(performed)}",
        )  # fmt: skip

    def _body(self, kind: str, at: datetime, *segments: str) -> bytes:
        self.told += 1
        header = f"MSH|^~\\&|LAB|NORTH|||{_time(at)}||{kind}|{self.told}|P|2.5.1"
        return "\r".join([header, *segments, ""]).encode()

    def _patient(self, number: int) -> str:
        named = Identifier(value=f"M{number}", authority=AUTHORITY)
        return str(identity.patient(self.keys.identity, named))

    def _uuid(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))


def _pid(number: int) -> str:
    return f"M{number}^^^{AUTHORITY}^MR"


def _rule(number: int) -> str:
    return str(UUID(int=0x12E0 + number))


def _defined(number: int, *, high: float | None = None) -> dict[str, Any]:
    limits = {"low": None, "high": high, "unit": "Cel"} if high else None
    codes = [{"system": "LN", "code": CODES[number]}]
    return {**RULE, "name": f"reading {number}", "codes": codes, "thresholds": limits}


def _time(at: datetime) -> str:
    return f"{at:%Y%m%d%H%M%S}+0000"


def _micros(at: datetime) -> int:
    return round(at.timestamp()) * 1_000_000
