"""Ids that follow from other things are nobody's to choose: over all commands that create."""

from uuid import UUID, uuid4

import pytest

from schemas import examples, identity
from schemas.commands import TYPES
from schemas.sealing import Keys
from sinks.asked import Rejected
from streams.ledger.commands import REGISTRY, flightplans, verifications
from streams.ledger.commands.engine import Engine
from streams.verification.asked import id_of
from tests.streams.ledger.commands.working import CODEC, NOW, NURSE, TENANT, named

CHOSEN = [name for name, declared in TYPES.items() if declared.creates and not declared.follows]
FOLLOWING = [name for name, declared in TYPES.items() if declared.follows]
MADE = {
    "order's task": id_of(named("order"), named("rule"), 0),
    "decisions": verifications.stream_of(named("task")),
    "plan": flightplans.stream_of(named("visit")),
    "visit": str(identity.keyed(bytes(32), "admission", "number")),
}


def refused(name: str, stream_id: str) -> Rejected | None:
    """The rule that refuses a command on a stream that isn't there; None where none does."""
    declared = TYPES[name]
    data = dict(examples.good(declared.full_record))["sparse"]
    record = {
        "command_id": str(uuid4()), "command_type": name, "stream_id": stream_id,
        "tenant_id": TENANT, "issued_at": NOW, "issued_by": NURSE, "expected_version": None,
        "departments": None, "correlation_id": str(uuid4()), "trace": None,
    }  # fmt: skip
    # What is refused is never sealed.
    keys = Keys(tenant_id=UUID(TENANT), data={}, identity=bytes(32))
    command = Engine(codec=CODEC).command(
        record, data, declared, REGISTRY[declared.stream_type], keys
    )
    answer = command.decide(command.folding.initial)
    return answer if isinstance(answer, Rejected) else None


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("name", CHOSEN)
def test_no_command_creates_a_thing_under_an_id_that_follows_from_another(name, made):
    answer = refused(name, MADE[made])
    assert answer is not None
    assert answer.rule == "id_reserved"


@pytest.mark.parametrize("name", FOLLOWING)
def test_what_follows_from_another_thing_stands_under_no_other_id(name):
    for stream_id in (str(uuid4()), MADE["visit"]):
        answer = refused(name, stream_id)
        assert answer is not None
        assert answer.rule == "wrong_stream"


def test_all_ids_that_follow_from_others_are_of_the_version_that_is_refused():
    assert all(map(identity.reserved, MADE.values()))
    assert not identity.reserved(str(uuid4()))
    assert {"task.create", "flightplan.create"} <= {*CHOSEN, *FOLLOWING}
    assert {name for name, each in TYPES.items() if each.creates} <= {*CHOSEN, *FOLLOWING}
