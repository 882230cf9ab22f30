"""Accounts: a visit's patient changes where its account, told beside its number, is moved (A44).

An A44 names an account (MRG-3), and its event stands in the stream that a visit by the account's
number would have. Which visits belong to it is learned from messages that carry both numbers, and
each of them is told the change in its own stream, whichever came first (rules M3, M5). Patients
who were ever told to be one count as one, since a merge and an A44 come in any order, too.
"""

import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import Connection

from schemas import identity
from sinks import aliases
from sinks.database import Refused, Row

# An account has a handful of visits; one of more is a number that a feed gives to everybody.
VISITS_MAX = 1_000
MOVES_MAX = 1_000  # of one account, the newest; nobody's account moves so often
TOLD_MAX = 20_000  # events by one message, as many as `joins` tells again
# Advisory, with a number of the tenant's: who moves accounts waits for who learns visits of them.
LOCK = 0x61636374
_MOVED, _TRIGGER = "admission.patient_changed", "A44"
_MERGED = "patient.merged"
_TOO_MANY = "54000"  # program_limit_exceeded

Event = Mapping[str, Any]  # a row of ``events``


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """That a message told of a visit and its account, and of whom; ids as text.

    ``account_id`` is the id that a visit by the account's number would have.
    """

    tenant_id: str
    account_id: str
    admission_id: str
    patient_id: str


Said = tuple[Sequence[Event], Sequence[Visit]]
"""A message's events without numbers, and the visits whose accounts it told."""


@dataclass(slots=True)
class Accounts:
    """What is known of some accounts: each one's visits with whose they were, and its moves.

    ``told`` are the ids of the events by which visits were told of moves. ``into`` has, for
    patients who were ever told to be one, the next one up.
    """

    visits: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    moves: dict[str, list[Event]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    into: dict[str, str] = field(default_factory=dict)

    def follow(self, said: Said) -> list[dict[str, Any]]:
        """Take in what a message says; what visits are to be told because of it, each once."""
        events, learned = said
        asked: dict[tuple[str, str], None] = {}
        for visit in learned:
            self.learn(visit)
            asked[visit.account_id, visit.admission_id] = None
        for event in moving(events):
            account = str(event["stream_id"])
            self.moves.setdefault(account, []).append(event)
            visits = self.visits.get(account, {})
            if sum(map(len, visits.values())) > VISITS_MAX:
                raise Refused(_TOO_MANY, "visits_max")
            asked.update(dict.fromkeys((account, admission) for admission in visits))
        for pair in list(tying(events)):
            self.tie(*pair)
            asked.update(dict.fromkeys(self.pairs))
        told: list[dict[str, Any]] = []
        for account, admission in asked:
            due = self._due(account, admission)
            told += [_telling(move, admission, cause=events[0]) for move in due]
            if len(told) > TOLD_MAX:
                raise Refused(_TOO_MANY, "told_max")
        return told

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every account with each visit of it."""
        return [(account, visit) for account, visits in self.visits.items() for visit in visits]

    def tie(self, patient: str, other: str) -> None:
        """That two patients were told to be one, be it undone or not."""
        one, another = self.one(patient), self.one(other)
        if one != another:
            self.into[one] = another

    def one(self, patient: str) -> str:
        """Who stands for all whom the patient was told to be."""
        while patient in self.into:
            patient = self.into[patient]
        return patient

    def learn(self, visit: Visit) -> None:
        """That a visit belongs to an account, and was that patient's."""
        visits = self.visits.setdefault(visit.account_id, {})
        visits.setdefault(visit.admission_id, set()).add(visit.patient_id)

    def reaching(self, account: str, admission: str) -> list[Event]:
        """The account's moves that move this visit: from whose it was, one after another.

        A number that is used again is another patient's account, whose visits stay. It depends
        on the set of moves alone: not on when they were told, nor on when the visit was learned.
        """
        waiting: dict[str | None, list[Event]] = {}
        for move in self.moves.get(account, ()):
            source = move["data"]["from_patient_id"]
            waiting.setdefault(source and self.one(source), []).append(move)
        reached: list[Event] = []
        patients = [None, *map(self.one, sorted(self.visits[account][admission]))]
        for patient in patients:  # which grows by whom each of its moves leads to
            found = waiting.pop(patient, [])
            reached += found
            patients += [self.one(move["data"]["patient_id"]) for move in found]
        return reached

    def _due(self, account: str, admission: str) -> Iterator[Event]:
        for move in self.reaching(account, admission):
            event_id = _event_id(move, admission)
            if event_id not in self.told:
                self.told.add(event_id)
                yield move


def follow(
    connection: Connection[Row], messages: Sequence[Said]
) -> tuple[list[list[Event]], list[Visit]] | None:
    """Each message's events with what they make visits be told, and the visits that are new.

    Under the locks of the events' partitions: two messages of one visit learn one after the
    other. None, where nothing is learned or moved, as is mostly so.
    """
    said = list(dict.fromkeys(visit for _, visits in messages for visit in visits))
    known = _known(connection, said)
    fresh = [visit for visit in said if visit not in known]
    moved = [event for events, _ in messages for event in moving(events)]
    tied = [event for events, _ in messages for event in events if _ties(event)]
    if not fresh and not moved and not tied:
        return None
    alone = {str(each["tenant_id"]) for each in (*moved, *tied)}
    _lock(connection, alone, {one.tenant_id for one in fresh})
    accounts = _around(connection, fresh, moved, tied)
    new = set(fresh)
    return [
        [*events, *accounts.follow((events, [visit for visit in visits if visit in new]))]
        for events, visits in messages
    ], fresh


def keep(connection: Connection[Row], visits: Iterable[Visit], recorded_at: datetime) -> None:
    """Write the visits that are new."""
    rows = sorted((*_key(visit), visit.tenant_id) for visit in visits)
    if rows:
        given = [list(each) for each in zip(*rows, strict=True)]
        connection.execute(_KEEP, (recorded_at, *given))


def moving(events: Iterable[Event]) -> Iterator[Event]:
    """The events that move an account, each in the account's own stream."""
    for event in events:
        if event["event_type"] == _MOVED and event["data"]["trigger"] == _TRIGGER:
            yield event


def tying(events: Iterable[Event]) -> Iterator[tuple[str, str]]:
    """The patients whom events tell to be one, in pairs."""
    for event in filter(_ties, events):
        yield str(event["stream_id"]), str(event["data"][aliases.TELLING[_MERGED]])


def _ties(event: Event) -> bool:
    return bool(event["event_type"] == _MERGED)


def _telling(move: Event, admission: str, *, cause: Event) -> dict[str, Any]:
    """The move as an event of the visit. The number sealed in it is the account's: left out."""
    return {
        **move,
        "event_id": _event_id(move, admission),
        "stream_id": admission,
        "sealed": {},
        "metadata": {**move["metadata"], "causation_id": str(cause["message_id"])},
    }


def _event_id(move: Event, admission: str) -> str:
    return str(identity.told_again(move["event_id"], admission))


def _key(visit: Visit) -> tuple[str, str, str]:
    return visit.account_id, visit.admission_id, visit.patient_id


def _lock(connection: Connection[Row], moving_in: set[str], learning_in: set[str]) -> None:
    """Until the transaction ends, who moves accounts of a tenant is alone; locks only rise."""
    alone = {_number(tenant) for tenant in moving_in}
    for number in sorted(alone | {_number(tenant) for tenant in learning_in}):
        connection.execute(_ALONE if number in alone else _SHARED, (LOCK, number))


def _number(tenant: str) -> int:
    """The tenant's advisory lock; two that share one only wait for each other."""
    return zlib.crc32(tenant.encode()) - (1 << 31)


def _known(connection: Connection[Row], visits: Collection[Visit]) -> set[Visit]:
    """Those of these visits that were learned before."""
    if not visits:
        return set()
    given = [list(each) for each in zip(*map(_key, visits), strict=True)]
    return {Visit(**row) for row in connection.execute(_KNOWN, given)}


def _around(
    connection: Connection[Row],
    fresh: Sequence[Visit],
    moved: Sequence[Event],
    tied: Sequence[Event],
) -> Accounts:
    """All visits of the accounts that move, those to be learned or of whom is merged, their moves.

    With who was told to be one of all these patients.
    """
    accounts = Accounts()
    moving_now = sorted({str(event["stream_id"]) for event in moved})
    values = (
        moving_now,
        VISITS_MAX + 1,
        [visit.account_id for visit in fresh],
        [visit.admission_id for visit in fresh],
    )
    rows = connection.execute(_VISITS, values).fetchall()
    merged = {patient for pair in tying(tied) for patient in pair}
    if merged:
        same = aliases.around(connection, merged)
        merged |= {each for one in same for each in (one.patient_id, one.into_patient_id)}
        named = (sorted(merged), _MOVED, _TRIGGER, VISITS_MAX + 1)
        of_merged = connection.execute(_OF_PATIENTS, named).fetchall()
        if len(of_merged) > VISITS_MAX:
            raise Refused(_TOO_MANY, "visits_max")
        rows += of_merged
    for row in rows:
        accounts.learn(Visit(**row))
    touched = sorted({*accounts.visits, *moving_now, *(visit.account_id for visit in fresh)})
    for row in connection.execute(_MOVES, (touched, _MOVED, _TRIGGER, MOVES_MAX)):
        accounts.moves.setdefault(row["stream_id"], []).append(row)
    _know(connection, accounts, fresh, moved)
    return accounts


def _know(
    connection: Connection[Row], accounts: Accounts, fresh: Sequence[Visit], moved: Sequence[Event]
) -> None:
    """Which visits were told of which moves, and who was told to be one of whom these name."""
    again = [
        _event_id(move, admission)
        for account, admission in {*accounts.pairs, *(_key(visit)[:2] for visit in fresh)}
        for move in accounts.moves.get(account, ())
    ]
    if again:
        rows = connection.execute("SELECT event_id FROM events WHERE event_id = ANY(%s)", (again,))
        accounts.told = {row["event_id"] for row in rows}
    moves = [*moved, *(move for each in accounts.moves.values() for move in each)]
    if moves:
        said = [move["data"] for move in moves]
        people = {each[name] for each in said for name in ("from_patient_id", "patient_id")}
        people |= {visit.patient_id for visit in fresh}
        people |= {each for of in accounts.visits.values() for one in of.values() for each in one}
        for one in aliases.around(connection, people - {None}):
            if one.kind != aliases.UNDO:
                accounts.tie(one.patient_id, one.into_patient_id)


_SHARED = "SELECT pg_advisory_xact_lock_shared(%s::int, %s::int)"
_ALONE = "SELECT pg_advisory_xact_lock(%s::int, %s::int)"
_KNOWN = """
SELECT tenant_id, account_id, admission_id, patient_id FROM visit_accounts
WHERE (account_id, admission_id, patient_id)
   IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]))
"""
_VISITS = """
SELECT visit.* FROM unnest(%s::uuid[]) AS account (account_id) CROSS JOIN LATERAL (
    SELECT tenant_id, account_id, admission_id, patient_id FROM visit_accounts
    WHERE account_id = account.account_id ORDER BY admission_id, patient_id LIMIT %s
) AS visit
UNION
SELECT tenant_id, account_id, admission_id, patient_id FROM visit_accounts
WHERE (account_id, admission_id) IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[]))
"""
_OF_PATIENTS = """
SELECT tenant_id, account_id, admission_id, patient_id FROM visit_accounts AS visit
WHERE patient_id = ANY (%s::uuid[]) AND EXISTS (
    SELECT FROM events WHERE stream_id = visit.account_id
      AND event_type = %s AND data ->> 'trigger' = %s)
ORDER BY account_id, admission_id, patient_id LIMIT %s
"""
_MOVES = """
SELECT move.* FROM unnest(%s::uuid[]) AS account (account_id) CROSS JOIN LATERAL (
    SELECT event_id, stream_id, stream_type, event_type, schema_version, tenant_id, feed_id,
           message_id, person_id, occurred_at, occurred_precision, occurred_field, occurred_text,
           data, sealed, metadata, created_by
    FROM events
    WHERE stream_id = account.account_id AND event_type = %s AND data ->> 'trigger' = %s
    ORDER BY event_version DESC LIMIT %s
) AS move
"""
_KEEP = """
INSERT INTO visit_accounts (account_id, admission_id, patient_id, tenant_id, recorded_at)
SELECT *, %s::timestamptz FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::uuid[])
ON CONFLICT DO NOTHING
"""
