"""What a busy hospital sends is HL7 v2 with the fields that each trigger needs, quirks and all."""

from dataclasses import replace
from functools import lru_cache

import hl7
import pytest

from ops.simulator import (
    FULL,
    Message,
    Quirks,
    Scenario,
    ScenarioRefused,
    Shares,
    Ward,
    canaries,
    several,
    simulate,
)
from ops.simulator.disorder import resent
from ops.simulator.messages import STRUCTURES
from ops.simulator.scenario import ELSEWHERE
from producers.files import split
from tests.ops.simulator.replay import said

BUSY = Scenario.busy(seed=3, patients=500, days=3)
played = lru_cache(maxsize=8)(simulate)


def sent(trigger: str, scenario: Scenario = BUSY) -> list[Message]:
    found = [message for message in played(scenario).messages if message.trigger == trigger]
    assert found
    return found


def names(message: Message) -> list[str]:
    return [line[:3] for line in message.body.decode().rstrip("\r").split("\r")]


def field(message: Message, segment: str, number: int, *, turn: int = 0) -> str:
    read = hl7.parse(message.body, encoding="utf-8")
    found = read.segments(segment)[turn]
    return str(found[number]) if len(found) > number else ""


@pytest.mark.parametrize("trigger", sorted(STRUCTURES))
def test_every_trigger_parses_and_says_what_the_simulator_says_of_it(trigger):
    for message in sent(trigger)[:5]:
        assert field(message, "MSH", 9) == f"ADT^{trigger}^{STRUCTURES[trigger]}"
        assert field(message, "EVN", 1) == trigger
        assert field(message, "PID", 3).startswith(f"{message.mrn}^^^SIMHOSPITAL^MR")
        assert ("PV1" in names(message)) == bool(message.visit_number)
        if message.visit_number:
            assert field(message, "PV1", 19) == f"{message.visit_number}^^^SIMHOSPITAL^VN"


def test_t16_a_departure_names_where_to_and_an_arrival_where_from():
    temporary = onward = transit = 0
    for message in sent("A09"):
        assert field(message, "PV1", 3) == ""
        if field(message, "PV1", 42):
            assert field(message, "PV1", 6)
            transit += 1
        elif field(message, "PV1", 43):
            onward += 1
        else:
            assert field(message, "PV1", 6)
            temporary += 1
        assert bool(field(message, "PV1", 11)) != bool(field(message, "PV1", 42))
    assert min(temporary, onward, transit) > 0
    back = [message for message in sent("A10") if field(message, "PV1", 43)]
    assert back
    for message in back:
        assert field(message, "PV1", 3)
        assert field(message, "PV1", 43) in ELSEWHERE
    there = [message for message in sent("A10") if field(message, "PV1", 11)]
    assert there
    beds = [m for m in sent("A10") if field(m, "PV1", 3) and not field(m, "PV1", 43)]
    assert beds


def test_t17_plans_name_the_place_and_the_time_and_their_cancels_the_place_given_up():
    for trigger in ("A05", "A14", "A15"):
        for message in sent(trigger):
            assert field(message, "PV1", 42) or field(message, "PV1", 3)
            assert field(message, "PV2", 8) == field(message, "EVN", 3) != ""
    for message in sent("A16"):
        assert field(message, "PV2", 9) == field(message, "EVN", 3) != ""
    for trigger in ("A26", "A27"):
        for message in sent(trigger):
            assert field(message, "PV2", 1)
            assert field(message, "PV1", 42) == ""
    assert all(field(message, "PV1", 2) == "P" for message in sent("A05"))
    assert {bool(field(message, "PV1", 3)) for message in sent("A05")} == {True, False}


def test_t18_a_swap_is_one_message_with_two_patients_and_their_visits():
    for message in sent("A17"):
        assert names(message) == ["MSH", "EVN", "PID", "PV1", "PID", "PV1"]
        first, second = said(message, BUSY)
        assert first.visit == message.visit_number != second.visit
        assert first.mrn != second.mrn
        assert (first.assigned, first.prior) == (second.prior, second.assigned)


def test_m1_a_merge_names_the_retired_mrn_and_no_visit():
    for message in sent("A40"):
        assert names(message) == ["MSH", "EVN", "PID", "MRG"]
        retired = field(message, "MRG", 1)
        assert retired.endswith("^^^SIMHOSPITAL^MR")
        assert retired.split("^")[0] not in {"", message.mrn}


def test_m5_a_moved_visit_names_whose_it_was():
    for message in sent("A45"):
        assert names(message) == ["MSH", "EVN", "PID", "MRG", "PV1"]
        assert field(message, "MRG", 1).split("^")[0] not in {"", message.mrn}
        assert field(message, "MRG", 5) == field(message, "PV1", 19)


def test_nobody_is_named_who_is_no_canary():
    known = canaries(BUSY)
    for message in played(BUSY).messages:
        for each in said(message, BUSY):
            assert each.mrn in known
            assert not each.visit or each.visit in known
            assert not each.prior_mrn or each.prior_mrn in known
    assert set(played(BUSY).people) >= {message.mrn for message in played(BUSY).messages}


def test_a_feed_without_evn_6_says_none_even_in_cancels():
    scenario = Scenario.busy(patients=100, quirks=Quirks(occurred=False))
    assert not [m for m in played(scenario).messages if field(m, "EVN", 6)]


def test_a_feed_without_pv1_6_says_no_place_before():
    scenario = Scenario.busy(patients=100, quirks=Quirks(prior=False))
    visits = [message for message in played(scenario).messages if message.visit_number]
    assert not [message for message in visits if field(message, "PV1", 6)]


def test_a_feed_may_number_its_beds():
    scenario = Scenario.busy(patients=100, quirks=Quirks(two_digits=True))
    beds = {stay.location.split("^")[2] for stay in played(scenario).stays}
    assert beds == {"01", "02", "03", "04"}


def test_a_feed_may_have_the_visit_in_the_account():
    scenario = Scenario.busy(patients=300, days=2, quirks=Quirks(account=True))
    for message in played(scenario).messages:
        account = f"{message.visit_number}^^^SIMHOSPITAL^AN" if message.visit_number else ""
        assert field(message, "PID", 18) == account
        if account:
            assert field(message, "PV1", 19) == ""
    for message in sent("A45", scenario):
        assert field(message, "MRG", 3) == field(message, "PID", 18)


def test_a_feed_may_have_delimiters_of_its_own():
    usual = Scenario.busy(patients=100)
    own = replace(usual, quirks=Quirks(delimiters="#!@%*"))
    for ours, theirs in zip(played(own).messages, played(usual).messages, strict=True):
        assert ours.body.startswith(b"MSH#!@%*#WARDSIM#")
        signs = bytes.maketrans(b"#!@%*", b"|^~\\&")
        assert ours.body.translate(signs) == theirs.body
        assert not {*b"|^~\\&"} & {*ours.body}
    again = resent(played(own).messages[0])
    assert again.body.split(b"#")[9].decode() == again.control_id


@pytest.mark.parametrize("number", range(3))
def test_each_feed_names_its_application_and_can_be_split_again(number):
    scenario = several(1, patients=40)[number]
    bodies = [message.body for message in played(scenario).messages]
    read = split(b"".join(body + b"\r" for body in bodies))

    assert [piece.body for piece in read.messages] == bodies
    assert not read.strays
    assert all(scenario.application.encode() in body for body in bodies)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: Shares(leaves=1.1),
        lambda: Shares(merges=-0.1),
        lambda: Quirks(delimiters="|^~\\"),
        lambda: Quirks(delimiters="||~\\&"),
        lambda: Quirks(delimiters="|^~\\+"),
        lambda: Quirks(occurred=False, prior=False),
        lambda: Scenario(elsewhere=("XRAY",)),
        lambda: Scenario(elsewhere=("XRAY", "MED1^1")),
        lambda: Scenario(elsewhere=("XRAY", "A|B")),
        lambda: Scenario(
            wards=(Ward(code="W", rooms=1, beds=100),), quirks=Quirks(two_digits=True)
        ),
    ],
)
def test_an_impossible_hospital_is_refused(refused):
    with pytest.raises(ScenarioRefused):
        refused()


def test_a_busy_scenario_takes_what_a_scenario_takes():
    assert Scenario.busy() == Scenario(shares=FULL)
    assert Scenario.busy(seed=2, shares=Shares(leaves=0.1)).shares == Shares(leaves=0.1)
