"""Who takes part in a patient's care, as ROL or PRT of any message names them."""

from collections.abc import Iterator
from typing import Any

from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping import claim as claims
from streams.ledger.mapping import codings, times
from streams.ledger.mapping.facts import Draft, StreamName, Unmappable
from streams.ledger.mapping.message import Message, Segment
from streams.ledger.mapping.times import Moment
from streams.ledger.mapping.triggers import PARTICIPATION_ACTIONS

PARTICIPATIONS_MAX = 200  # of one patient in one message; teams that are seen have some ten
# Fields of the instance's number, the action, the role, the person, begin and end.
_FIELDS = {"ROL": (1, 2, 3, 4, 5, 6), "PRT": (1, 2, 4, 5, 11, 12)}
SEGMENTS = frozenset(_FIELDS)
_NAMES_NOBODY = "a participation that names nobody: ROL-4 and PRT-5 are empty"


def told(
    group: Message,
    feed: Feed,
    *,
    trigger: str,
    reported_at: int | None,
    occurred: tuple[Moment, str],
    ordinal: int,
) -> Iterator[Draft | str]:
    """A ``participation.stated`` for each ROL and PRT of a part, or why it is none."""
    count = 0
    for name in _FIELDS:
        for segment in group.segments(name):
            count += 1
            if count > PARTICIPATIONS_MAX:
                raise Unmappable("structure", "its participations are too many")
            said = _stated(group, segment, name, feed)
            if said is None:
                yield _NAMES_NOBODY
                continue
            data, clear, stream, staff = said
            yield Draft(
                event_type="participation.stated", stream_type="participation",
                occurred=occurred[0], occurred_field=occurred[1],
                ordinal=ordinal, role=f"{name.lower()}.{count}",
                data={"trigger": trigger, "reported_at": reported_at, **data},
                clear=clear, stream=stream, staff=staff,
            )  # fmt: skip


def _stated(
    group: Message, segment: Segment, name: str, feed: Feed
) -> tuple[dict[str, Any], dict[str, Any], StreamName, tuple[Identifier, ...]] | None:
    instance, action, role, person, begins, ends = _FIELDS[name]
    parts = (segment.repetitions(person) or [[""]])[0]
    value = group.said(parts[0])
    called = " ".join(
        filter(None, (group.said(claims.part(parts, at)) for at in (6, 3, 2)))
    )  # fmt: skip
    if not value and not called:
        return None
    authority = claims.authority(group, claims.part(parts, 9)) or feed.authority
    staff = (Identifier(value=value, authority=authority),) if value else ()
    roles = (segment.repetitions(role) or [[""]])[0]
    codes = codings.named(group, roles)
    number = segment.said(instance)
    names = ("number", segment.said(instance, 2) or feed.authority, number) if number else (
        "person", codes[0].code if codes else "", authority if value else "", value or called
    )  # fmt: skip
    moments = [times.moment(segment.component(at), feed.zone) for at in (begins, ends)]
    data = {
        "action": PARTICIPATION_ACTIONS.get(segment.component(action).upper(), "stated"),
        "role_codes": [one.data for one in codings.valued(group, roles)],
        "starts_at": moments[0].micros if moments[0] else None,
        "ends_at": moments[1].micros if moments[1] else None,
        "staff_ids": [], "admission_id": None,
    }  # fmt: skip
    role_words = [said for at in (1, 2, 5) if (said := group.said(claims.part(roles, at)))]
    clear = {"name": {"person": called, "number": value or "", "role": role_words}}
    stream = StreamName(parts=("participation", *names), of_patient=True)
    return data, clear, stream, staff
