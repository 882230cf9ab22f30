"""Messages of a tenant that was deleted become nothing, whatever the processor still remembers."""

import pytest

from sinks import lifecycle
from streams.ledger.processor import Ledger
from streams.ports import Transient
from tests.sinks.provisioned import counts
from tests.streams.ledger.test_processor import OTHER, OTHER_FEED, TENANT, adt, line

__all__ = ["line"]
pytestmark = pytest.mark.stack


def left(store, tenant):
    names = store.rows(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND column_name = 'tenant_id'"
    )
    return {
        row["table_name"] for row in names
        if store.rows(f"SELECT FROM {row['table_name']} WHERE tenant_id = %s", tenant)
    }  # fmt: skip


def test_a_message_that_was_prepared_before_the_deletion_leaves_nothing(line):
    line.send(line.record(adt()))
    records = [line.record(adt("A08", mrn="NEW^^^NORTH^MR")) for _ in range(3)]
    prepared = line.processor.prepare("emr.hl7v2.v1", 0, records)
    lifecycle.delete(line.store.migrate, TENANT, "north")
    assert line.processor.apply("emr.hl7v2.v1", 0, prepared) == 4
    assert counts(line.store, "ledger") == {"applied": 1, "ignored": 3}
    assert left(line.store, TENANT) - {"location_discrepancies"} == set()


@pytest.mark.parametrize("held", [False, True])
def test_a_deletion_between_two_statements_of_a_chunk_leaves_nothing(line, monkeypatch, held):
    line.send(line.record(adt()))
    prepared = line.processor.prepare(
        "emr.hl7v2.v1", 0, [line.record(adt("A08", mrn="NEW^^^NORTH^MR"))]
    )
    look = Ledger._of_the_living

    def looked(processor, given, batch):
        living = look(processor, given, batch)
        lifecycle.delete(line.store.migrate, TENANT, "north")
        if not held:
            processor.keyring.clear()
        return living

    monkeypatch.setattr(Ledger, "_of_the_living", looked)
    with pytest.raises(Transient):
        line.processor.apply("emr.hl7v2.v1", 0, prepared)
    monkeypatch.undo()
    assert line.processor.apply("emr.hl7v2.v1", 0, prepared) == 2
    assert counts(line.store, "ledger") == {"applied": 1, "ignored": 1}
    assert left(line.store, TENANT) - {"location_discrepancies"} == set()


def test_keys_lost_between_two_statements_of_a_chunk_are_asked_for_again(line, monkeypatch):
    line.send(line.record(adt()))
    prepared = line.processor.prepare(
        "emr.hl7v2.v1", 0, [line.record(adt("A08", mrn="NEW^^^NORTH^MR"))]
    )
    people = Ledger.people

    def asked(processor, batch):
        named = people(processor, batch)
        lifecycle.delete(line.store.migrate, TENANT, "north")
        processor.keyring.clear()
        return named

    monkeypatch.setattr(Ledger, "people", asked)
    with pytest.raises(Transient):
        line.processor.apply("emr.hl7v2.v1", 0, prepared)
    monkeypatch.undo()
    assert line.processor.apply("emr.hl7v2.v1", 0, prepared) == 2
    assert left(line.store, TENANT) - {"location_discrepancies"} == set()


def test_a_message_that_comes_after_it_is_ignored_and_no_dead_letter_and_others_go_on(line):
    keys = line.keys()
    lifecycle.delete(line.store.migrate, TENANT, "north")
    line.processor.keyring.clear()
    late = line.record(adt(), keys=keys)
    theirs = line.record(adt(), tenant=OTHER, feed=OTHER_FEED, keys=line.keys(OTHER))
    assert line.send(late, theirs) == 2
    assert left(line.store, TENANT) == set()
    assert "events" in left(line.store, OTHER)
    assert counts(line.store, "ledger") == {"applied": 1, "ignored": 1}
