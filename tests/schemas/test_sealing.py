"""Sealed envelopes: AES-256-GCM as published, bound to row and key, silent about what is inside."""

import json
import traceback
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas import sealing
from schemas.sealing import (
    EnvelopeInvalid,
    Key,
    KeyDestroyed,
    KeyMissing,
    Keys,
    KeysWanted,
    Root,
    Scope,
    Subject,
)

TENANT, PERSON, RECORD = UUID(int=1), UUID(int=2), UUID(int=3)
KEY = Key.of(bytes(range(32)), version=1, scope=Scope.TENANT)
ROW = {"tenant": TENANT, "person": PERSON, "record": RECORD, "field": "demographics"}
CLEAR = b"Geheimrat"
# Galois/Counter Mode specification (McGrew, Viega), appendix B, test cases 13 to 16.
VECTORS = [
    ("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"),
    (
        "00" * 32, "00" * 12, "", "00" * 16,
        "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919",
    ),
    (
        "feffe9928665731c6d6a8f9467308308" * 2, "cafebabefacedbaddecaf888", "",
        ("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"),
        ("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"),
        "b094dac5d93471bdec1a502270e3cc6c",
    ),
    (
        "feffe9928665731c6d6a8f9467308308" * 2, "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        ("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"),
        ("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"),
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ),
]  # fmt: skip


def sealed(key=KEY, clear=CLEAR, **row):
    return sealing.seal(clear, key, **{**ROW, **row})


def opened(envelope, key=KEY, **row):
    return sealing.open_sealed(envelope, key, **{**ROW, **row})


@pytest.mark.parametrize(("secret", "nonce", "bound", "clear", "cipher", "tag"), VECTORS)
def test_a_key_seals_as_the_published_vectors_say(secret, nonce, bound, clear, cipher, tag):
    key = Key.of(bytes.fromhex(secret), version=1, scope=Scope.TENANT)
    made = key.cipher.encrypt(*(bytes.fromhex(part) for part in (nonce, clear, bound)))
    assert made.hex() == cipher + tag


def test_an_envelope_is_aes_256_gcm_over_its_own_header(monkeypatch):
    monkeypatch.setattr(sealing.os, "urandom", lambda count: bytes(range(count)))
    envelope = sealed()
    head, body = envelope[: -len(CLEAR) - 16], envelope[-len(CLEAR) - 16 :]
    assert head.endswith(b"demographics" + bytes(range(12)))
    assert AESGCM(bytes(range(32))).encrypt(bytes(range(12)), CLEAR, head) == body


@pytest.mark.parametrize("clear", [b"", b"x", CLEAR, bytes(100_000)])
def test_what_was_sealed_opens_in_its_own_row(clear):
    assert opened(sealed(clear=clear)) == clear


def test_no_two_envelopes_of_the_same_text_are_alike():
    assert len({sealed() for _ in range(100)}) == 100


def test_every_flipped_bit_of_an_envelope_fails():
    envelope = sealed()
    for place in range(len(envelope)):
        for bit in range(8):
            changed = bytearray(envelope)
            changed[place] ^= 1 << bit
            with pytest.raises(EnvelopeInvalid):
                opened(bytes(changed))


def test_every_cut_and_every_longer_envelope_fails():
    envelope = sealed()
    for length in range(len(envelope)):
        with pytest.raises(EnvelopeInvalid):
            opened(envelope[:length])
    with pytest.raises(EnvelopeInvalid):
        opened(envelope + b"\0")


@pytest.mark.parametrize(
    "row",
    [
        {"tenant": UUID(int=9)},
        {"person": UUID(int=9)},
        {"person": None},
        {"record": UUID(int=9)},
        {"field": "visit_number"},
    ],
    ids=lambda row: next(iter(row)),
)
def test_every_moved_envelope_fails(row):
    with pytest.raises(EnvelopeInvalid):
        opened(sealed(), **row)
    with pytest.raises(EnvelopeInvalid):
        opened(sealed(**row))


@pytest.mark.parametrize(
    "other",
    [
        Key.of(bytes(32), version=1, scope=Scope.TENANT),
        Key.of(bytes(range(32)), version=2, scope=Scope.TENANT),
        Key.of(bytes(range(32)), version=1, scope=Scope.PERSON),
    ],
    ids=["secret", "version", "scope"],
)
def test_another_key_opens_nothing(other):
    with pytest.raises(EnvelopeInvalid):
        opened(sealed(), other)


def test_an_envelope_that_names_another_commitment_fails_before_it_is_decrypted():
    envelope = bytearray(sealed())
    envelope[7:39] = Key.of(bytes(32), version=1, scope=Scope.TENANT).commitment
    silent = Key(KEY.secret, KEY.version, KEY.scope, None, KEY.commitment)
    with pytest.raises(EnvelopeInvalid, match="another key"):
        opened(bytes(envelope), silent)


def test_the_commitment_says_which_key_and_is_not_the_key():
    keys = [Key.of(bytes([n]) * 32, version=1, scope=Scope.TENANT) for n in range(50)]
    assert len({key.commitment for key in keys}) == 50
    assert all(key.secret not in key.commitment for key in keys)


def test_the_header_says_whose_it_is_and_nothing_of_what_is_inside():
    header = sealing.header(sealed())
    assert (header.tenant, header.person, header.record) == (TENANT, PERSON, RECORD)
    assert (header.field, header.scope, header.key_version) == ("demographics", Scope.TENANT, 1)
    assert sealing.header(sealed(person=None)).person == sealing.NOBODY


def test_no_refusal_says_what_is_inside_or_which_key():
    for broken in (sealed()[:-1], sealed(record=UUID(int=9)), CLEAR):
        with pytest.raises(EnvelopeInvalid) as refused:
            opened(broken)
        said = "".join(traceback.format_exception(refused.value))
        assert CLEAR.decode() not in said
        assert KEY.secret.hex() not in said


@pytest.mark.parametrize("length", [0, 65])
def test_a_field_name_out_of_bounds_is_our_own_mistake(length):
    with pytest.raises(AssertionError):
        sealed(field="f" * length)


@pytest.mark.parametrize("length", [1, 64])
def test_a_field_name_at_its_bounds_is_sealed(length):
    assert opened(sealed(field="f" * length), field="f" * length) == CLEAR


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length):
    with pytest.raises(ValueError, match="32 bytes"):
        Key.of(bytes(length), version=1, scope=Scope.TENANT)
    with pytest.raises(ValueError, match="32 bytes"):
        Root(bytes(length))


def test_an_envelope_goes_through_json_and_back():
    envelope = sealed()
    stored = json.loads(json.dumps(sealing.text(envelope)))
    assert sealing.untext(stored) == envelope
    with pytest.raises(EnvelopeInvalid):
        sealing.untext("not base64!")


def test_keys_seal_by_the_newest_and_open_by_the_one_that_sealed():
    newer = Key.of(bytes(range(1, 33)), version=2, scope=Scope.TENANT)
    row = {"person": PERSON, "record": RECORD, "field": "demographics"}
    both = Keys(tenant_id=TENANT, data={1: KEY, 2: newer}, identity=bytes(32))
    assert both.open(sealed(), **row) == CLEAR
    row["person"] = None
    envelope = both.seal(CLEAR, **row)
    assert sealing.header(envelope).key_version == 2
    assert both.open(envelope, **row) == CLEAR
    assert both.uses.used == 1
    row["person"] = PERSON
    only_newer = Keys(tenant_id=TENANT, data={2: newer}, identity=bytes(32))
    with pytest.raises(KeyMissing):
        only_newer.open(sealed(), **row)


def test_a_tenants_keys_open_nothing_of_another_tenant():
    row = {"person": PERSON, "record": RECORD, "field": "demographics"}
    other = Keys(tenant_id=UUID(int=9), data={1: KEY}, identity=bytes(32))
    with pytest.raises(EnvelopeInvalid):
        other.open(sealed(), **row)


def test_a_wrapped_key_opens_only_as_what_it_was_wrapped():
    root, secret = Root(bytes(range(32))), bytes(range(100, 132))
    named = {"tenant": TENANT, "purpose": "data", "version": 1}
    wrapped = root.wrap(secret, **named)
    assert root.unwrap(wrapped, **named) == secret
    assert secret not in wrapped
    for wrong in ({"tenant": PERSON}, {"purpose": "identity"}, {"version": 2}):
        with pytest.raises(EnvelopeInvalid):
            root.unwrap(wrapped, **{**named, **wrong})
    for other, bytes_ in ((Root(bytes(32)), wrapped), (root, wrapped[:-1]), (root, b"")):
        with pytest.raises(EnvelopeInvalid):
            other.unwrap(bytes_, **named)


def test_the_lines_own_key_comes_from_the_root_and_is_not_it():
    root = Root(bytes(range(32)))
    assert root.line().secret == root.line().secret
    assert root.line().secret != root.secret
    assert root.line().scope is Scope.LINE
    assert Root(bytes(32)).line().secret != root.line().secret


def test_no_key_shows_its_secret():
    keys = Keys(tenant_id=TENANT, data={1: KEY}, identity=bytes(range(32)))
    for shown in (repr(KEY), repr(keys), repr(Root(bytes(range(32))))):
        assert repr(bytes(range(32)))[2:20] not in shown
        assert "secret" not in shown


def test_what_belongs_to_a_person_is_sealed_under_no_other_key():
    keys = Keys(tenant_id=TENANT, data={1: KEY}, identity=bytes(32))
    row = {"person": PERSON, "record": RECORD, "field": "demographics"}
    for subjects in ({}, {PERSON: Subject(keys={})}, {RECORD: Subject(keys={1: KEY})}):
        keys.subjects.clear()
        keys.subjects.update(subjects)
        with pytest.raises(KeysWanted) as wanted:
            keys.seal(CLEAR, **row)
        assert wanted.value.people == {(TENANT, PERSON)}
    keys.subjects[PERSON] = Subject(keys={}, destroyed=True)
    with pytest.raises(KeyDestroyed):
        keys.seal(CLEAR, **row)


def test_a_persons_envelope_opens_by_the_version_that_sealed_it_and_under_one_key_only():
    subject = Subject(
        keys={n: Key.of(bytes([n]) * 32, version=n, scope=Scope.PERSON) for n in (1, 2)}
    )
    keys = Keys(tenant_id=TENANT, data={1: KEY}, identity=bytes(32), subjects={PERSON: subject})
    row = {"person": PERSON, "record": RECORD, "field": "demographics"}
    old = sealing.seal(CLEAR, subject.keys[1], tenant=TENANT, **row)
    new = keys.seal(CLEAR, **row)
    assert sealing.header(new).key_version == 2
    assert keys.open(old, **row) == keys.open(new, **row) == CLEAR
    for secret in (bytes(32), bytes([2]) * 32, KEY.secret):
        other = Key.of(secret, version=1, scope=Scope.PERSON)
        keys.subjects[PERSON] = Subject(keys={1: other}, known_now=True)
        with pytest.raises(EnvelopeInvalid, match="another key"):
            keys.open(old, **row)
        with pytest.raises(KeyMissing):
            keys.open(new, **row)


def test_an_envelope_of_the_line_opens_by_no_tenants_keys():
    line = Root(bytes(32)).line()
    keys = Keys(tenant_id=TENANT, data={1: KEY}, identity=bytes(32))
    row = {"person": None, "record": RECORD, "field": "record"}
    with pytest.raises(EnvelopeInvalid):
        keys.open(sealing.seal(CLEAR, line, tenant=TENANT, **row), **row)
