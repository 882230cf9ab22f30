"""Patients found by tokens and identifiers, on a real database, as the role that asks."""

import re
from uuid import UUID, uuid4

import psycopg
import pytest

from schemas import identity, lookups
from schemas.identity import Identifier
from sinks import queries
from sinks import transaction as sink
from sinks.lookups import FOUND_MAX, Sought, find
from sinks.tables import metadata
from streams.read_models import PATIENTS
from tests.sinks.paths import alias, hour, insert, person
from tests.sinks.provisioned import LINE, OURS, THEIRS, record, stream_id

pytestmark = pytest.mark.stack
KEY = bytes(range(32))
FILL = """
INSERT INTO patient_tokens (tenant_id, token, patient_id, partition, partition_seq)
SELECT tenant::uuid, gen_random_uuid(), gen_random_uuid(), 0, 1
FROM generate_series(1, 20000), unnest(ARRAY[%s, %s]) AS tenant
"""


def tokens(family: str, born: str | None = None, whose: UUID | None = None) -> list[str]:
    demographics = {"names": [{"family": family}], "birth_date": born}
    return lookups.tokens(KEY, demographics, whose or uuid4())


def known(store, number: int, *words: str, tenant: str = OURS, born: str | None = None) -> None:
    """Patient `number` with the tokens of these names."""
    demographics = {"names": [{"family": word} for word in words], "birth_date": born}
    store.run(
        "INSERT INTO patient_tokens SELECT %s::uuid, unnest(%s::uuid[]), %s::uuid, 0, 1",
        tenant, lookups.tokens(KEY, demographics, person(number)), person(number),
    )  # fmt: skip


def identified(store, number: int, value: str, authority: str = "NORTH") -> None:
    insert(
        store, "patient_identifiers", tenant_id=OURS, authority=authority, type="MR",
        value_hmac=hashed(value), patient_id=person(number),
    )  # fmt: skip


def hashed(value: str) -> UUID:
    return UUID(bytes=identity.lookup(KEY, Identifier(value=value, authority="")))


def found(store, tenant: str = OURS, **sought) -> list[str]:
    with queries.as_tenant(store.app, UUID(tenant)) as snapshot:
        return [each.id for each in find(snapshot, Sought(**sought))[0]]


def named(name: str) -> list[str]:
    return lookups.named(KEY, name)


def test_who_is_all_that_is_said_is_found(store):
    known(store, 1, "Rook", "Ann", born="1970-01-31")
    known(store, 2, "Rook", "Bob", born="1970-01-31")
    identified(store, 2, "4711")
    one, two = str(person(1)), str(person(2))
    assert found(store, tokens=named("rook")) == [one, two]
    assert found(store, tokens=named("rook bob")) == [two]
    assert found(store, tokens=[*named("ann"), *lookups.born(KEY, "1970-01-31")]) == [one]
    assert found(store, tokens=lookups.beginning(KEY, "roo")) == [one, two]
    assert found(store, tokens=named("rook"), value_hmac=hashed("4711")) == [two]
    assert found(store, tokens=named("ann"), value_hmac=hashed("4711")) == []
    assert found(store, value_hmac=hashed("4711"), authority="NORTH") == [two]
    assert found(store, value_hmac=hashed("4711"), authority="SOUTH") == []


def test_a_merged_patient_is_found_as_who_they_are_now(store):
    known(store, 1, "Rook")
    known(store, 2, "Finch")
    identified(store, 1, "4711")
    alias(store, 1, 2, 0)
    alias(store, 2, 3, 1)
    survivor = str(person(3))
    assert found(store, tokens=named("rook")) == [survivor]
    assert found(store, tokens=named("finch"), value_hmac=hashed("4711")) == [survivor]
    with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
        [patient], _ = find(snapshot, Sought(tokens=named("rook")))
    assert patient.found_as == [str(person(1))]
    store.run("UPDATE patient_aliases SET undone_at = %s", hour(2))
    assert found(store, tokens=named("rook")) == [str(person(1))]


def test_nobody_of_another_tenant_is_found(store):
    known(store, 1, "Rook", tenant=THEIRS)
    alias(store, 2, 1, 0)
    known(store, 2, "Finch")
    assert found(store, tokens=named("rook")) == []
    assert found(store, THEIRS, tokens=named("rook")) == [str(person(1))]
    assert found(store, THEIRS, tokens=named("finch")) == []


def test_an_answer_is_bounded_and_says_that_there_are_more(store):
    for number in range(FOUND_MAX):
        known(store, number, "Rook")
    for more in (False, True):
        if more:
            known(store, FOUND_MAX, "Rook")
        with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
            patients, cut = find(snapshot, Sought(tokens=named("rook")))
        assert (len(patients), cut) == (FOUND_MAX, more)


def test_a_patient_has_the_tokens_of_the_newest_snapshot_and_rebuilds_alike(store):
    whose = UUID(stream_id(0))
    told = [tokens("Rook", whose=whose), tokens("Rook", "1970-01-31", whose), tokens("Finch")]
    events = [
        record(
            number, stream=0,
            data={"trigger": "A08", "reported_at": None, "tokens": each},
        )
        for number, each in enumerate([*told, told[0], told[0]])
    ]  # fmt: skip
    held = store.take(PATIENTS.name)

    def stands(batch):
        sink.apply(store.database, PATIENTS, held, batch, line=LINE)
        return store.rows("SELECT * FROM patient_tokens ORDER BY token")

    for event in events:
        rows = stands([event])
        said = event.event["data"]["tokens"]
        assert [str(row["token"]) for row in rows] == said
        assert found(store, tokens=named("rook")) == ([] if said is told[2] else [str(whose)])
    assert {row["partition_seq"] for row in rows} == {4}, "said again, nothing is written"
    store.run("TRUNCATE patient_tokens, patient_read_models")
    store.run("UPDATE subscriptions SET next_offset = 0, last_position = 0, applied = 0")
    held = store.take(PATIENTS.name)
    assert stands(events) == rows


@pytest.mark.parametrize(
    ("question", "index"),
    [
        ("patient_id FROM patient_tokens WHERE token = ANY (%s::uuid[])", "pk_patient_tokens"),
        (
            "patient_id FROM patient_identifiers WHERE value_hmac = ANY (%s::uuid[])",
            "idx_patient_identifiers_value",
        ),
    ],
)
def test_lookups_use_their_index_under_row_level_security(store, question, index):
    store.run(FILL, OURS, THEIRS)
    store.run(
        "INSERT INTO patient_identifiers (tenant_id, authority, value_hmac, type, patient_id)"
        " SELECT tenant_id, 'N', token, 'MR', patient_id FROM patient_tokens"
    )
    store.run("ANALYZE patient_tokens, patient_identifiers")
    [row] = store.rows("SELECT token FROM patient_tokens WHERE tenant_id = %s LIMIT 1", OURS)
    with psycopg.connect(store.app, autocommit=True) as connection:
        connection.execute(f"SET wt.tenant = '{OURS}'")
        plan = [
            line for (line,) in connection.execute(f"EXPLAIN SELECT {question}", ([row["token"]],))
        ]
    told = "\n".join(plan)
    assert f"{index}" in told, told
    [condition] = [line for line in plan if "Index Cond" in line]
    assert "tenant_id = " in condition, told
    assert "ANY" in condition or "'::uuid)" in condition, told


# Indexes into lists and documents that say nothing of who somebody is.
HARMLESS = {
    "idx_emr_verifications_clock": "a vector clock: devices and counts",
    "idx_verification_orders_codes": "what was ordered: codes stand in clear, under keyed ids",
}
NO_PATIENTS = ("tenants", "feeds", "emr_instances")  # their names are their own


def loose(store):
    """Indexes by which a word of a patient's own could be sought, beside the keyed tokens."""
    rows = store.rows("SELECT tablename, indexname, indexdef FROM pg_indexes"
                      " WHERE schemaname = 'public'")  # fmt: skip
    assert len(rows) > len(metadata.tables)
    own = re.compile(r"\b(sex|gender|flags?|vip|religion|name|birth_date)\b|->|jsonb_|\bgin\b")
    return [
        row["indexname"]
        for row in rows
        if own.search(row["indexdef"].partition(" USING ")[2])
        and row["tablename"] not in NO_PATIENTS
        and row["indexname"] not in HARMLESS
    ]


def test_no_index_is_over_sex_flags_names_or_what_stands_in_a_document(store):
    assert loose(store) == []


def test_an_index_over_what_must_not_be_sought_is_seen(store):
    store.run("CREATE INDEX one ON patient_read_models ((data ->> 'sex'))")
    store.run("CREATE INDEX two ON patient_read_models USING gin (data)")
    assert sorted(loose(store)) == ["one", "two"]
