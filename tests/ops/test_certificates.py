"""The certificate that is served, and what becomes of a new one."""

import asyncio
import shutil
import ssl

import pytest

from ops import certificates
from ops.certificates import NOTHING_NAMED, of, to_send
from ops.settings import Settings, SettingsInvalid
from producers.tls import TlsInvalid
from tests.producers.certified import Authority

DAYS = 24 * 3600


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def settings(authority):
    pair = authority.issue("served")
    return Settings(mllp_tls_certificate=pair.certificate, mllp_tls_key=pair.key)


def put(pair, settings):
    shutil.copy(pair.certificate, settings.mllp_tls_certificate)
    shutil.copy(pair.key, settings.mllp_tls_key)


def test_without_a_certificate_mllp_is_plaintext():
    assert of(Settings()) is None
    assert to_send(Settings(), NOTHING_NAMED, own=True) is None


@pytest.mark.parametrize("name", ["mllp_tls_key", "mllp_tls_ca"])
def test_a_key_or_ca_without_a_certificate_is_refused(name, tmp_path):
    with pytest.raises(SettingsInvalid, match="is set without WARDTRAIL_MLLP_TLS_CERTIFICATE"):
        of(Settings(**{name: tmp_path / "file.pem"}))


def test_a_key_may_stand_in_the_certificates_file(authority, tmp_path):
    pair, both = authority.issue("one"), tmp_path / "both.pem"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    assert isinstance(of(Settings(mllp_tls_certificate=both)).context(), ssl.SSLContext)


def test_a_changed_file_gives_a_new_context_and_one_that_did_not_none(authority, settings):
    found = of(settings)
    found.context()
    assert found.look() is None
    put(authority.issue("newer", days=3), settings)
    assert isinstance(found.look(), ssl.SSLContext)
    assert found.look() is None
    assert isinstance(found.look(anyway=True), ssl.SSLContext)
    gauges = found.gauges()
    assert (gauges["renewed"], gauges["renewals_refused"]) == (2, 0)
    assert 2 * DAYS < gauges["certificate_seconds_left"] <= 3 * DAYS


def test_a_change_that_can_not_be_served_is_told_once_and_mended_by_the_next(
    authority, settings, caplog
):
    found = of(settings)
    found.context()
    newer = authority.issue("newer")
    shutil.copy(newer.certificate, settings.mllp_tls_certificate)  # its key hasn't come yet
    assert found.look() is None
    assert found.look() is None
    assert found.gauges()["renewals_refused"] == 1
    assert caplog.text.count("serves on: this key is not the certificate's") == 1
    put(newer, settings)
    assert isinstance(found.look(), ssl.SSLContext)


def test_a_signal_is_followed_at_once(settings, monkeypatch):
    monkeypatch.setattr(certificates, "LOOK_SECONDS", 600.0)

    async def test():
        found, served, again = of(settings), asyncio.Queue(), asyncio.Event()
        found.context()
        following = asyncio.create_task(found.follow(served.put_nowait, again))
        again.set()
        assert isinstance(await asyncio.wait_for(served.get(), 20), ssl.SSLContext)
        following.cancel()

    asyncio.run(test())


def test_a_replaced_file_is_seen_without_a_signal(authority, settings, monkeypatch):
    monkeypatch.setattr(certificates, "LOOK_SECONDS", 0.01)

    async def test():
        found, served = of(settings), asyncio.Queue()
        found.context()
        following = asyncio.create_task(found.follow(served.put_nowait, asyncio.Event()))
        put(authority.issue("newer"), settings)
        assert isinstance(await asyncio.wait_for(served.get(), 20), ssl.SSLContext)
        following.cancel()

    asyncio.run(test())


def test_a_certificate_to_show_needs_tls(authority):
    pair = authority.issue("lab")
    with pytest.raises(TlsInvalid, match="--tls-ca FILE"):
        to_send(Settings(), {**NOTHING_NAMED, "certificate": pair.certificate}, own=False)
