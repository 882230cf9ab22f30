"""Vault's transit engine: what a real one said to our client, and everything but that.

`pairs.json` was recorded by `record.py`, which says how to do that again.
"""

import json
import socket
import threading
import time
from base64 import b64decode
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from uuid import UUID

import pytest

from ops import access, vault
from ops.access import NotConfigured
from ops.settings import Settings
from ops.vault import ANSWER_BYTES_MAX, Vault, VaultInvalid
from schemas.sealing import EnvelopeInvalid, KeyServiceAway, Root, Scope
from streams import ports
from streams.ownership import told

RECORDED = json.loads((Path(__file__).parent / "pairs.json").read_text(encoding="utf-8"))
PAIRS = {pair["step"]: pair for pair in RECORDED["pairs"]}
TOKEN = "hvs.CANARYTOKEN"
SECRET = bytes(range(32))
NAMED = {"tenant": UUID(int=1), "purpose": "data", "version": 1}
SECOND = {**NAMED, "tenant": UUID(int=2)}
WRAPPED = PAIRS["wrap"]["response"]["data"]["ciphertext"].encode()


@contextmanager
def serving(answer, port=0):
    """A server on loopback; ``answer`` gives status and body for path, token and request."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, said = answer(self.path, self.headers["X-Vault-Token"], json.loads(body))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_):
            pass

    class Server(ThreadingHTTPServer):
        def server_bind(self):  # without asking what the address is called
            TCPServer.server_bind(self)
            self.server_name, self.server_port = self.server_address[:2]

    server = Server(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answered(path, token, request):
    """As the server did when all was well."""
    if token != TOKEN:
        return 403, b'{"errors":["permission denied"]}'
    for step in ("wrap", "unwrap", "unwrap for another tenant", "line"):
        pair = PAIRS[step]
        if (pair["path"], pair["request"]) == (path, request):
            return pair["status"], json.dumps(pair["response"]).encode()
    return 404, b'{"errors":[]}'


def replayed(step):
    """As the server did in this step; our client must ask as it did then."""

    def answer(path, token, request):
        pair = PAIRS[step]
        assert token == TOKEN
        assert (path, request) == (pair["path"], pair["request"])
        return pair["status"], json.dumps(pair["response"]).encode()

    return answer


def at(url, **given):
    return Vault(**{"url": url, "key": "wardtrail", "token": TOKEN, "seconds": 5.0, **given})


def wrapped_in(step):
    """What our client asked to be unwrapped in this step."""
    return PAIRS[step]["request"]["ciphertext"].encode()


def unwrap(step, named=NAMED, **given):
    return lambda url: at(url, **given).unwrap(wrapped_in(step), **named)


def wrap(**given):
    return lambda url: at(url, **given).wrap(SECRET, **NAMED)


def line(**given):
    return lambda url: at(url, **given).line().secret


LINE = b64decode(PAIRS["line"]["response"]["data"]["hmac"].rpartition(":")[2])
# Each step of the recording: what our client asks in it, and what it gives or raises.
STEPS = {
    "wrap": (wrap(), WRAPPED),
    "unwrap": (unwrap("unwrap"), SECRET),
    "unwrap for another tenant": (unwrap("unwrap", SECOND), EnvelopeInvalid),
    "unwrap what was changed": (unwrap("unwrap what was changed"), EnvelopeInvalid),
    "unwrap what is no ciphertext": (unwrap("unwrap what is no ciphertext"), EnvelopeInvalid),
    "line": (line(), LINE),
    "a path that the token may not": (wrap(key="other"), "refuses our token, status: 403"),
    "an engine that is not there": (wrap(mount="none"), "no such key or engine, status: 404"),
    "unwrap by a key that is not there": (unwrap("unwrap", key="none"), EnvelopeInvalid),
    "line of a key that is not there": (line(key="none"), "is it there"),
    "wrap by a key that binds nothing": (wrap(key="rsa"), "of an AEAD type"),
    "wrap after a rotation": (
        wrap(), PAIRS["wrap after a rotation"]["response"]["data"]["ciphertext"].encode(),
    ),
    "unwrap the version before": (unwrap("unwrap the version before"), SECRET),
    "unwrap the newest": (unwrap("unwrap the newest"), SECRET),
    "line after a rotation": (line(), LINE),
    "unwrap a version that may be used no longer": (unwrap("unwrap"), EnvelopeInvalid),
    "line by a version that may be used no longer": (line(), "with version 1"),
    "a token that was revoked": (wrap(), "refuses our token"),
    "a sealed server": (unwrap("unwrap"), "is sealed or in maintenance"),
}  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_what_a_real_server_said_is_taken_as_it_was_meant(step):
    ask, becomes = STEPS[step]
    with serving(replayed(step)) as url:
        if becomes is EnvelopeInvalid:
            with pytest.raises(EnvelopeInvalid, match="WARDTRAIL_VAULT_KEY"):
                ask(url)
        elif isinstance(becomes, str):
            with pytest.raises(KeyServiceAway, match=becomes):
                ask(url)
        else:
            assert ask(url) == becomes


def test_every_recorded_step_is_played_and_shows_no_token():
    assert set(STEPS) == set(PAIRS)
    assert len(RECORDED["pairs"]) == len(PAIRS)
    shown = json.dumps(RECORDED)
    assert "hvs." not in shown
    assert "auth" not in {name for pair in PAIRS.values() for name in pair["request"]}
    assert all(pair["response"].get("auth") is None for pair in PAIRS.values())


def test_what_vault_wrapped_for_another_tenant_is_no_key_and_what_needs_it_waits():
    with serving(answered) as url:
        with pytest.raises(EnvelopeInvalid, match="WARDTRAIL_VAULT_KEY"):
            at(url).unwrap(WRAPPED, **{**NAMED, "tenant": UUID(int=2)})
        with pytest.raises(ports.Transient, match="WARDTRAIL_VAULT_KEY"), told():
            at(url).unwrap(WRAPPED, **{**NAMED, "tenant": UUID(int=2)})


def test_the_lines_key_is_asked_for_once_in_a_minute():
    asked = []

    def counted(path, token, request):
        asked.append(path)
        return answered(path, token, request)

    with serving(counted) as url:
        service = at(url)
        line = service.line()
        assert (line.secret, line.scope, line.version) == (LINE, Scope.LINE, 1)
        assert service.line() is line
    assert asked == ["/v1/transit/hmac/wardtrail"]


def test_a_key_wrapped_outside_vault_is_told_from_one_of_vault_without_asking():
    outside = Root(SECRET).wrap(SECRET, **NAMED)
    with pytest.raises(EnvelopeInvalid, match="wardtrail keys rewrap"):
        at("http://127.0.0.1:9").unwrap(outside, **NAMED)
    with pytest.raises(EnvelopeInvalid):
        Root(SECRET).unwrap(WRAPPED, **NAMED)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (403, "refuses our token, status: 403"),
        (404, "no such key or engine, status: 404"),
        (400, "refuses what is asked of this key"),
        (429, "asks for patience"),
        (500, "has failed"),
        (503, "is sealed or in maintenance"),
        (302, "refuses, status: 302"),
    ],
)
def test_a_refusal_stops_and_says_so_and_shows_neither_token_nor_key(status, said):
    with serving(lambda *_: (status, b'{"errors":["CANARYSECRET"]}')) as url:
        with pytest.raises(KeyServiceAway, match=said) as away:
            at(url).wrap(SECRET, **NAMED)
        assert "CANARY" not in str(away.value)
        with pytest.raises(ports.Transient), told():
            at(url).line()


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{}", b'{"data":null}', b'{"data":{"ciphertext":7}}',
        b'{"data":{"ciphertext":"clear"}}', b"\xff", b'{"data":' * 1_000,
    ],
)  # fmt: skip
def test_an_answer_that_is_none_stops(body):
    with serving(lambda *_: (200, body)) as url, pytest.raises(KeyServiceAway):
        at(url).wrap(SECRET, **NAMED)


@pytest.mark.parametrize("said", ["vault:v1:AAAA", "vault:v2:" + "8PDw" * 10 + "8PA=", "x"])
def test_a_lines_key_of_another_shape_or_version_is_none(said):
    body = json.dumps({"data": {"hmac": said}}).encode()
    with serving(lambda *_: (200, body)) as url, pytest.raises(KeyServiceAway):
        at(url).line()


@pytest.mark.parametrize(("more", "refused"), [(0, False), (1, True)])
def test_an_answer_has_its_bound(more, refused):
    said = json.dumps({"data": {"ciphertext": WRAPPED.decode()}}).encode()
    body = said + b" " * (ANSWER_BYTES_MAX - len(said) + more)
    with serving(lambda *_: (200, body)) as url:
        if refused:
            with pytest.raises(KeyServiceAway):
                at(url).wrap(SECRET, **NAMED)
        else:
            assert at(url).wrap(SECRET, **NAMED) == WRAPPED


def test_a_service_that_is_away_says_so():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(KeyServiceAway, match="doesn't answer"):
        at(url).unwrap(WRAPPED, **NAMED)


def test_a_service_that_answers_by_drops_is_left_when_the_time_is_over():
    """A byte now and then passes each wait of the socket, and must not pass the whole."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                try:
                    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    while not done.wait(0.05):
                        connection.sendall(b" ")
                except OSError:
                    return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            with pytest.raises(KeyServiceAway):
                at(url, seconds=0.5).wrap(SECRET, **NAMED)
        finally:
            done.set()
            thread.join()


def test_a_token_is_read_anew_from_its_file(tmp_path):
    file = tmp_path / "token"
    file.write_text("old\n")
    with serving(answered) as url:
        service = at(url, token=None, token_file=file)
        with pytest.raises(KeyServiceAway, match="token"):
            service.wrap(SECRET, **NAMED)
        file.write_text(f"{TOKEN}\n")
        assert service.wrap(SECRET, **NAMED) == WRAPPED
        file.unlink()
        with pytest.raises(KeyServiceAway, match="can't be read"):
            service.wrap(SECRET, **NAMED)


@pytest.mark.parametrize("token", ["", " ", "a\nb", "ü", "a\r\nX-Other: b"])
def test_a_token_that_no_header_can_carry_is_none(token):
    with pytest.raises(KeyServiceAway, match="token is none"):
        at("http://127.0.0.1:9", token=token)._token()


@pytest.mark.parametrize(
    "url", ["", "vault:8200", "ftp://h", "https://", "https://user:word@h", "http://10.0.0.1:8200"]
)
def test_an_address_that_cant_be_used_is_refused(url):
    with pytest.raises(VaultInvalid):
        at(url)


def test_over_tls_only_certificates_that_are_known_are_taken(tmp_path):
    assert at("https://vault.example:8200").url
    with pytest.raises(VaultInvalid, match="certificates"):
        vault._tls(tmp_path / "none.pem")


def test_the_root_key_comes_from_one_place(tmp_path, monkeypatch):
    text = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    monkeypatch.chdir(tmp_path)
    home = {"WARDTRAIL_HOME": str(tmp_path)}
    assert access.root(Settings.load({**home, "WARDTRAIL_ROOT_KEY": text})) == Root(SECRET)
    asked = {**home, "WARDTRAIL_VAULT_KEY": "k", "VAULT_ADDR": "https://v", "VAULT_TOKEN": TOKEN}
    settings = Settings.load(asked)
    assert isinstance(access.root(settings), Vault)
    for shown in (repr(settings), repr(access.root(settings))):
        assert TOKEN not in shown
    assert text not in repr(Settings.load({**home, "WARDTRAIL_ROOT_KEY": text}))
    for wrong in (
        {**asked, "WARDTRAIL_ROOT_KEY": text}, {**asked, "VAULT_ADDR": ""},
        {**asked, "VAULT_TOKEN": ""}, {**asked, "WARDTRAIL_VAULT_TOKEN_FILE": "t"},
        {**home, "WARDTRAIL_ROOT_KEY": "CANARY"}, {**home, "WARDTRAIL_ROOT_KEY": text[4:]},
        home,
    ):  # fmt: skip
        with pytest.raises(NotConfigured) as refused:
            access.root(Settings.load(wrong))
        assert "CANARY" not in str(refused.value)


def test_nothing_of_the_time_that_a_request_takes_is_left_running():
    with serving(answered) as url:
        before = threading.active_count()
        at(url).wrap(SECRET, **NAMED)
        deadline = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert threading.active_count() <= before


def test_a_service_that_says_nothing_is_left_when_the_time_is_over_and_that_is_said():
    with socket.create_server(("127.0.0.1", 0)) as listener:  # nobody takes what comes
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(KeyServiceAway, match=r"Vault doesn't answer: in 0\.2 s"):
            at(url, seconds=0.2).wrap(SECRET, **NAMED)
