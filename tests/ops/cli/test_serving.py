"""`wardtrail serve` as a process, while Vault is away and when it answers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops import deploy
from ops.stack import ports
from schemas.sealing import EnvelopeInvalid, Root
from tests import canaries
from tests.ops.vault.test_vault import TOKEN, serving
from tests.producers.certified import Authority

pytestmark = pytest.mark.stack
SECONDS = 60.0  # at most, for what happens within two
TRANSIT = Root(bytes(range(32)))


def transit(path, token, request):
    """As Vault answers, with a key of our own behind it."""
    _, _, _, operation, _ = path.split("/")
    bound = {"tenant": request.get("associated_data", ""), "purpose": "", "version": 1}
    assert token == TOKEN
    if operation == "hmac":
        return said(hmac="vault:v1:" + b64encode(bytes(32)).decode())
    if operation == "encrypt":
        wrapped = TRANSIT.wrap(b64decode(request["plaintext"]), **bound)
        return said(ciphertext="vault:v1:" + b64encode(wrapped).decode())
    try:
        clear = TRANSIT.unwrap(b64decode(request["ciphertext"].rpartition(":")[2]), **bound)
    except EnvelopeInvalid:
        return 400, b'{"errors":["cipher: message authentication failed"]}'
    return said(plaintext=b64encode(clear).decode())


def said(**data):
    return 200, json.dumps({"data": data}).encode()


@contextmanager
def started(desk, log: Path):
    """The process, ended afterwards as an operator ends it."""
    environ = {**os.environ, **{k: v for k, v in desk.environ.items() if v is not None}}
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "serve"], env=environ,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(SECONDS)
            finally:
                child.kill()
    canaries.hear_command(("serve",), "", log.read_text())


def answered(desk, path):
    """Status and body; None while nobody answers."""
    url = f"http://127.0.0.1:{desk.environ['WARDTRAIL_HTTP_PORT']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None


def until(child, true, log):
    deadline = time.monotonic() + SECONDS
    while not true():
        assert child.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def status(desk, path):
    found = answered(desk, path)
    return None if found is None else found[0]


@pytest.fixture
def vaulted(desk, stack):
    """The desk's tenant has its keys in a Vault that is away again; where that was."""
    mllp, http, vault = ports.choose([]), ports.choose([]), free()
    root = desk.settings().root_key
    desk.environ.update(
        {
            "WARDTRAIL_ALLOW": "topics", "WARDTRAIL_MLLP_PORT": str(mllp),
            "WARDTRAIL_HTTP_PORT": str(http), "WARDTRAIL_VAULT_KEY": "wardtrail",
            "VAULT_ADDR": f"http://127.0.0.1:{vault}", "VAULT_TOKEN": TOKEN,
            "WARDTRAIL_VAULT_SECONDS": "2",
        }
    )  # fmt: skip
    with serving(transit, port=vault):
        changed = desk.run("keys", "rewrap", "--from", f"file:{root}")
        assert changed.exit_code == 0, changed.output
        assert desk.run("keys", "status").stderr == ""
    return vault


def free():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_the_intake_starts_without_vault_says_so_and_takes_when_it_answers(desk, vaulted, tmp_path):
    log = tmp_path / "serve.log"
    with started(desk, log) as child:
        until(child, lambda: status(desk, "/health/live") == 200, log)
        assert status(desk, "/health/ready") == 503
        metrics = answered(desk, "/metrics")[1]
        assert "wardtrail_feeds_key_service_away 1" in metrics
        assert "wardtrail_feeds_tenants_shut 0" in metrics
        assert log.read_text().count("others are waited for: Vault doesn't answer") == 1
        with serving(transit, port=vaulted):
            until(child, lambda: status(desk, "/health/ready") == 200, log)
            assert deploy.DEMO in answered(desk, "/health/ready")[1]
        until(child, lambda: "key_service_away 0" in answered(desk, "/metrics")[1], log)
        assert status(desk, "/health/ready") == 200, "with the keys that are open"
    assert child.returncode == 0
    assert TOKEN not in log.read_text()


def test_mllp_is_served_over_tls_and_a_new_certificate_without_a_restart(desk, stack, tmp_path):
    authority = Authority(tmp_path)
    served = authority.issue("served")
    desk.environ.update(
        {
            "WARDTRAIL_ALLOW": "topics", "WARDTRAIL_MLLP_PORT": str(ports.choose([])),
            "WARDTRAIL_HTTP_PORT": str(ports.choose([])),
            "WARDTRAIL_MLLP_TLS_CERTIFICATE": str(served.certificate),
            "WARDTRAIL_MLLP_TLS_KEY": str(served.key),
        }
    )  # fmt: skip
    message = "MSH|^~\\&|A|B|C|D|2026||ADT^A01|1|T|2.5\rPID|1||7^^^X^MR\r"
    log = tmp_path / "serve.log"
    where = ("--host", "127.0.0.1", "--port", desk.environ["WARDTRAIL_MLLP_PORT"])
    trusted = (*where, "--tls-ca", str(authority.certificate))

    def answers(*options):
        done = desk.run("send", "-", "--json", *options, stdin=message)
        return json.loads(done.stdout)["not_accepted"][0]["error"] if not done.exit_code else None

    with started(desk, log) as child:
        until(child, lambda: status(desk, "/health/ready") == 200, log)
        assert answers() == 202, "its own intake is trusted by its very certificate"
        assert answers(*trusted) == 202
        newer = authority.issue("newer")
        newer.key.replace(served.key)
        newer.certificate.replace(served.certificate)
        child.send_signal(signal.SIGHUP)
        until(child, lambda: "tls_renewed 1" in answered(desk, "/metrics")[1], log)
        assert answers(*trusted) == 202
        served.key.write_text("no key")
        until(child, lambda: "tls_renewals_refused 1" in answered(desk, "/metrics")[1], log)
        assert "the certificate that was read before serves on" in log.read_text()
        assert answers(*trusted) == 202
    assert child.returncode == 0


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"KEY": "key"}, "WARDTRAIL_MLLP_TLS_KEY is set without WARDTRAIL_MLLP_TLS_CERTIFICATE"),
        ({"CA": "ca"}, "WARDTRAIL_MLLP_TLS_CA is set without WARDTRAIL_MLLP_TLS_CERTIFICATE"),
        ({"CERTIFICATE": "none.pem"}, "a TLS file can't be read, no such file or directory"),
    ],
)
def test_tls_that_can_not_be_served_is_refused_at_start(desk, stack, tmp_path, environ, said):
    desk.environ.update({"WARDTRAIL_ALLOW": "topics"})
    desk.environ.update({f"WARDTRAIL_MLLP_TLS_{name}": value for name, value in environ.items()})
    log = tmp_path / "serve.log"
    with started(desk, log) as child:
        assert child.wait(SECONDS) in (1, 2)
    assert said in log.read_text()
    assert "Traceback" not in log.read_text()
