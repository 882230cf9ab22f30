"""Outcomes are a function of the set of facts: any order, doubles, batches, and parts of it."""

import itertools
from collections import defaultdict
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.facts import Around
from sinks.tables import feed_watermarks
from streams.verification import rows
from streams.verification.facts import Facts
from streams.verification.judge import judge
from streams.verification.projection import PROJECTION, fold
from tests.sinks.provisioned import event
from tests.streams.verification import told
from tests.streams.verification.cases import (
    decision,
    evidence,
    facts,
    link,
    rule,
    task,
    uid,
    visit,
    watermark,
)

PATIENTS, VISITS = "pqs", [None, "v", "w"]
TIMES = st.integers(8 * 12, 13 * 12).map(lambda step: f"{step // 12:02}:{step % 12 * 5:02}")
STATES = ["final", "final", "corrected", "revoked", "refused", "partial", "pending", "unknown"]
TASKS = st.builds(
    lambda name, due, patient, visit, cancelled: task(
        name, due=due, patient=patient, admission_id=visit, cancelled=cancelled
    ),
    st.sampled_from("abcd"), TIMES, st.sampled_from(PATIENTS), st.sampled_from(VISITS),
    st.booleans(),
)  # fmt: skip
EVIDENCE = st.builds(
    lambda name, done, reported, state, patient, visit: evidence(
        name, done, reported=reported, state=state, patient=patient, admission_id=visit,
        event_id=f"{name}/{done}/{reported}/{state}/{patient}/{visit}",
    ),
    st.sampled_from("efgh"), TIMES, TIMES, st.sampled_from(STATES), st.sampled_from(PATIENTS),
    st.sampled_from(VISITS),
)  # fmt: skip
LINKS = st.builds(
    lambda pair, said, kind: link(*pair, said, kind=kind),
    st.sampled_from(list(itertools.permutations(PATIENTS, 2))), TIMES,
    st.sampled_from(["merge", "undo"]),
)  # fmt: skip
DECISIONS = st.builds(
    lambda name, outcome, clock, of: decision(
        outcome, clock, name=f"{name}/{outcome}/{sorted(clock.items())}/{of}", task=of
    ),
    st.sampled_from("xy"), st.sampled_from(["verified", "refuted"]),
    st.dictionaries(st.sampled_from(["emr", "a", "b"]), st.integers(1, 2), min_size=1),
    st.sampled_from("abcd"),
)  # fmt: skip
WATERMARKS = st.builds(
    lambda at, feed: watermark(at, feed=feed), TIMES, st.sampled_from(["lab", "ward"])
)
OWNED = st.sampled_from([(), (visit("v", owner="q"),), (visit("v", into="w"),)])


@st.composite
def sets(draw):
    """A set of facts as a list; a task's name stands for one version of it."""
    tasks = {each.task_id: each for each in draw(st.lists(TASKS, max_size=4))}
    return [
        *tasks.values(), rule(same_encounter=False), *draw(st.lists(EVIDENCE, max_size=8)),
        *draw(st.lists(LINKS, max_size=3)), *draw(st.lists(DECISIONS, max_size=3)),
        *draw(st.lists(WATERMARKS, max_size=3)), *draw(OWNED),
    ]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(sets(), st.data())
def test_any_order_and_any_doubles_of_the_facts_have_the_same_results(given, data):
    expected = judge(facts(*given))
    doubled = [*given, *data.draw(st.lists(st.sampled_from(given), max_size=4))]
    assert judge(facts(*data.draw(st.permutations(doubled)))) == expected


@settings(max_examples=200, deadline=None)
@given(sets())
def test_a_patients_results_need_no_facts_of_those_who_are_not_tied_to_them(given):
    """With others' facts or without: the judge may take a few patients at a time."""
    others = [
        task("z", patient="alone"), evidence("far", patient="alone"), link("alone", "together"),
    ]  # fmt: skip
    expected = judge(facts(*given))
    both = judge(facts(*given, *others))
    assert tuple(each for each in both if each.task_id != "z") == expected


@settings(max_examples=200, deadline=None)
@given(sets())
def test_no_piece_of_evidence_satisfies_two_tasks_of_a_rule_and_patient(given):
    used = [
        (each.patient_id, told.evidence_id)
        for each in judge(facts(*given))
        for told in each.evidence
    ]
    assert len(used) == len(set(used))


class Memory:
    """The projection's tables, as the sink would have them."""

    def __init__(self):
        self.tables = defaultdict(dict)

    def tell(self, batch):
        streams = defaultdict(list)
        for each in batch:
            streams[each["stream_id"]].append(each)
        for stream, events in streams.items():
            loaded = {
                load.table.name: [
                    row for row in self.tables[load.table.name].values() if row[load.by] == stream
                ]
                for load in PROJECTION.loads
            }
            for change in fold(events, loaded):
                table = change.table
                key = tuple(str(change.row[column.name]) for column in table.primary_key)
                known = self.tables[table.name].get(key)
                if table is feed_watermarks and known is not None:
                    later = max(known["clinical_at"], change.row["clinical_at"])
                    self.tables[table.name][key] = {**known, "clinical_at": later}
                else:
                    self.tables[table.name][key] = dict(change.row)

    def facts(self) -> Facts:
        """All facts, the tasks among them that orders ask for."""
        around = self.around()
        asked = [row for row, stands in rows.asked_for(around) if stands]
        return rows.facts(replace(around, tasks=[*around.tasks, *asked]))

    def around(self) -> Around:
        def of(name, *columns):
            listed = self.tables[f"verification_{name}"].values()
            return [{each: row[each] for each in columns} if columns else row for row in listed]

        return Around(
            tasks=of("tasks"), evidence=of("evidence"), rules=of("rules"),
            decisions=of("decisions"), orders=of("orders"),
            watermarks=list(self.tables["feed_watermarks"].values()),
            visits=of("visits", "admission_id", "tenant_id", "owner_id", "joined_into"),
            links=of("links"),
        )  # fmt: skip


DAY = [
    told.rule(), told.task("a", due="09:50"), told.task("b", due="10:10", patient="q"),
    told.evidence("x", "10:05"), told.evidence("x", "10:05", reported="11:00", state="revoked"),
    told.evidence("y", "10:20", patient="q", visit="v"), told.merged("q", "p"),
    told.parted("q", "p"), told.moved("v", "p", "q"), told.spoke("11:15"),
    told.decided("refuted", {"tablet": 1}, task="b"),
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.permutations(DAY), st.lists(st.integers(1, len(DAY) - 1), max_size=3))
def test_any_order_of_events_in_any_batches_folds_to_facts_with_the_same_results(order, cuts):
    expected = Memory()
    expected.tell(placed(DAY))
    memory = Memory()
    bounds = [0, *sorted(set(cuts)), len(order)]
    for start, end in itertools.pairwise(bounds):
        memory.tell(placed(order)[start:end])
    assert judge(memory.facts()) == judge(expected.facts())
    assert {each.task_id for each in judge(memory.facts())} == {uid("a"), uid("b")}


def placed(order):
    return [{**event(seq), **fact, "partition_seq": seq} for seq, fact in enumerate(order, 1)]
