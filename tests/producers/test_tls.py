"""MLLP over TLS, on real sockets, with certificates made here."""

import asyncio
import shutil
import socket
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from producers import tls
from producers.binding import fingerprint
from producers.client import NO_ANSWER, Patience, send
from producers.mllp import encode
from producers.tls import HANDSHAKE, Files, TlsInvalid, client_context, server_context
from tests.producers.certified import Authority
from tests.producers.conftest import Sender


def run(test):
    asyncio.run(asyncio.wait_for(test(), 60))


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def served(authority):
    """The server's files, without a CA for clients."""
    pair = authority.issue("server")
    return Files(certificate=pair.certificate, key=pair.key)


@asynccontextmanager
async def connected(intake, context):
    reader, writer = await asyncio.open_connection("127.0.0.1", intake.tls_port, ssl=context)
    try:
        yield Sender(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
def secure(serving):
    """``async with secure(files) as intake``: a server that listens with TLS too."""

    @asynccontextmanager
    async def serve(files, **given):
        async with serving(**given) as intake:
            intake.server.secure(server_context(files))
            intake.tls_port = await intake.server.listen("127.0.0.1", 0, tls=True)
            yield intake

    return serve


def test_messages_are_taken_over_tls_and_answered(secure, served, authority, message):
    async def test():
        async with secure(served) as intake:
            context = client_context(authority.certificate)
            results = await send(
                "127.0.0.1", intake.tls_port, [message(n) for n in range(50)], context=context
            )
            assert [(each.code, each.sends) for each in results] == [("AA", 1)] * 50
            async with connected(intake, context) as sender:
                assert sender.writer.get_extra_info("ssl_object").version() == "TLSv1.3"
                for byte in encode(message(1)):
                    await sender.say(bytes([byte]))
                assert await sender.hear() == ("AA", "1", None)

    run(test)


def test_the_clients_certificate_tells_the_sender(secure, served, authority, message):
    async def test():
        lab, other = authority.issue("lab"), authority.issue("other")
        async with secure(replace(served, ca=authority.certificate)) as intake:
            bound = frozenset({fingerprint(lab.der)})
            intake.feeds.feed = replace(intake.feeds.feed, certificates=bound)
            for pair, answer in ((lab, ("AA", "1", None)), (other, ("AR", "1", 103))):
                context = client_context(
                    authority.certificate, certificate=pair.certificate, key=pair.key
                )
                async with connected(intake, context) as sender:
                    await sender.say(encode(message(1)))
                    assert await sender.hear() == answer
            plain = await intake.connect()
            await plain.say(encode(message(1)))
            assert await plain.hear() == ("AR", "1", 103)

    run(test)


@pytest.mark.parametrize("shown", ["none", "another authority's", "ended"])
def test_who_shows_no_good_certificate_gets_nowhere(
    secure, served, authority, tmp_path, message, shown
):
    async def test():
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        if shown == "none":
            context = client_context(authority.certificate)
        else:
            pair = (
                authority.issue("old", days=-1)
                if shown == "ended"
                else Authority(folder, "stranger").issue("lab")
            )
            context = client_context(
                authority.certificate, certificate=pair.certificate, key=pair.key
            )
        async with secure(replace(served, ca=authority.certificate)) as intake:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await heard(intake, context, message(1))
            await intake.until(lambda: intake.server.counters.refused[HANDSHAKE] == 1)
            assert intake.server.counters.connections == 0
            assert intake.publisher.records == []

    run(test)


async def heard(intake, context, body):
    """The first byte of an answer."""
    async with connected(intake, context) as sender:
        await sender.say(encode(body))
        if not await sender.reader.read(1):
            raise ConnectionError("closed")


@pytest.mark.parametrize("said", [b"\x0bMSH|^~\\&|", b"GET / HTTP/1.1\r\n\r\n", b"<"])
def test_plaintext_on_a_tls_port_is_hung_up_on(secure, served, said):
    async def test():
        async with secure(served) as intake:
            reader, writer = await asyncio.open_connection("127.0.0.1", intake.tls_port)
            writer.write(said)
            await intake.until(lambda: intake.server.counters.refused[HANDSHAKE] == 1)
            while await reader.read(100):
                pass  # at most an alert
            writer.close()

    run(test)


def test_a_client_refuses_a_server_that_it_does_not_trust(secure, served, tmp_path, message):
    async def test():
        folder = tmp_path / "elsewhere"
        folder.mkdir()
        stranger = Authority(folder, "stranger")
        async with secure(served) as intake:
            (result,) = await send(
                "127.0.0.1", intake.tls_port, [message(1)], patience=Patience(without_progress=60),
                context=client_context(stranger.certificate),
            )  # fmt: skip
            assert result.cause.startswith(f"{NO_ANSWER}, the server's certificate isn't trusted")
            assert intake.publisher.records == []

    run(test)


def test_a_new_certificate_serves_new_connections_and_old_ones_go_on(
    secure, served, authority, message
):
    async def test():
        async with secure(served) as intake:
            context = client_context(authority.certificate)
            async with connected(intake, context) as before:
                first = shown(before)
                newer = authority.issue("newer")
                intake.server.secure(
                    server_context(Files(certificate=newer.certificate, key=newer.key))
                )
                async with connected(intake, context) as after:
                    assert shown(after) == fingerprint(newer.der) != first
                    for sender in (before, after):
                        await sender.say(encode(message(1)))
                        assert await sender.hear() == ("AA", "1", None)

    run(test)


def shown(sender):
    return fingerprint(sender.writer.get_extra_info("ssl_object").getpeercert(binary_form=True))


def test_handshakes_that_never_end_are_bounded_in_number_and_time(
    secure, served, authority, message
):
    async def test():
        async with secure(served, connections=3, handshake_seconds=0.3) as intake:
            silent = [await asyncio.open_connection("127.0.0.1", intake.tls_port) for _ in range(4)]
            await intake.until(lambda: intake.server.counters.connections_refused == 1)
            await intake.until(lambda: intake.server.counters.refused[HANDSHAKE] == 3)
            async with connected(intake, client_context(authority.certificate)) as sender:
                await sender.say(encode(message(1)))
                assert await sender.hear() == ("AA", "1", None)
            for _, writer in silent:
                writer.close()

    run(test)


def test_no_descriptor_left_ends_no_listener(secure, served, authority, message, monkeypatch):
    async def test():
        monkeypatch.setattr(tls, "NO_ROOM_SECONDS", 0.01)
        async with secure(served) as intake:
            (listener,) = intake.server.secured
            real, calls = listener._sock, []

            class Full:
                def accept(self):
                    calls.append(1)
                    if len(calls) == 1:
                        raise OSError(24, "too many open files")
                    return real.accept()

                def fileno(self):
                    return real.fileno()

                def close(self):
                    real.close()

            listener._sock = Full()
            async with connected(intake, client_context(authority.certificate)) as sender:
                await sender.say(encode(message(1)))
                assert await sender.hear() == ("AA", "1", None)
            assert len(calls) > 1

    run(test)


def test_an_end_of_sending_over_tls_ends_the_connection(secure, served, authority, message):
    async def test():
        async with secure(served) as intake:
            async with connected(intake, client_context(authority.certificate)) as sender:
                await sender.say(encode(message(1)))
                assert await sender.hear() == ("AA", "1", None)
                sender.writer.close()
            await intake.until(lambda: not intake.server.connections)

    run(test)


def test_tls_older_than_1_2_is_not_spoken(served):
    assert server_context(served).minimum_version is ssl.TLSVersion.TLSv1_2
    assert client_context(served.certificate).minimum_version is ssl.TLSVersion.TLSv1_2


def test_files_that_can_not_be_used_are_told_by_their_names(authority, served, tmp_path):
    other, old = authority.issue("other"), authority.issue("old", days=-1)
    locked = authority.issue("locked", password=b"secret")
    none, text = tmp_path / "none.pem", tmp_path / "text.pem"
    text.write_text("no certificate")
    for files, said in (
        (replace(served, certificate=none), "can't be read, no such file or directory: .*none.pem"),
        (replace(served, key=none), "can't be read, no such file or directory: .*none.pem"),
        (replace(served, ca=none), "can't be read, no such file or directory: .*none.pem"),
        (replace(served, certificate=text), "no certificate with an unencrypted key in PEM"),
        (replace(served, key=other.key), "this key is not the certificate's: .*other.key"),
        (replace(served, ca=text), "no certificate in PEM: .*text.pem"),
        (Files(certificate=locked.certificate, key=locked.key), "unencrypted key"),
        (Files(certificate=old.certificate, key=old.key), "the certificate ended on .*old.crt"),
    ):
        with pytest.raises(TlsInvalid, match=said):
            server_context(files)


def test_a_server_without_a_certificate_does_not_listen_with_tls(serving):
    async def test():
        async with serving() as intake:
            with pytest.raises(AssertionError, match="certificate"):
                await intake.server.listen("127.0.0.1", 0, tls=True)

    run(test)


def test_a_port_that_is_taken_is_told(secure, served):
    async def test():
        async with secure(served) as intake:
            with pytest.raises(OSError, match="in use"):
                await intake.server.listen("127.0.0.1", intake.tls_port, tls=True)

    run(test)


def test_a_stamp_changes_when_a_file_is_replaced_or_goes(served, authority):
    before = served.stamp()
    newer = authority.issue("newer")
    shutil.copy(newer.key, served.key)
    replaced = served.stamp()
    served.key.unlink()
    assert len({before, replaced, served.stamp()}) == 3


def test_the_listening_socket_is_closed_with_the_server(secure, served):
    async def test():
        async with secure(served) as intake:
            port = intake.tls_port
        with socket.socket() as again, pytest.raises(ConnectionRefusedError):
            again.connect(("127.0.0.1", port))

    run(test)
