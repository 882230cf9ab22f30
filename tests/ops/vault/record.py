"""Records what a Vault says to our client, as `pairs.json` has it: for a server made for this.

    VAULT_ADDR=http://127.0.0.1:8200 VAULT_TOKEN=... VAULT_UNSEAL=... .venv/bin/python -m \\
        tests.ops.vault.record

The token must be root's, the server one that holds nothing else: it mounts transit, makes the key
`wardtrail`, and is sealed for a moment. What is wrapped is no secret, and tokens stand in no pair.
"""

import json
import os
import sys
from collections.abc import Callable
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from uuid import UUID

from ops.vault import Vault
from schemas.sealing import EnvelopeInvalid, KeyServiceAway

SECRET = bytes(range(32))
KEY = "wardtrail"
FIRST = {"tenant": UUID(int=1), "purpose": "data", "version": 1}
SECOND = {**FIRST, "tenant": UUID(int=2)}
NO_ID = str(UUID(int=0))  # of a request: told nothing by it
# All that a process of ours needs; docs/operating.md has the same.
POLICY = "\n".join(
    f'path "transit/{operation}/{KEY}" {{ capabilities = ["update"] }}'
    for operation in ("encrypt", "decrypt", "hmac")
)


class Admin:
    """What is done to the server beside our client, and isn't recorded."""

    def __init__(self, url: str, token: str) -> None:
        self.host = urlsplit(url).netloc
        self.token = token

    def ask(self, method: str, path: str, **said: object) -> dict:
        status, body = forward(self.host, method, path, json.dumps(said).encode(), self.token)
        if status >= 300:
            raise SystemExit(f"the server refuses, status {status}: {method} {path}")
        return json.loads(body) if body else {}


def forward(host: str, method: str, path: str, body: bytes, token: str) -> tuple[int, bytes]:
    connection = HTTPConnection(host, timeout=30)
    try:
        headers = {"X-Vault-Token": token, "Content-Type": "application/json"}
        connection.request(method, path, body or None, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class Tape:
    """Stands between our client and the server, and keeps what both say."""

    def __init__(self, host: str) -> None:
        self.host, self.pairs, self.step = host, [], ""

    def note(self, path: str, request: bytes, status: int, response: bytes) -> None:
        said = json.loads(response)
        if "request_id" in said:
            said["request_id"] = NO_ID
        self.pairs.append(
            {
                "step": self.step, "method": "POST", "path": path,
                "request": json.loads(request), "status": status, "response": said,
            }
        )  # fmt: skip


@contextmanager
def running(tape: Tape):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            token = self.headers["X-Vault-Token"]
            status, response = forward(tape.host, "POST", self.path, request, token)
            tape.note(self.path, request, status, response)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(response)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refused(by: type[Exception], ask: Callable[[], object]) -> None:
    try:
        ask()
    except by:
        return
    raise SystemExit(f"the server took what it was to refuse: {by.__name__}")


def played(tape: Tape, url: str, admin: Admin, unseal: str | None) -> None:
    """Everything that our client asks for, and everything that it may be told."""

    def client(token: str, **given: str) -> Vault:
        return Vault(**{"url": url, "key": KEY, "token": token, **given})

    def step(name: str) -> None:
        tape.step = name

    admin.ask("POST", "/v1/sys/mounts/transit", type="transit")
    admin.ask("POST", f"/v1/transit/keys/{KEY}", type="aes256-gcm96", derived=False)
    admin.ask("POST", "/v1/transit/keys/rsa", type="rsa-2048")
    admin.ask("PUT", "/v1/sys/policies/acl/wardtrail", policy=POLICY)
    made = admin.ask("POST", "/v1/auth/token/create", policies=["wardtrail"], ttl="1h")
    ours = made["auth"]["client_token"]

    step("wrap")
    wrapped = client(ours).wrap(SECRET, **FIRST)
    step("unwrap")
    assert client(ours).unwrap(wrapped, **FIRST) == SECRET
    step("unwrap for another tenant")
    refused(EnvelopeInvalid, lambda: client(ours).unwrap(wrapped, **SECOND))
    step("unwrap what was changed")
    changed = wrapped[:-6] + (b"A" if wrapped[-6:-5] != b"A" else b"B") + wrapped[-5:]
    refused(EnvelopeInvalid, lambda: client(ours).unwrap(changed, **FIRST))
    step("unwrap what is no ciphertext")
    refused(EnvelopeInvalid, lambda: client(ours).unwrap(b"vault:v1:AAAA", **FIRST))
    step("line")
    line = client(ours).line().secret
    step("a path that the token may not")
    refused(KeyServiceAway, lambda: client(ours, key="other").wrap(SECRET, **FIRST))
    step("an engine that is not there")
    refused(KeyServiceAway, lambda: client(admin.token, mount="none").wrap(SECRET, **FIRST))
    step("unwrap by a key that is not there")
    refused(EnvelopeInvalid, lambda: client(admin.token, key="none").unwrap(wrapped, **FIRST))
    step("line of a key that is not there")
    refused(KeyServiceAway, lambda: client(admin.token, key="none").line())
    step("wrap by a key that binds nothing")
    refused(KeyServiceAway, lambda: client(admin.token, key="rsa").wrap(SECRET, **FIRST))

    admin.ask("POST", f"/v1/transit/keys/{KEY}/rotate")
    step("wrap after a rotation")
    again = client(ours).wrap(SECRET, **FIRST)
    assert again.startswith(b"vault:v2:")
    for each, name in ((wrapped, "unwrap the version before"), (again, "unwrap the newest")):
        step(name)
        assert client(ours).unwrap(each, **FIRST) == SECRET
    step("line after a rotation")
    assert client(ours).line().secret == line
    admin.ask("POST", f"/v1/transit/keys/{KEY}/config", min_decryption_version=2)
    step("unwrap a version that may be used no longer")
    refused(EnvelopeInvalid, lambda: client(ours).unwrap(wrapped, **FIRST))
    step("line by a version that may be used no longer")
    refused(KeyServiceAway, lambda: client(ours).line())
    admin.ask("POST", f"/v1/transit/keys/{KEY}/config", min_decryption_version=1)

    admin.ask("POST", "/v1/auth/token/revoke", token=ours)
    step("a token that was revoked")
    refused(KeyServiceAway, lambda: client(ours).wrap(SECRET, **FIRST))
    if unseal is not None:
        admin.ask("PUT", "/v1/sys/seal")
        step("a sealed server")
        refused(KeyServiceAway, lambda: client(ours).unwrap(wrapped, **FIRST))
        admin.ask("PUT", "/v1/sys/unseal", key=unseal)


def main() -> None:
    url, token = os.environ["VAULT_ADDR"], os.environ["VAULT_TOKEN"]
    admin = Admin(url, token)
    tape = Tape(admin.host)
    version = admin.ask("GET", "/v1/sys/health")["version"]
    with running(tape) as between:
        played(tape, between, admin, os.environ.get("VAULT_UNSEAL"))
    file = Path(__file__).with_name("pairs.json")
    file.write_text(json.dumps({"version": version, "pairs": tape.pairs}, indent=1) + "\n")
    sys.stderr.write(f"recorded of Vault {version}: {len(tape.pairs)} pairs\n")


if __name__ == "__main__":
    main()
