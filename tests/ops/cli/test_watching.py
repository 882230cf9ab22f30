"""A folder's files are sent, and moved with what was answered."""

import os
import signal
import threading
from pathlib import Path

import pytest

from ops import watching
from ops.cli import watching as command
from ops.watching import DONE, FAILED, Folder, FolderTaken, watched
from producers import client
from producers.client import Result
from tests.ops.cli.test_sending import BATCH, MESSAGE, answering, reply

AA = Result(code="AA", sends=1, said=b"MSH|^~\\&|C\rMSA|AA|1\r")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def folder(inbox: Path, clock: Clock | None = None, quiet: float = 0.0) -> Folder:
    (inbox / DONE).mkdir(exist_ok=True)
    (inbox / FAILED).mkdir(exist_ok=True)
    return Folder(path=inbox, quiet_seconds=quiet, clock=clock or Clock())


def accept(bodies):
    assert len(bodies) == 1
    return [AA]


def never(_bodies):
    pytest.fail("nothing is sent")


def names(inbox: Path) -> set[str]:
    return {str(each.relative_to(inbox)) for each in inbox.rglob("*") if each.is_file()}


def taken(files: Folder, send) -> list[str | None]:
    return [files.take(file, send).moved for file in files.whole()]


def test_files_are_sent_and_moved_with_their_answers_beside_them(bare, inbox) -> None:
    (inbox / "one.hl7").write_bytes(MESSAGE % 1)
    (inbox / "batch.hl7").write_bytes(BATCH)
    with answering(lambda message: reply(message, b"AA")) as port:
        result = bare.run(
            "watch", str(inbox), "--port", str(port), "--once", "--quiet-seconds", "0"
        )
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith("done 2, failed 0, messages 3\n")
    assert names(inbox) == {
        "done/one.hl7", "done/one.hl7.ack", "done/batch.hl7", "done/batch.hl7.ack",
    }  # fmt: skip
    assert b"\rMSA|AA|1\r" in (inbox / "done/one.hl7.ack").read_bytes()
    lines = (inbox / "done/batch.hl7.ack").read_bytes().split(b"\r")
    assert [line[:3] for line in lines] == [
        b"FHS", b"BHS", b"MSH", b"MSA", b"MSH", b"MSA", b"BTS", b"FTS", b"",
    ]  # fmt: skip
    assert "one.hl7" not in result.output, "a file may be named after a patient"


def test_a_file_of_which_one_message_is_refused_goes_to_failed(bare, inbox) -> None:
    (inbox / "batch.hl7").write_bytes(BATCH)
    answer = lambda message: reply(message, b"AR" if b"|2|P" in message else b"AA")  # noqa: E731
    with answering(answer) as port:
        result = bare.run(
            "watch", str(inbox), "--port", str(port), "--once", "--quiet-seconds", "0"
        )
    assert result.exit_code == 1
    assert "failed: messages 2, refused 1" in result.stderr
    assert names(inbox) == {"failed/batch.hl7", "failed/batch.hl7.ack"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"nothing", "no HL7 message in it"),
        (b"", "no HL7 message in it"),
        ((MESSAGE % 1).decode().encode("utf-16")[:-1], "its BOM says UTF-16"),
    ],
)
def test_what_has_no_message_goes_to_failed_as_it_is(inbox, content, why) -> None:
    (inbox / "bad").write_bytes(content)
    files = folder(inbox)
    (file,) = files.whole()
    told = files.take(file, never)
    assert told.moved == FAILED
    assert told.why.startswith(why)
    assert (inbox / FAILED / "bad").read_bytes() == content


def test_a_file_over_the_limit_goes_to_failed(inbox, monkeypatch) -> None:
    (inbox / "one").write_bytes(MESSAGE % 1)
    monkeypatch.setattr(watching, "FILE_BYTES_MAX", len(MESSAGE % 1))
    assert taken(folder(inbox), accept) == [DONE]
    (inbox / "one").write_bytes(MESSAGE % 1 + b"N")
    assert taken(folder(inbox), never) == [FAILED]


def test_a_file_is_whole_when_it_has_been_quiet(inbox) -> None:
    clock = Clock()
    files = folder(inbox, clock, quiet=2.0)
    (inbox / "grows").write_bytes(MESSAGE % 1)
    assert files.whole() == []
    assert files.waits
    clock.now = 1.9
    assert files.whole() == []
    with (inbox / "grows").open("ab") as stream:
        stream.write(MESSAGE % 2)
    clock.now = 2.5
    assert files.whole() == [], "it changed, so it waits anew"
    clock.now = 4.5
    assert files.whole() == [inbox / "grows"]
    assert not files.waits


@pytest.mark.parametrize("name", [".hidden", "a.tmp", "a.PART", "a.filepart", "a.ack", "a~"])
def test_what_is_still_written_is_passed_over_until_it_is_renamed(inbox, name) -> None:
    (inbox / name).write_bytes(MESSAGE % 1)
    (inbox / "link").symlink_to(inbox / name)
    (inbox / "folder").mkdir()
    files = folder(inbox)
    assert files.whole() == []
    (inbox / name).rename(inbox / "whole.hl7")
    assert files.whole() == [inbox / "whole.hl7"]


def test_the_oldest_goes_first_and_a_round_is_bounded(inbox, monkeypatch) -> None:
    for age, name in enumerate(("new", "old", "older")):
        (inbox / name).write_bytes(MESSAGE % age)
        os.utime(inbox / name, (1_000 - age, 1_000 - age))
    monkeypatch.setattr(watching, "FILES_MAX", 2)
    assert [each.name for each in folder(inbox).whole()] == ["older", "old"]


def test_without_an_answer_a_file_stays_and_is_sent_again(inbox) -> None:
    (inbox / "one").write_bytes(MESSAGE % 1)
    files = folder(inbox)
    lost = Result(code=None, cause=f"{client.NO_ANSWER}: gone", sends=0)
    assert taken(files, lambda _bodies: [lost]) == [None]
    assert taken(files, accept) == [DONE]


def test_a_file_written_while_it_was_sent_stays(inbox) -> None:
    (inbox / "one").write_bytes(MESSAGE % 1)
    files = folder(inbox)

    def grown(bodies):
        with (inbox / "one").open("ab") as stream:
            stream.write(MESSAGE % 2)
        return [AA]

    assert taken(files, grown) == [None]
    assert taken(files, lambda bodies: [AA] * len(bodies)) == [DONE]
    assert (inbox / DONE / "one").read_bytes() == MESSAGE % 1 + MESSAGE % 2


def test_a_file_that_was_taken_away_ends_nothing(inbox) -> None:
    (inbox / "one").write_bytes(MESSAGE % 1)
    files = folder(inbox)
    (file,) = files.whole()
    file.unlink()
    assert files.take(file, never).moved is None


def test_killed_before_the_move_it_sends_the_same_again_under_the_same_ids(inbox) -> None:
    (inbox / "one").write_bytes(MESSAGE % 1)
    sent = []

    def killed(bodies):
        sent.extend(bodies)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        taken(folder(inbox), killed)
    assert taken(folder(inbox), lambda bodies: sent.extend(bodies) or [AA]) == [DONE]
    assert sent[0] == sent[1], "an id is made of the content, so the ledger drops the second"


def test_a_name_that_comes_again_covers_nothing(inbox) -> None:
    for number in (1, 2, 3):
        (inbox / "one").write_bytes(MESSAGE % number)
        assert taken(folder(inbox), accept) == [DONE]
    assert {"done/one", "done/one.1", "done/one.2", "done/one.2.ack"} <= names(inbox)
    assert (inbox / "done/one.1").read_bytes() == MESSAGE % 2


def test_names_that_come_again_are_bounded(inbox, monkeypatch) -> None:
    monkeypatch.setattr(watching, "SAME_NAMES_MAX", 1)
    (inbox / "one").write_bytes(MESSAGE % 1)
    assert taken(folder(inbox), accept) == [DONE]
    (inbox / "one").write_bytes(MESSAGE % 1)
    with pytest.raises(FileExistsError, match="too many files of one name"):
        taken(folder(inbox), accept)


def test_answers_are_for_their_owners_eyes(inbox) -> None:
    (inbox / "one").write_bytes(MESSAGE % 1)
    taken(folder(inbox), accept)
    assert (inbox / "done/one.ack").stat().st_mode & 0o077 == 0


def test_a_folder_is_watched_by_one(bare, inbox) -> None:
    with watched(inbox):
        with pytest.raises(FolderTaken), watched(inbox):
            pass
        result = bare.run("watch", str(inbox), "--port", "1", "--once")
    assert result.exit_code == 1
    assert "another process watches this folder" in result.stderr
    with watched(inbox):
        pass


def test_a_folder_that_is_not_there_is_misuse(bare, inbox) -> None:
    result = bare.run("watch", str(inbox / "none"), "--port", "1")
    assert result.exit_code == 2
    assert "no such folder" in result.stderr


def test_where_nobody_listens_the_files_stay(bare, inbox, monkeypatch) -> None:
    monkeypatch.setattr(command, "PATIENCE", client.Patience(connect=1, without_progress=0.0))
    (inbox / "one").write_bytes(MESSAGE % 1)
    result = bare.run("watch", str(inbox), "--port", "1", "--once", "--quiet-seconds", "0")
    assert result.exit_code == 1
    assert "waits: messages 1" in result.stderr
    assert names(inbox) == {"one"}


def test_a_signal_ends_it(bare, inbox) -> None:
    before = signal.getsignal(signal.SIGTERM)
    (inbox / "one").write_bytes(MESSAGE % 1)

    def answer(message: bytes) -> bytes:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return reply(message, b"AA")

    with answering(answer) as port:
        result = bare.run("watch", str(inbox), "--port", str(port), "--quiet-seconds", "0")
    assert result.exit_code == 0
    assert "done 1" in result.stdout
    assert signal.getsignal(signal.SIGTERM) == before
