"""Files go over MLLP to a server that takes, refuses or hangs up."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.cli import sending
from producers import client
from producers.mllp import Decoder, Frame, encode

MESSAGE = b"MSH|^~\\&|A|B|C|D|20260302||ADT^A01|%d|P|2.5\rPID|1||77^^^X^MR\r"
BATCH = b"FHS|^~\\&\nBHS|^~\\&\n" + MESSAGE % 1 + b"\n" + MESSAGE % 2 + b"\nBTS|2\nFTS|1\n"


@contextmanager
def answering(answer: Callable[[bytes], bytes | None]) -> Iterator[int]:
    """An MLLP server in a thread; None hangs up. Gives its port."""
    ready, loop, ports = threading.Event(), asyncio.new_event_loop(), []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = Decoder()
        while data := await reader.read(65_536):
            for item in decoder.feed(data):
                assert isinstance(item, Frame)
                said = answer(item.payload)
                if said is None:
                    writer.transport.abort()
                    return
                writer.write(encode(said))
        writer.close()

    async def listen() -> None:
        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()

    loop.create_task(listen())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        assert ready.wait(10)
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def reply(message: bytes, code: bytes, error: bytes = b"") -> bytes:
    control_id = message.split(b"|")[9]
    err = b"ERR|||" + error + b"^x^HL70357|E\r" if error else b""
    return b"MSH|^~\\&|C|D|A|B|2026||ACK|9|P|2.5\rMSA|" + code + b"|" + control_id + b"\r" + err


def test_every_message_of_every_file_is_sent_and_counted(bare, loaded, tmp_path: Path) -> None:
    (tmp_path / "one.hl7").write_bytes(MESSAGE % 1)
    (tmp_path / "batch.hl7").write_bytes(BATCH)
    with answering(lambda message: reply(message, b"AA")) as port:
        files = [str(tmp_path / name) for name in ("one.hl7", "batch.hl7")]
        result = bare.run("send", *files, "--port", str(port), "--json")
    assert result.exit_code == 0, result.stderr
    report = loaded(result)
    assert (report["messages"], report["sent"]) == (3, 3)
    assert report["answers"] == {"AA": 3, "AE": 0, "AR": 0, "none": 0}
    assert report["not_accepted"] == []


def test_an_answer_other_than_aa_is_told_by_file_place_code_and_error(bare, loaded, tmp_path):
    (tmp_path / "batch.hl7").write_bytes(BATCH)
    answer = lambda message: (  # noqa: E731  short
        reply(message, b"AR", b"202") if b"|2|P" in message else reply(message, b"AA")
    )
    with answering(answer) as port:
        file = str(tmp_path / "batch.hl7")
        result = bare.run("send", file, "--port", str(port), "--json")
        told = bare.run("send", file, "--port", str(port))
    assert result.exit_code == told.exit_code == 0  # it was answered
    assert loaded(result)["not_accepted"] == [
        {"file": file, "index": 2, "code": "AR", "error": 202,
         "text": "Unsupported processing id"}
    ]  # fmt: skip
    assert "sent 2: AA 1, AE 0, AR 1, none 0" in told.stdout
    assert "Unsupported processing id" in told.stdout


def test_standard_input_is_a_file_too(bare) -> None:
    with answering(lambda message: reply(message, b"AA")) as port:
        result = bare.run("send", "-", "--port", str(port), stdin=BATCH)
    assert "sent 2: AA 2" in result.stdout


def test_a_message_without_an_answer_fails_the_command(bare, monkeypatch) -> None:
    impatient = client.Patience(connect=1.0, answer=1.0, without_progress=0.0)
    monkeypatch.setattr(client, "Patience", lambda: impatient)
    with answering(lambda _message: None) as port:
        result = bare.run("send", "-", "--port", str(port), stdin=MESSAGE % 1)
    assert result.exit_code == 1
    assert "sent 1: AA 0, AE 0, AR 0, none 1" in result.stdout
    assert "messages without an answer: 1" in result.stderr


def test_an_acknowledgement_is_not_sent_and_no_failure(bare, loaded) -> None:
    ack = reply(MESSAGE % 1, b"AA")
    with answering(lambda _message: None) as port:
        result = bare.run("send", "-", "--port", str(port), "--json", stdin=ack)
    assert result.exit_code == 0
    assert loaded(result)["not_accepted"][0]["text"] == client.ACKNOWLEDGEMENT


def test_what_is_no_message_is_told_by_its_place(bare) -> None:
    with answering(lambda message: reply(message, b"AA")) as port:
        data = b"a note\n\n" + MESSAGE % 1
        result = bare.run("send", "-", "--port", str(port), stdin=data)
    assert result.exit_code == 0
    assert "-: no message header before it: bytes 0 to 6" in result.stderr
    assert "a note" not in result.output


def test_a_file_without_a_message_is_refused(bare) -> None:
    result = bare.run("send", "-", "--port", "1", stdin=b"nothing")
    assert result.exit_code == 1
    assert result.stderr.endswith("no HL7 message in: -\n")


def test_a_damaged_wide_file_is_refused_and_the_others_are_sent(bare, tmp_path) -> None:
    bad, good = tmp_path / "bad.hl7", tmp_path / "good.hl7"
    bad.write_bytes((MESSAGE % 1).decode().encode("utf-16") + b"\x00\xd8")
    good.write_bytes(MESSAGE % 2)
    with answering(lambda message: reply(message, b"AA")) as port:
        result = bare.run("send", str(bad), str(good), "--port", str(port))
    assert result.exit_code == 1
    assert "sent 1: AA 1" in result.stdout
    assert f"nothing of these was sent: {bad} (hint: write them out again)" in result.stderr
    alone = bare.run("send", str(bad), "--port", "1")
    assert alone.exit_code == 1
    assert "its BOM says UTF-16" in alone.stderr


def test_a_file_over_the_limit_is_refused(bare, monkeypatch) -> None:
    monkeypatch.setattr(sending, "FILE_BYTES_MAX", 10)
    result = bare.run("send", "-", "--port", "1", stdin=MESSAGE % 1)
    assert result.exit_code == 1
    assert "at most 10 bytes" in result.stderr


def test_where_nobody_listens_the_command_says_so_at_once(bare) -> None:
    result = bare.run("send", "-", "--port", "1", stdin=MESSAGE % 1)
    assert result.exit_code == 1
    assert "no intake at 127.0.0.1:1: connection refused" in result.stderr


@pytest.mark.parametrize("window", ["0", "1025"])
def test_a_window_out_of_its_bounds_is_misuse(bare, window: str) -> None:
    assert bare.run("send", "-", "--window", window).exit_code == 2
