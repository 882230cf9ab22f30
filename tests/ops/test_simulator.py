"""The simulator is repeatable, its messages are HL7 v2, and its truth is a possible hospital."""

import os
import subprocess
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4
from zoneinfo import ZoneInfo

import hl7
import pytest

from ops.simulator import (
    MARKER,
    Scenario,
    ScenarioRefused,
    Ward,
    canaries,
    day,
    disordered,
    simulate,
    sized,
    truth,
)
from ops.simulator.disorder import resent
from ops.simulator.messages import PLAIN_TRIGGERS, STRUCTURES, escaped, stamp
from schemas.feeds import Feed
from streams.ledger.mapping.facts import Facts
from streams.ledger.mapping.hl7v2 import map_message
from streams.trajectory.facts import Fact
from streams.trajectory.path import path

SEEDS = range(20)
LONDON = ZoneInfo("Europe/London")
NIGHTS = {
    "usual": (ZoneInfo("UTC"), Scenario().start),
    "clocks go back": (LONDON, datetime(2026, 10, 24, 15, 0, tzinfo=LONDON)),
    "clocks go forward": (LONDON, datetime(2026, 3, 28, 15, 0, tzinfo=LONDON)),
}
FEW_BEDS = (
    Ward(code="ED", rooms=1, beds=1, emergency=True),
    Ward(code="A", rooms=1, beds=2),
    Ward(code="B", rooms=1, beds=1),
)
PATIENTS = ("", "", "SIMHOSPITAL", "MR")  # what follows the number in PID-3 and PV1-19
VISITS = ("", "", "SIMHOSPITAL", "VN")
DIGEST = (
    "import hashlib; from ops.simulator import *; d = simulate(Scenario(seed=3, patients=40));"
    "print(hashlib.sha256(b''.join(m.body for m in d.messages) + repr(d.stays).encode())"
    ".hexdigest())"
)


class Segments:
    """A message split at its separators: what most tests need, at a hundredth of hl7's time."""

    def __init__(self, body):
        self._fields = {s[:3]: s.split("|") for s in body.decode().rstrip("\r").split("\r")}
        self._fields["MSH"].insert(1, "|")

    def field(self, segment, number):
        fields = self._fields[segment]
        return fields[number] if len(fields) > number else ""


def field(body, segment, number):
    return Segments(body).field(segment, number)


def told(body, zone=UTC):
    """An EVN-6 or EVN-2 back as an instant; only for times that carry no offset."""
    message = Segments(body)
    text = message.field("EVN", 6) or message.field("EVN", 2)
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=zone)


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_seed_gives_the_same_bytes_and_stays_in_every_process(hash_seed):
    def digest(number):
        environment = {**os.environ, "PYTHONHASHSEED": number}
        command = [sys.executable, "-c", DIGEST]
        return subprocess.run(
            command, env=environment, capture_output=True, check=True, timeout=60
        ).stdout

    assert digest(hash_seed) == digest("2")


def test_another_seed_gives_another_day():
    assert simulate(Scenario(seed=1)).messages != simulate(Scenario(seed=2)).messages


def test_the_short_forms_give_what_is_simulated():
    scenario = Scenario(patients=20)
    whole = simulate(scenario)

    assert day(scenario) == whole.messages
    assert truth(scenario) == whole.stays
    assert canaries(scenario) == whole.canaries


@pytest.mark.parametrize("messages", [1, 500, 2_000, 10_000])
def test_a_sized_scenario_gives_at_least_the_messages_asked_for(messages):
    for seed in range(3):
        assert len(day(sized(messages, seed=seed))) >= messages


@pytest.mark.parametrize("seed", SEEDS)
def test_every_trigger_occurs_in_the_usual_day(seed):
    triggers = Counter(message.trigger for message in day(Scenario(seed=seed, patients=300)))

    assert set(triggers) == PLAIN_TRIGGERS
    assert triggers["A01"] + triggers["A04"] >= 300


def test_messages_parse_and_say_what_the_simulator_says_of_them():
    control_ids = set()
    for message in day(Scenario(patients=60)):
        read = hl7.parse(message.body, encoding="utf-8")
        msh, pid, pv1 = (read.segment(name) for name in ("MSH", "PID", "PV1"))
        assert str(msh[9]) == f"ADT^{message.trigger}^{STRUCTURES[message.trigger]}"
        assert str(msh[10]) == message.control_id
        assert len(message.control_id) <= 20
        assert (str(msh[11]), str(msh[12]), str(msh[18])) == ("P", "2.5", "UNICODE UTF-8")
        assert [str(part) for part in pid[3][0]] == [message.mrn, *PATIENTS]
        assert [str(part) for part in pv1[19][0]] == [message.visit_number, *VISITS]
        assert str(msh[7]) == stamp(message.at, Scenario())
        assert message.body.endswith(b"\r")
        assert b"\n" not in message.body
        control_ids.add(message.control_id)
    assert len(control_ids) == len(day(Scenario(patients=60)))


def test_messages_are_in_the_order_sent_and_some_tell_of_hours_ago():
    messages = day(Scenario())

    assert all(before.at <= after.at for before, after in pairwise(messages))
    late = [m for m in messages if m.at - told(m.body) > timedelta(minutes=50)]
    assert late


def test_a_time_is_told_by_evn_6_or_happened_when_it_was_recorded():
    empty = [m for m in day(Scenario()) if not field(m.body, "EVN", 6)]

    assert empty
    assert not [m for m in empty if m.trigger in {"A11", "A12", "A13"}]


def test_a_cancel_carries_the_time_of_what_it_cancels():
    originals = {"A11": {"A01", "A04"}, "A12": {"A02"}, "A13": {"A03"}}
    so_far = defaultdict(list)
    cancels = 0
    for message in day(sized(2_000)):
        if message.trigger in originals:
            said = (told(message.body), originals[message.trigger])
            assert any(at == said[0] and trigger in said[1] for trigger, at in
                       so_far[message.visit_number])  # fmt: skip
            cancels += 1
        so_far[message.visit_number].append((message.trigger, told(message.body)))
    assert cancels > 100


def test_a_cancelled_transfer_names_the_bed_returned_to_and_the_cancelled_one():
    scenario = Scenario(patients=300)
    true = {(stay.visit_number, stay.location) for stay in truth(scenario)}
    for message in day(scenario):
        if message.trigger == "A12":
            read = Segments(message.body)
            assert (message.visit_number, read.field("PV1", 3)) in true
            assert read.field("PV1", 6) not in {"", read.field("PV1", 3)}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("wards", [Scenario().wards, FEW_BEDS], ids=["usual", "few beds"])
def test_no_bed_ever_holds_two_patients(seed, wards):
    beds = defaultdict(list)
    for stay in truth(Scenario(seed=seed, wards=wards, patients=200)):
        beds[stay.location].append(stay)

    assert set(beds) <= {place for ward in wards for place in ward.places}
    for stays in beds.values():
        stays.sort(key=lambda stay: stay.effective_at)
        for before, after in pairwise(stays):
            assert before.ended_at is not None
            assert before.ended_at <= after.effective_at


@pytest.mark.parametrize("seed", SEEDS)
def test_the_stays_of_a_visit_follow_one_another(seed):
    visits = defaultdict(list)
    for stay in truth(Scenario(seed=seed)):
        visits[stay.visit_number].append(stay)

    assert any(len(stays) > 2 for stays in visits.values())
    for stays in visits.values():
        assert len({stay.mrn for stay in stays}) == 1
        for stay in stays:
            assert stay.ended_at is None or stay.effective_at < stay.ended_at
        for before, after in pairwise(stays):
            assert before.ended_at == after.effective_at
            assert before.location != after.location


def test_some_patients_are_there_at_the_end_and_some_come_back():
    stays = truth(Scenario())
    visits = Counter(mrn for mrn, _ in {(stay.mrn, stay.visit_number) for stay in stays})

    assert any(stay.ended_at is None for stay in stays)
    assert any(stay.ended_at is not None for stay in stays)
    assert max(visits.values()) > 1


def test_people_are_those_of_the_message_recorded_last():
    played = simulate(sized(5_000))
    last = {}
    for message in sorted(played.messages, key=lambda m: field(m.body, "EVN", 2)):
        last[message.mrn] = Segments(message.body)

    recorded = Counter((m.mrn, field(m.body, "EVN", 2)) for m in played.messages)
    assert max(recorded.values()) == 1
    assert any(message.trigger == "A08" for message in played.messages)
    for mrn, read in last.items():
        person = played.people[mrn]
        name = f"{escaped(person.family)}^{escaped(person.given)}"
        address = f"{escaped(person.street)}^^{escaped(person.city)}"
        said = tuple(read.field("PID", number) for number in (5, 11, 13))
        assert said == (name, address, person.phone)


def test_every_message_holds_only_marked_names_and_numbers():
    scenario = Scenario(patients=40)
    known = canaries(scenario)
    for message in day(scenario):
        read = Segments(message.body)
        said = {*read.field("PID", 5).split("^"), *read.field("PV1", 7).split("^")[:3]}
        said |= {number.split("^")[0] for number in read.field("PID", 3).split("~")}
        said |= {read.field("PV1", 19).split("^")[0], read.field("PID", 13)}
        assert said <= known
    unmarked = {value for value in known if MARKER not in value.casefold()}
    assert all(value.startswith("+999") for value in unmarked)
    assert any(not value.isascii() for value in known)


def test_the_traps_of_real_feeds_are_among_the_messages():
    read = [(m.trigger, Segments(m.body)) for m in day(sized(2_000))]
    places = [(trigger, m.field("PV1", 3), m.field("PV1", 6)) for trigger, m in read]

    assert any(trigger == "A02" and place == prior for trigger, place, prior in places)
    assert any(trigger == "A08" and not place for trigger, place, _ in places)
    assert any(trigger == "A02" and m.field("PV1", 45) for trigger, m in read)
    assert any(trigger == "A08" and m.field("PV1", 45) for trigger, m in read)
    arrivals = Counter(m.field("PV1", 19) for trigger, m in read if trigger in {"A01", "A04"})
    assert max(arrivals.values()) > 2  # registered, then admitted, after a mistake


def test_a_delimiter_in_an_address_is_escaped():
    assert escaped("a|b^c&d~e\\f") == r"a\F\b\S\c\T\d\R\e\E\f"
    streets = [field(m.body, "PID", 11) for m in day(Scenario())]
    assert any(r"\T\ " in street for street in streets)


def test_a_local_time_that_occurs_twice_carries_its_offset():
    scenario = Scenario(zone=LONDON)
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)

    assert stamp(first, scenario) == "20261025013000+0100"
    assert stamp(first + timedelta(hours=1), scenario) == "20261025013000+0000"
    assert stamp(first + timedelta(hours=2), scenario) == "20261025023000"
    assert stamp(first, replace(scenario, offsets=True, zone=ZoneInfo("UTC"))).endswith("+0000")


def test_times_are_those_of_the_zone():
    winter = Scenario(zone=ZoneInfo("America/New_York"), patients=10)
    message = day(winter)[0]

    local = message.at.astimezone(winter.zone)
    assert field(message.body, "MSH", 7) == f"{local:%Y%m%d%H%M%S}"


def said(messages):
    """What the bytes say: visit, trigger, time, place."""
    for message in messages:
        place = field(message.body, "PV1", 3)
        yield message.visit_number, message.trigger, told(message.body), place


def mapped(messages, feed):
    """What the mapping reads of them: as `said`, and the events' fields that a path needs."""
    for number, message in enumerate(messages):
        facts = map_message(message.body, feed, received_at=message.at)
        assert isinstance(facts, Facts)
        (part,) = facts.parts
        (draft,) = (draft for draft in part.drafts if draft.role == "visit")
        assert part.claim.visit is not None
        assert part.claim.visit.value == message.visit_number
        assert part.claim.identifiers[0].value == message.mrn
        yield (part.claim.visit.value, facts.trigger, draft.occurred.at, draft.data["place"]), {
            "event_id": f"{number:08d}", "event_type": draft.event_type,
            "occurred_at": draft.occurred.micros, "occurred_field": draft.occurred_field,
            "occurred_precision": draft.occurred.precision,
            "data": {"prior_place": None, **draft.data, "patient_id": message.mrn},
        }  # fmt: skip


def read_by_the_rules(facts):
    """The path by visit as the set of what is said, in the plainest reading of T1 to T13."""
    originals = {"A11": "arrived", "A12": "moved", "A13": "left"}
    kinds = {"A01": "arrived", "A04": "arrived", "A02": "moved", "A03": "left"}
    happened, cancelled = defaultdict(set), set()
    for visit, trigger, at, place in facts:
        if trigger in originals:
            cancelled.add((visit, originals[trigger], at))
        elif trigger in kinds:
            happened[visit].add((at, kinds[trigger], place))
    paths = {}
    for visit, theirs in happened.items():
        steps = []
        for at, kind, place in sorted(theirs):
            here = "" if kind == "left" else place
            if (visit, kind, at) not in cancelled and here != (steps[-1][0] if steps else ""):
                steps.append((here, at))
        steps.append(("", None))
        paths[visit] = [(p, at, end) for (p, at), (_, end) in pairwise(steps) if p]
    return {visit: path for visit, path in paths.items() if path}


def by_visit(stays):
    paths = defaultdict(list)
    for stay in stays:
        paths[stay.visit_number].append((stay.location, stay.effective_at, stay.ended_at))
    return dict(paths)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_messages_tell_the_truth_to_who_reads_them_by_the_rules(seed):
    played = simulate(Scenario(seed=seed))
    shuffled = disordered(played.messages, seed, duplicates=0.2, resends=0.2)

    assert read_by_the_rules(said(played.messages)) == by_visit(played.stays)
    assert read_by_the_rules(said(shuffled)) == by_visit(played.stays)


@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize("night", sorted(NIGHTS))
def test_the_mapping_reads_the_truth_out_of_the_messages(seed, night):
    zone, start = NIGHTS[night]
    played = simulate(Scenario(seed=seed, zone=zone, start=start, patients=60))
    feed = Feed(feed_id=uuid4(), tenant_id=uuid4(), name="simulator", zone=zone)

    read = read_by_the_rules(fact for fact, _ in mapped(played.messages, feed))
    assert read == by_visit(played.stays)


def found(messages):
    """The stays by visit that mapping and path make of messages that came in this order."""
    feed = Feed(feed_id=uuid4(), tenant_id=uuid4(), name="simulator")
    facts = defaultdict(list)
    for (visit, *_), event in mapped(messages, feed):
        facts[visit].append(Fact.of_event(event))
    paths = {
        visit: [(stay.place, stay.start, stay.end) for stay in path(theirs).stays]
        for visit, theirs in facts.items()
    }
    return {visit: stays for visit, stays in paths.items() if stays}


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("order", ["as sent", "shuffled", "across patients", "nearly in order"])
def test_mapping_and_path_find_the_truth_whatever_the_order(seed, order):
    played = simulate(Scenario(seed=seed, patients=60))
    copies = {"duplicates": 0.2, "resends": 0.2}
    arrived = {
        "as sent": lambda sent: sent,
        "shuffled": lambda sent: disordered(sent, seed, **copies),
        "across patients": lambda sent: disordered(sent, seed, **copies, within_patients=False),
        "nearly in order": lambda sent: disordered(sent, seed, **copies, window=40),
    }[order]

    assert found(arrived(played.messages)) == by_visit(played.stays)


@pytest.mark.parametrize("trigger", sorted(PLAIN_TRIGGERS - {"A08"}))
def test_a_lost_message_shows_as_another_path(trigger):
    played = simulate(Scenario(patients=200))
    lost = [message for message in played.messages if message.trigger != trigger]

    assert found(lost) != by_visit(played.stays)


@pytest.mark.parametrize("window", [None, 50])
@pytest.mark.parametrize("within_patients", [True, False])
def test_disorder_keeps_every_message_and_adds_the_copies(window, within_patients):
    messages = day(Scenario())
    played = disordered(
        messages, 7, duplicates=0.2, resends=0.1, window=window, within_patients=within_patients
    )

    counts = Counter(message.body for message in played)
    assert len(played) == len(messages) + round(0.2 * len(messages)) + round(0.1 * len(messages))
    assert all(counts[message.body] in {1, 2} for message in messages)
    assert sum(counts[message.body] for message in messages) == len(messages) + round(
        0.2 * len(messages)
    )
    again = {message.body for message in played} - {message.body for message in messages}
    assert again <= {resent(message).body for message in messages}
    assert played[: len(messages)] != messages
    assert played == disordered(
        messages, 7, duplicates=0.2, resends=0.1, window=window, within_patients=within_patients
    )
    assert played != disordered(messages, 8, duplicates=0.2, resends=0.1, window=window)


def test_disorder_across_patients_keeps_each_patients_order():
    messages = day(Scenario())
    played = disordered(messages, 3, duplicates=0.3, within_patients=False)

    orders = defaultdict(list)
    for message in played:
        if message.body not in [m.body for m in orders[message.mrn]]:
            orders[message.mrn].append(message)
    for mrn, theirs in orders.items():
        assert theirs == [message for message in messages if message.mrn == mrn]


def test_a_window_bounds_how_far_a_message_is_carried():
    messages = day(Scenario())
    place = {message.body: number for number, message in enumerate(messages)}

    carried = [abs(place[message.body] - number) for number, message in
               enumerate(disordered(messages, 5, window=20))]  # fmt: skip
    assert 0 < max(carried) <= 20


def test_a_message_sent_again_differs_in_its_control_id_alone():
    message = day(Scenario())[0]
    again = resent(message)

    assert field(again.body, "MSH", 10) == again.control_id != message.control_id
    assert (
        again.body.replace(again.control_id.encode(), message.control_id.encode()) == message.body
    )


@pytest.mark.parametrize(
    "refused",
    [
        lambda: Scenario(patients=0),
        lambda: Scenario(days=0),
        lambda: Scenario(start=datetime(2026, 3, 2)),
        lambda: Scenario(wards=()),
        lambda: Scenario(wards=FEW_BEDS[:1]),
        lambda: Scenario(wards=(FEW_BEDS[1], FEW_BEDS[1])),
        lambda: Scenario(application="A|B"),
        lambda: Ward(code="A^B", rooms=1, beds=1),
        lambda: Ward(code="A", rooms=0, beds=1),
    ],
)
def test_an_impossible_scenario_is_refused(refused):
    with pytest.raises(ScenarioRefused):
        refused()


@pytest.mark.parametrize(
    "ward", [Ward(code="W", rooms=200, beds=3), Ward(code="W", rooms=1, beds=60)]
)
def test_every_bed_has_a_place_of_its_own(ward):
    assert len(set(ward.places)) == ward.rooms * ward.beds
