"""A patient found from the command line: what is asked stands on standard input alone."""

from uuid import UUID, uuid4

import orjson
import pytest

from ops import deploy, openings
from ops.cli.finding import QUERY_BYTES_MAX
from ops.cli.visits import keyring
from schemas import lookups, sealing
from tests.ops.cli.conftest import PATIENT, START

NAMED = (deploy.DEMO_TENANT, PATIENT)
NAME = "Rookcanary"
DEMOGRAPHICS = {"names": [{"family": NAME, "given": "Ann\x1b"}], "birth_date": "1970-01-31"}


@pytest.fixture
def known(desk):
    """A patient with a name and a birth date."""
    with keyring(desk.settings()) as ring:
        held = ring.tenant(deploy.DEMO_TENANT)
        assert held is not None
        keys = held.apart()
        keys.subjects[PATIENT] = ring.sealing([NAMED])[NAMED]
    for token in lookups.tokens(keys.identity, DEMOGRAPHICS, PATIENT):
        desk.insert(
            "patient_tokens", tenant_id=deploy.DEMO_TENANT, token=UUID(token), patient_id=PATIENT,
            partition=0, partition_seq=1,
        )  # fmt: skip
    clear = orjson.dumps(DEMOGRAPHICS)
    envelope = keys.seal(clear, person=PATIENT, record=uuid4(), field="demographics")
    desk.insert(
        "patient_read_models", id=PATIENT, tenant_id=deploy.DEMO_TENANT, created_at=START,
        updated_at=START, partition=0, partition_seq=1,
        data={"demographics": sealing.text(envelope)},
    )  # fmt: skip
    return desk


def test_a_patient_is_found_by_a_query_on_standard_input(known, loaded):
    query = orjson.dumps({"name": NAME, "birth_date": "1970-01-31"})
    result = known.run("find", stdin=query)
    assert result.stdout == f"{PATIENT}  Ann\u00b7 {NAME}  1970-01-31\n"
    told = loaded(known.run("find", "--json", stdin=query))
    assert told["patients"][0]["demographics"] == DEMOGRAPHICS
    assert (told["patients"][0]["id"], told["cut"], told["behind"]) == (str(PATIENT), False, 0)


def test_who_finds_is_written_down_with_why_and_not_what_was_asked(known):
    query = orjson.dumps({"name": NAME})
    known.run("find", "--reason", "a call of ward 3", stdin=query)
    file = known.settings().home / "logs" / openings.FILE
    [line] = map(orjson.loads, file.read_text().splitlines())
    assert (line["what"], line["why"]) == ("find", "a call of ward 3")
    assert NAME not in file.read_text()
    file.unlink()
    file.mkdir()
    refused = known.run("find", stdin=query)
    assert (refused.exit_code, refused.stdout) == (1, ""), "what isn't written down isn't shown"


def test_nobody_is_said_to_be_nobody(known):
    result = known.run("find", stdin='{"name": "Finch"}')
    assert (result.exit_code, result.stdout) == (0, "nobody is all that\n")


@pytest.mark.parametrize(
    "query", ["", NAME, f'["{NAME}"]', f'{{"sex": "{NAME}"}}', "x" * (QUERY_BYTES_MAX + 1)]
)
def test_a_query_that_cannot_be_read_is_not_repeated(known, query):
    result = known.run("find", stdin=query)
    assert result.exit_code == 1
    assert NAME not in result.output


def test_a_name_in_the_command_line_is_refused(known):
    result = known.run("find", NAME, stdin="{}")
    assert result.exit_code == 2
