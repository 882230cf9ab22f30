"""Access keys: made once, kept in clear for their owner alone, known by their digest."""

import hashlib
import json
import stat
from uuid import UUID, uuid5

import pytest

from ops import keys
from ops.access import NotConfigured
from ops.keys import DEPARTMENTS_MAX, KEYS_MAX
from ops.settings import Settings
from sinks.reading import ALL

OURS = UUID(int=1)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path / "home")


def test_a_generated_key_is_its_owners_to_read_and_only_its_digest_is_kept(settings) -> None:
    file = keys.generate(settings, name="demo", tenant_id=OURS)
    token = file.read_text().strip()
    assert len(token) >= 43  # 32 bytes in base64url
    assert [stat.S_IMODE(each.stat().st_mode) for each in (file, keys.digests_file(settings))] == [
        0o600,
        0o600,
    ]
    stored = keys.digests_file(settings).read_text()
    assert token not in stored
    assert hashlib.sha256(token.encode()).hexdigest() in stored
    found = keys.load(settings).of(token)
    assert found is not None
    assert (found.name, found.tenant_id) == ("demo", OURS)


def test_a_key_is_made_once(settings) -> None:
    first = keys.generate(settings, name="demo", tenant_id=OURS).read_text()
    assert keys.generate(settings, name="demo", tenant_id=OURS).read_text() == first
    assert len(keys.load(settings).keys) == 1


def test_a_key_whose_file_was_removed_is_replaced_and_good_no_longer(settings) -> None:
    digests = keys.digests_file(settings)
    old = keys.generate(settings, name="demo", tenant_id=OURS).read_text().strip()
    other = {"tenant_id": str(UUID(int=2)), "sha256": hashlib.sha256(b"other").hexdigest()}
    digests.write_text(json.dumps({**json.loads(digests.read_text()), "other": other}))
    keys.clear_file(settings).unlink()
    new = keys.generate(settings, name="demo", tenant_id=OURS).read_text().strip()
    ring = keys.load(settings)
    assert new != old
    assert ring.of(old) is None
    assert [each and each.tenant_id for each in map(ring.of, (new, "other"))] == [OURS, UUID(int=2)]


def test_what_is_no_key_is_nobodys(settings) -> None:
    token = keys.generate(settings, name="demo", tenant_id=OURS).read_text().strip()
    ring = keys.load(settings)
    for wrong in ("", token[:-1], token + "x", token.swapcase(), "\udcff", "k" * 10_000):
        assert ring.of(wrong) is None


def test_without_keys_everything_is_nobodys(settings) -> None:
    assert keys.load(settings).keys == ()
    assert keys.load(settings).of("") is None


@pytest.mark.parametrize(
    "stored",
    [
        "", "[]", "{", '{"demo": {}}', '{"demo": "x"}',
        '{"demo": {"tenant_id": "1", "sha256": "00"}}',
        json.dumps({"demo": {"tenant_id": str(OURS), "sha256": "00" * 31}}),
    ],
)  # fmt: skip
def test_a_damaged_file_of_keys_is_refused(settings, stored: str) -> None:
    keys.digests_file(settings).parent.mkdir()
    keys.digests_file(settings).write_text(stored)
    with pytest.raises(NotConfigured, match="the access keys can't be read"):
        keys.load(settings)


def test_more_keys_than_are_compared_are_refused(settings) -> None:
    entry = {"tenant_id": str(OURS), "sha256": "00" * 32}
    keys.digests_file(settings).parent.mkdir()
    for count in (KEYS_MAX, KEYS_MAX + 1):
        keys.digests_file(settings).write_text(json.dumps({str(n): entry for n in range(count)}))
        if count == KEYS_MAX:
            assert len(keys.load(settings).keys) == KEYS_MAX
    with pytest.raises(NotConfigured, match="more access keys than"):
        keys.load(settings)


@pytest.mark.parametrize("clear", ["", "short", "\u00e9" * 40])
def test_a_damaged_key_is_refused(settings, clear: str) -> None:
    keys.clear_file(settings).parent.mkdir()
    keys.clear_file(settings).write_text(clear, encoding="utf-8")
    with pytest.raises(NotConfigured, match="the access key is damaged"):
        keys.generate(settings, name="demo", tenant_id=OURS)


def test_a_generated_key_may_all_that_a_key_can_and_what_is_said_of_it_stays(settings) -> None:
    token = keys.generate(settings, name="demo", tenant_id=OURS).read_text().strip()
    found = keys.load(settings).of(token)
    assert (found.departments, found.phi, found.user_id) == (ALL, True, None)
    assert found.issuer == uuid5(OURS, "key/demo")
    file = keys.digests_file(settings)
    stored = json.loads(file.read_text())
    stored["demo"] |= {"departments": [str(UUID(int=5))], "user_id": str(UUID(int=6))}
    file.write_text(json.dumps(stored))
    keys.generate(settings, name="demo", tenant_id=OURS)
    found = keys.load(settings).of(token)
    assert (found.departments, found.issuer, found.phi) == (
        frozenset({UUID(int=5)}), UUID(int=6), True,
    )  # fmt: skip


def test_a_key_of_before_there_were_grants_is_given_them_once(settings) -> None:
    token = keys.generate(settings, name="demo", tenant_id=OURS).read_text().strip()
    file = keys.digests_file(settings)
    stored = json.loads(file.read_text())
    for name in ("departments", "phi"):
        del stored["demo"][name]
    file.write_text(json.dumps(stored))
    older = keys.load(settings).of(token)
    assert (older.departments, older.phi) == (frozenset(), False)
    keys.generate(settings, name="demo", tenant_id=OURS)
    assert keys.load(settings).of(token).departments is ALL


@pytest.mark.parametrize(
    "grant",
    [
        {"departments": "some"}, {"departments": "everything"}, {"departments": [5]},
        {"departments": ["x"]}, {"departments": None}, {"phi": "yes"}, {"user_id": "x"},
        {"departments": [str(UUID(int=1))] * (DEPARTMENTS_MAX + 1)},
    ],
)  # fmt: skip
def test_a_grant_that_can_not_be_read_is_refused(settings, grant) -> None:
    keys.generate(settings, name="demo", tenant_id=OURS)
    file = keys.digests_file(settings)
    stored = json.loads(file.read_text())
    stored["demo"] |= grant
    file.write_text(json.dumps(stored))
    with pytest.raises(NotConfigured, match="can't be read"):
        keys.load(settings)
