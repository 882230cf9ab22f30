"""Who opens a patient's data by a command stands in a file before anything is opened."""

import json
import os
import pwd
import resource
import stat
import threading
from uuid import UUID

import pytest

from ops import openings
from ops.settings import Settings

TENANT = UUID(int=1)


def lines(settings):
    return [json.loads(each) for each in file(settings).read_text().splitlines()]


def file(settings):
    return settings.home / "logs" / openings.FILE


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


def test_each_opening_is_a_line_with_who_what_whose_and_why_for_its_owners_eyes(settings):
    openings.note(settings, what="find", tenant_id=TENANT, why="a call of ward 3")
    openings.note(settings, what="export trajectory", tenant_id=TENANT, why=None)
    first, second = lines(settings)
    assert first["by"]
    assert (first["what"], first["tenant_id"], first["why"]) == (
        "find", str(TENANT), "a call of ward 3",
    )  # fmt: skip
    assert (second["what"], second["why"]) == ("export trajectory", None)
    assert first["at"] <= second["at"]
    assert stat.S_IMODE(file(settings).stat().st_mode) == 0o600


@pytest.mark.parametrize(("size", "kept"), [(200, 200), (201, 200)])
def test_a_reason_is_bounded_and_one_line(settings, size, kept):
    openings.note(settings, what="find", tenant_id=TENANT, why="x\n" + "y" * (size - 2))
    [line] = lines(settings)
    assert len(line["why"]) == kept


def test_lines_of_many_at_once_are_whole(settings):
    threads = [
        threading.Thread(
            target=lambda: [
                openings.note(settings, what="find", tenant_id=TENANT, why="y" * 200)
                for _ in range(50)
            ]
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(settings)) == 200


def test_a_line_that_is_not_written_whole_raises(settings):
    openings.note(settings, what="find", tenant_id=TENANT, why=None)
    whole = file(settings).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole + 10, hard))
    try:
        with pytest.raises(OSError, match=openings.FILE):
            openings.note(settings, what="find", tenant_id=TENANT, why=None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file(settings).stat().st_size == whole + 10, "as where a disk is full"


def test_who_opens_is_the_account_and_not_what_the_environment_says(settings, monkeypatch):
    monkeypatch.setenv("LOGNAME", "somebody-else")
    openings.note(settings, what="find", tenant_id=TENANT, why=None)
    assert lines(settings)[0]["by"] == pwd.getpwuid(os.getuid()).pw_name


def test_an_account_without_a_name_is_told_by_its_number(settings, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    openings.note(settings, what="find", tenant_id=TENANT, why=None)
    assert lines(settings)[0]["by"] == "uid 4000000001"


def test_where_it_can_not_be_written_it_raises(settings):
    settings.home.mkdir(parents=True)
    (settings.home / "logs").write_text("")
    with pytest.raises(OSError, match="logs"):
        openings.note(settings, what="find", tenant_id=TENANT, why=None)
