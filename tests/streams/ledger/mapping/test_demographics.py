"""PID becomes the demographics that are sealed: what was said and nothing else."""

import json

import pytest


def test_what_is_said_is_there_and_what_is_empty_is_not(adt, patient):
    assert patient(adt()) == {
        "identifiers": [{"value": "1001", "authority": "NORTH", "type": "MR"}],
        "names": [{"family": "Rook", "given": "Ada"}],
        "birth_date": "1960-02-29",
        "sex": "F",
    }


def test_t21_null_is_an_explicit_none(adt, patient):
    null = '""'
    said = patient(
        adt(pid={5: null, 7: null, 8: null, 11: null, 13: null, 29: null, 30: null})
    )  # fmt: skip
    assert said == {
        "identifiers": [{"value": "1001", "authority": "NORTH", "type": "MR"}],
        "names": None, "birth_date": None, "sex": None, "addresses": None, "phones": None,
        "deceased": None, "deceased_at": None,
    }  # fmt: skip


def test_t21_a_null_part_of_a_name_is_none(adt, patient):
    assert patient(adt(pid={5: 'Rook^Ada^""'}))["names"] == [
        {"family": "Rook", "given": "Ada", "middle": None}
    ]


def test_every_name_and_address_is_kept(adt, patient):
    said = patient(
        adt(
            pid={
                5: "van den Berg&van den&Berg^Ada^M^Jr^Dr^^L~Rook",
                11: "1 High St&High St&1^Flat 2^Ilford^^E1 1AA^GBR^H~^^Paris^^^FRA",
            }
        )
    )
    assert said["names"] == [
        {
            "family": "van den Berg van den Berg", "given": "Ada", "middle": "M",
            "suffix": "Jr", "prefix": "Dr", "type": "L",
        },
        {"family": "Rook"},
    ]  # fmt: skip
    assert said["addresses"] == [
        {
            "street": "1 High St High St 1", "other": "Flat 2", "city": "Ilford",
            "postal_code": "E1 1AA", "country": "GBR", "type": "H",
        },
        {"city": "Paris", "country": "FRA"},
    ]  # fmt: skip


def test_phones_are_read_in_their_old_and_new_forms(adt, patient):
    said = patient(
        adt(pid={13: "020 111^ORN^CP~^NET^Internet^ada@example.org", 14: "^WPN^PH^^44^20^222"})
    )
    assert said["phones"] == [
        {"use": "ORN", "number": "020 111", "equipment": "CP"},
        {"use": "NET", "equipment": "Internet", "email": "ada@example.org"},
        {"use": "WPN", "equipment": "PH", "number": "44 20 222"},
    ]


def test_an_unformatted_phone_number_is_read(adt, patient):
    assert patient(adt(pid={13: "^^^^^^^^^^^555 01"}))["phones"] == [
        {"use": "PRN", "number": "555 01"}
    ]


def test_a_death_keeps_instant_precision_and_text(adt, patient):
    said = patient(adt(pid={29: "202603012350+0100", 30: "Y"}))
    assert said["deceased"] == "Y"
    assert said["deceased_at"] == {
        "at": "2026-03-01T22:50:00+00:00", "precision": "minute", "text": "202603012350+0100",
    }  # fmt: skip


@pytest.mark.parametrize("raw", ["31121960", "unknown", "0"])
def test_a_birth_date_that_is_none_is_left_out(adt, patient, raw):
    assert "birth_date" not in patient(adt(pid={7: raw}))


def test_accounts_in_pid_3_are_kept_in_the_demographics(adt, patient):
    said = patient(adt(pid={3: "A9^^^NORTH^AN~1001^^^&2.16.840&ISO^MR"}))
    assert said["identifiers"] == [
        {"value": "A9", "authority": "NORTH", "type": "AN"},
        {"value": "1001", "authority": "2.16.840", "type": "MR"},
    ]


def test_demographics_are_json(adt, patient):
    said = patient(adt(pid={5: "Rook^Ada", 11: "x", 13: "1", 29: "2026", 30: "Y"}))
    assert json.loads(json.dumps(said)) == said
