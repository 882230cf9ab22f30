"""What the guide to commands shows is run, and what it names is there."""

import json
import re
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas.commands import NAMESPACE, TYPES, CommandType, Scope
from streams.ledger.commands import fields
from streams.ledger.commands.aggregate import FOUND, Asked, Happened, Rejection
from tests.streams.ledger.commands.test_flightplans import active, draft
from tests.streams.ledger.commands.working import NOW, NURSE, PATIENT, TENANT, named

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs/adding-a-command.md").read_text("utf-8")
PATHS = re.compile(r"`((?:schemas|streams|tests|docs)/[\w./-]+)`")


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """The guide's Python, run with what its modules import."""
    names = {
        "CommandType": CommandType, "Rejection": Rejection, "Happened": Happened, "fields": fields,
        "Scope": Scope, "FOUND": FOUND,
    }  # fmt: skip
    exec("\n".join(re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)), names)
    return names


def contract() -> Any:
    (found,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    return json.loads(found)


def asked(reason: str | None) -> Asked:
    return Asked(
        command_id=named("command"), command_type="flightplan.hold", stream_id=named("plan"),
        tenant_id=TENANT, issued_at=NOW, issued_by=NURSE, data={"reason": reason},
    )  # fmt: skip


def test_the_guides_contract_is_the_record_that_its_type_names(shown):
    assert fastavro.parse_schema(contract())
    assert shown["HOLD"].full_record == f"{NAMESPACE}.{contract()['name']}"
    assert {each["name"] for each in contract()["fields"]} == set(shown["HOLD"].sealed)
    assert shown["HOLD"].name not in TYPES, "the example is one that isn't there"


def test_the_guides_decision_refuses_and_accepts(shown):
    with pytest.raises(AssertionError, match=FOUND):
        shown["hold"](None, asked(None))
    assert shown["hold"](draft().state, asked(None)).rule == "not_active"
    assert shown["hold"](active().state, asked(" ")).rule == "text_invalid"
    (held,) = shown["hold"](active().state, asked("Fever"))
    assert (held.event_type, held.clear) == ("flightplan.held", {"reason": "Fever"})
    assert held.person_id == PATIENT
    assert shown["hold"](active().state, asked(None))[0].clear == {}


def test_every_file_that_the_guide_names_is_there_but_those_it_has_one_add():
    named_ = {path for path in PATHS.findall(GUIDE) if "lightplanHold" not in path}
    named_ -= {"schemas/avro/commands/flightplan.hold.avsc"}
    assert len(named_) > 5
    assert [path for path in named_ if not (ROOT / path).exists()] == []
