"""The command that shows a message's whole way: received, answered, recorded, applied, derived."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import click
from rich.table import Table

from ops import openings, tracing
from ops.cli import shown, visits
from ops.cli.errors import Failed
from ops.cli.visits import STDIN, Id
from ops.settings import Settings
from ops.tracing import Body, Followed, Positions, Stands, Trace
from producers.peek import CONTROL_ID_BYTES_MAX, text
from schemas import identity
from schemas.feeds import Feed
from schemas.sealing import EnvelopeInvalid, Keys, KeyServiceAway
from sinks import queries, tenancy
from sinks import tracing as rows
from sinks.keyring import Keyring
from sinks.queries import Snapshot, Tenant
from sinks.tracing import (
    EVENTS_MAX,
    MESSAGES_MAX,
    ROWS_MAX,
    Became,
    Decided,
    Message,
    Point,
    Stuck,
    Verdict,
)

_HINT = "put - here and MSH-10 on standard input"
MESSAGE = Id(
    "message",
    "a message's or an event's id is a UUID; MSH-10 never stands in a command line, where others"
    f" can read it (hint: {_HINT})",
)
_NOTHING = "the ledger has no such message of this tenant"
_ELSEWHERE = (
    "one that it hasn't read yet: wardtrail lag; one whose MSH-10 couldn't be read has its id in"
    " wardtrail dead-letters show"
)
# It is said as what it is: a rule's word, and not a record's.
_FOLLOWS = "not stored: it follows from the message and its feed's settings"
_BOUNDS = {"events": EVENTS_MAX, "points": ROWS_MAX, "evidence": ROWS_MAX, "verdicts": ROWS_MAX}
_MORE = "wardtrail: there are more {} than are shown: {}"


@click.command()
@visits.tenant_option
@visits.reason_option
@click.argument("message", type=MESSAGE)
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def trace(message: UUID | str, called: str, why: str | None, as_json: bool) -> None:
    """Show a message's whole way: what came, what was answered, what became of it.

    MESSAGE is its id, or that of an event that it became; or - for its MSH-10 on standard input.
    What it says is masked, and opened with a --reason alone. Who asked and why is kept in the
    home's logs/opened.log.
    """
    control = _control() if message == STDIN else None
    settings = Settings.load()
    tenant = visits.named(settings, called)
    openings.note(settings, what="trace", tenant_id=tenant.tenant_id, why=why)
    with ExitStack() as stack:
        ring, shut = _keyring(stack, settings, why)
        snapshot = stack.enter_context(visits.reading(settings, tenant))
        feeds = {each.feed_id: each for each in _feeds(snapshot, tenant)}
        keys, locked = _keys(settings, snapshot, tenant, needed=bool(control or why))
        if control is not None:
            assert keys is not None, "asked for as needed"
            found = _of_control(snapshot, tenant, control, keys, feeds)
        else:
            assert isinstance(message, UUID), "an id, where it isn't standard input"
            found = rows.by_id(snapshot, tenant.tenant_id, message)
        if not found:
            raise Failed(_NOTHING, _ELSEWHERE)
        opens = Opens(ring=ring, keys=keys, why=why, shut=shut or locked)
        ways = [_way(snapshot, each, feeds, opens) for each in found[:MESSAGES_MAX]]
    cut = len(found) > MESSAGES_MAX
    if as_json:
        shown.json({"messages": [_data(each) for each in ways], "cut": cut})
        return
    for number, each in enumerate(ways):
        if number:
            click.echo()
        _show(each)
    if cut:
        click.echo(_MORE.format("messages of this MSH-10", MESSAGES_MAX), err=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opens:
    """What bodies are opened with; ``shut`` says why nothing can be opened."""

    ring: Keyring | None
    keys: Keys | None
    why: str | None
    shut: str | None

    def body(
        self, message: Message, events: Sequence[Became], feed: Feed | None,
        letters: Sequence[Stuck],
    ) -> Body:  # fmt: skip
        """A message's bytes, in clear only for a reason, and not of somebody who was erased."""
        if self.shut is not None or self.ring is None or self.keys is None:
            return Body(closed=self.shut)
        people = {UUID(each.person_id) for each in events if each.person_id}
        held = visits.with_people(self.ring, self.keys, people)
        if any(each.destroyed or each.erased for each in held.subjects.values()):
            return Body(closed=tracing.ERASED)
        return tracing.body(message, held, clear=self.why is not None, feed=feed, letters=letters)


def _way(snapshot: Snapshot, message: Message, feeds: Mapping[UUID, Feed], opens: Opens) -> Trace:
    """All that is known of a message."""
    feed = feeds.get(UUID(message.feed_id))
    events = rows.events(snapshot, message)
    letters = rows.letters(snapshot, message, events)
    return tracing.composed(
        message,
        feed=None if feed is None else feed.name,
        body=opens.body(message, events, feed, letters),
        positions=Positions(queries.standings(snapshot)),
        letters=letters,
        command=rows.decided(snapshot, message),
        events=events,
        points=rows.points(snapshot, events),
        evidence=rows.evidence(snapshot, events),
        verdicts=rows.verdicts(snapshot, events),
    )


def _control() -> str:
    """MSH-10, the first line of standard input."""
    said = click.get_binary_stream("stdin").readline(CONTROL_ID_BYTES_MAX + 2).strip()
    if len(said) > CONTROL_ID_BYTES_MAX:
        raise Failed(f"an MSH-10 has at most so many bytes: {CONTROL_ID_BYTES_MAX}")
    if not said:
        raise Failed("no MSH-10 on standard input", "wardtrail trace - < FILE")
    return text(said)


def _feeds(snapshot: Snapshot, tenant: Tenant) -> list[Feed]:
    return [each.feed for each in tenancy.feeds(snapshot, [tenant.tenant_id])]


def _of_control(
    snapshot: Snapshot, tenant: Tenant, control: str, keys: Keys, feeds: Iterable[UUID]
) -> list[Message]:
    """The messages of an MSH-10, whichever feed sent it."""
    hashes = [identity.control(keys.identity, each, control) for each in feeds]
    return rows.by_control(snapshot, tenant.tenant_id, hashes)


def _keyring(
    stack: ExitStack, settings: Settings, why: str | None
) -> tuple[Keyring | None, str | None]:
    """People's keys, or why they aren't to be had; who has a reason isn't content without."""
    try:
        return stack.enter_context(visits.keyring(settings)), None
    except Failed as failed:
        if why is not None:
            raise
        return None, failed.message


def _keys(
    settings: Settings, snapshot: Snapshot, tenant: Tenant, *, needed: bool
) -> tuple[Keys | None, str | None]:
    """The tenant's keys, or why they don't open; ``needed``: then it raises."""
    try:
        return visits.keys(settings, snapshot, tenant), None
    except (EnvelopeInvalid, KeyServiceAway) as trouble:
        if needed:
            raise
        return None, str(trouble)


def _data(way: Trace) -> dict[str, Any]:
    """The whole as data; bodies stay sealed."""
    data = asdict(way)
    del data["message"]["body_sealed"]
    for name, most in _BOUNDS.items():
        data[f"{name}_cut"] = len(data[name]) > most
        data[name] = data[name][:most]
    if way.body.masked:  # a place may be anything that a sender wrote
        for each in data["points"]:
            each["what"]["location"] = None
    return data


def _show(way: Trace) -> None:
    for name, value in _lines(way):
        click.echo(f"{name + ':':<13} {shown.safe(value)}")
    for name, most in _BOUNDS.items():
        if len(getattr(way, name)) > most:
            click.echo(_MORE.format(name, most), err=True)
    for table in _tables(way):
        click.echo()
        shown.out().print(table)
    if way.body.lines:
        click.echo()
    for line in way.body.lines:
        click.echo(f"  {shown.safe(line)}")
    if way.body.cut:
        click.echo("  \u2026")


def _lines(way: Trace) -> Iterator[tuple[str, str]]:
    message, body = way.message, way.body
    yield "message", message.message_id
    yield "feed", way.feed or message.feed_id
    yield "type", message.message_type
    yield "received", f"{shown.moment(message.received_at)} UTC" + _again(message.duplicates)
    if body.closed is not None:
        yield "content", f"closed: {body.closed}"
    else:
        charset = "no charset named" if body.charset is None else f"charset {body.charset}"
        opened = "masked (hint: --reason)" if body.masked else "in clear, below"
        yield "content", f"{body.size} bytes, {charset}; {opened}"
        yield "answer", f"{', '.join(body.answers) or 'none'} ({_FOLLOWS})"
        if body.again is not None:
            yield "sent again", f"{', '.join(body.again) or 'none'}, since it was retried"
    yield "record", f"{message.topic}/{message.partition}@{message.offset}"
    yield (
        "ledger",
        (
            f"{shown.moment(message.recorded_at)} UTC, {message.outcome}, mapper"
            f" {message.mapper_version}, events: {message.events}"
        ),
    )
    if message.reason:
        yield "because", message.reason
    for letter in way.letters:
        yield "dead letter", f"{letter.id}, {letter.state}: {letter.cause}: {letter.reason}"
    if way.command is not None and isinstance(way.command.what, Decided):
        what = way.command.what
        rule = f" by rule {what.rule}" if what.rule else ""
        yield "command", f"{what.command_type}: {what.outcome}{rule}; {_stand(way.command)}"


def _tables(way: Trace) -> Iterator[Table]:
    """The events, and what is derived of them, as far as there is some."""
    if way.events:
        yield _table(
            ("event", "stream", "version", "place", "when (UTC)", "stands"),
            [_event(each) for each in way.events[:EVENTS_MAX]],
        )
    if way.points:
        yield _table(
            ("point", "track", "place", "from", "to", "known (UTC)", "stands"),
            [_point(each, clear=not way.body.masked) for each in way.points[:ROWS_MAX]],
        )
    if way.evidence:
        yield _table(
            ("evidence", "kind", "state", "versions", "performed", "known (UTC)"),
            [
                (each.evidence_id, each.kind, each.state, str(each.versions),
                 shown.moment(each.performed_at), shown.moment(each.recorded_at))
                for each in way.evidence[:ROWS_MAX]
            ],
        )  # fmt: skip
    if way.verdicts:
        yield _table(
            ("task", "status", "revision", "judged (UTC)", "stands"),
            [_verdict(each) for each in way.verdicts[:ROWS_MAX]],
        )


def _event(each: Followed) -> tuple[str, ...]:
    what = each.what
    assert isinstance(what, Became), "the events are events"
    return (
        f"{what.event_type}\n{what.event_id}", f"{what.stream_type}\n{what.stream_id}",
        str(what.event_version), f"{what.partition}@{what.partition_seq}",
        shown.moment(what.recorded_at), _stand(each),
    )  # fmt: skip


def _point(each: Followed, *, clear: bool) -> tuple[str, ...]:
    what = each.what
    assert isinstance(what, Point), "the points are points"
    until = " revised" if what.known_to else " retracted" if what.retracted_at else ""
    return (
        what.point_id, what.track, what.location if clear else "masked",
        shown.moment(what.effective_at), shown.moment(what.ended_at),
        shown.moment(what.known_from) + until, _stand(each),
    )  # fmt: skip


def _verdict(each: Followed) -> tuple[str, ...]:
    what = each.what
    assert isinstance(what, Verdict), "the verdicts are verdicts"
    return (
        what.task_id, what.status, str(what.revision), shown.moment(what.judged_at), _stand(each)
    )  # fmt: skip


def _table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for line in lines:
        table.add_row(*("\n".join(map(shown.plain, each.split("\n"))) for each in line))
    return table


def _stand(each: Followed) -> str:
    """Where the readers stand, those of one state together."""
    said: dict[str, list[str]] = {}
    for reader in each.readers:
        said.setdefault(reader.state, []).append(_reader(reader))
    return "; ".join(f"{state}: {', '.join(names)}" for state, names in said.items())


def _reader(each: Stands) -> str:
    if each.letter_id is not None:
        return f"{each.reader} (letter {each.letter_id}, {shown.moment(each.since)})"
    return each.reader if each.to_go is None else f"{each.reader} ({each.to_go} to go)"


def _again(duplicates: int) -> str:
    return f", and came again: {duplicates}" if duplicates else ""
