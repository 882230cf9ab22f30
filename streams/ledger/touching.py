"""What a message touches: the keys under which it waits behind a dead one, or others behind it."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from schemas import identity
from schemas.feeds import Feed
from schemas.identity import Identifier
from sinks.aliases import Told
from sinks.dead_letters import DeadLetter
from sinks.identities import Name
from sinks.waiting import BEHIND, SAID
from streams.ledger import identities
from streams.ledger.families import family
from streams.ledger.mapped import Mapped, letter_of
from streams.ledger.mapping import claim
from streams.ledger.mapping.facts import Facts, Unmappable
from streams.ledger.mapping.mentions import mentioned
from streams.ledger.mapping.message import parse

_KEY = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def names(mapped: Mapped) -> list[Name]:
    """The identifiers by which the message tells of anybody, as the database knows them."""
    if mapped.message is None or mapped.keys is None or not _tells(mapped):
        return []
    tenant, key = mapped.message["tenant_id"], mapped.keys.identity
    return [identities.hashed_name(tenant, key, each) for each in _identifiers(mapped)]


def touches(mapped: Mapped, patients: Collection[str]) -> frozenset[str]:
    """The message's keys; ``patients`` are those whom the ledger knows by its identifiers.

    The record's own key is the id that a patient would have by the identifier that routed it.
    None of a message of no feed, and of one that names nobody: it can't be told apart.
    """
    message, feed, keys = mapped.message, mapped.feed, mapped.keys
    if message is None or feed is None:
        return frozenset()
    ids = set(patients)
    if mapped.key and _KEY.fullmatch(mapped.key) and mapped.key.decode() != message["message_id"]:
        ids.add(mapped.key.decode())
    if keys is not None:
        ids.update(str(identity.patient(keys.identity, each)) for each in _identifiers(mapped))
        ids.update(str(identity.admission(keys.identity, each)) for each in _visits(mapped))
    begins = f"{message['feed_id']}/{family(message['message_type'])}/"
    return frozenset(begins + each for each in ids)


def keys(
    batch: Sequence[Mapped], known: Mapping[Name, str], told: Iterable[Told]
) -> dict[int, frozenset[str]]:
    """The keys of each message of a batch, by offset, whose patients weren't resolved yet.

    Whom a message of the batch names together may be one patient from then on, and so may all
    who were ever ``told`` to be one, over others too: they count as one. None of what becomes
    nothing.
    """
    tying = [(each.patient_id, each.into_patient_id) for each in told]
    named = {each.offset: _named(each, known) for each in batch if _tells(each)}
    kin = kindred([*tying, *named.values()])
    return {
        mapped.offset: touches(
            mapped, {each for one in named[mapped.offset] for each in kin.get(one, (one,))}
        )
        if mapped.offset in named
        else frozenset()
        for mapped in batch
    }


def kindred(groups: Iterable[Collection[str]]) -> dict[str, set[str]]:
    """Everybody of some groups, with all whom a chain of groups ties them to."""
    kin: dict[str, set[str]] = {}
    for group in groups:
        together = {each for one in group for each in kin.get(one, (one,))}
        kin.update(dict.fromkeys(together, together))
    return kin


def _tells(mapped: Mapped) -> bool:
    return mapped.letter is not None or isinstance(mapped.said, Facts)


def _named(mapped: Mapped, known: Mapping[Name, str]) -> set[str]:
    """The patients by a message's identifiers: whom each would make, and whom it is known for."""
    if mapped.keys is None:
        return set()
    made = {str(identity.patient(mapped.keys.identity, each)) for each in _identifiers(mapped)}
    return made | {known[name] for name in names(mapped) if name in known}


def waiting(
    batch: Sequence[Mapped],
    touched: Mapping[int, Collection[str]],
    stuck: Collection[str],
    passed: Collection[tuple[str, str, str]],
) -> dict[int, DeadLetter]:
    """The letters, by offset, of those that wait and of those that park, in a batch in order.

    ``touched`` has their keys. ``stuck`` is parked before the batch; messages that ``passed``
    before, by their names, are duplicates, and so is what comes twice in it.
    """
    parked = set(stuck)
    seen = set(passed)
    letters: dict[int, DeadLetter] = {}
    for mapped in batch:
        dead, keys, name = mapped.letter, touched[mapped.offset], mapped.known_as()
        if name in seen:
            continue
        if name is not None:
            seen.add(name)
        if not parked.isdisjoint(keys):
            letters[mapped.offset] = _kept(behind(mapped), mapped, keys)
        elif dead is not None:
            letters[mapped.offset] = _kept(dead, mapped, keys)
        else:
            continue
        parked.update(keys)
    return letters


def behind(mapped: Mapped) -> DeadLetter:
    """The letter of a message that waits."""
    return replace(letter_of(mapped, "map", BEHIND, SAID), state="parked")


def _kept(letter: DeadLetter, mapped: Mapped, keys: Collection[str]) -> DeadLetter:
    assert mapped.message is not None or not keys, "what is no message touches nothing"
    if mapped.message is None or mapped.feed is None:
        return letter
    kind = family(mapped.message["message_type"])
    return replace(letter, keys=tuple(sorted(keys)), family=kind)


def _identifiers(mapped: Mapped) -> Iterator[Identifier]:
    """Of all whom the message names, whatever it tells of them; as far as it can be read."""
    if isinstance(mapped.said, Facts):
        for part in mapped.said.parts:
            yield from part.claim.identifiers
            for change in part.changes:
                yield from change.source
            for draft in part.drafts:
                yield from draft.source
    elif mapped.body is not None and mapped.feed is not None:
        yield from mentioned(mapped.body, mapped.feed)


def _visits(mapped: Mapped) -> Iterator[Identifier]:
    """The visits that the message names, and the account by whose number one might go."""
    if isinstance(mapped.said, Facts):
        for part in mapped.said.parts:
            told = (part.claim.visit, part.account, *(draft.visit for draft in part.drafts))
            yield from (each for each in told if each is not None)
    elif mapped.body is not None and mapped.feed is not None:
        yield from _read_visits(mapped.body, mapped.feed)


def _read_visits(body: bytes, feed: Feed) -> list[Identifier]:
    """PV1-19 of a message that isn't mapped; none of one that can't be read."""
    found: list[Identifier] = []
    with suppress(Unmappable):
        message = parse(body, charset=feed.charset)
        for segment in message.segments("PV1"):
            visit = claim.number(message, segment, 19, feed)
            if visit is not None:
                found.append(visit)
    return found
