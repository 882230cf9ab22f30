"""The largest messages on a whole line: from the socket by broker and ledger to their rows."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ops.settings import Settings
from tests.line.conftest import Line

pytestmark = pytest.mark.alone

RESULTS = 2_000  # beside the document
LARGEST = 1_270_000  # bytes; the largest message seen in public files


def oru(control_id: str, size: int) -> bytes:
    """A report of so many bytes: a document in base64, and results behind it."""
    number = control_id.lower()
    head = (
        f"MSH|^~\\&|LAB|NORTH|||20260302100000||ORU^R01^ORU_R01|{control_id}|P|2.5.1\r"
        f"PID|1||M-{number}^^^ZONE^MR||Zyqorv^Large\r"
        f"OBR|1||{number}^LAB|24331-1^Panel^LN|||20260302095500\r"
        "OBX|1|ED|18842-5^Report^LN||^application^pdf^Base64^"
    )
    rest = "||||||F\r" + "".join(
        f"OBX|{each}|NM|{each}-1^Measured^L|{each}|{each}.5|mmol/L|||||F|||20260302095500\r"
        for each in range(2, RESULTS + 2)
    )
    room = size - len(head) - len(rest)
    document = b64encode(b"%PDF-1.7 zyqorv" * (room // 15)).decode()[: room // 4 * 4]
    return (head + document.ljust(room, "=") + rest).encode()


def asked(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    """What the database holds, past every policy."""
    assert settings.postgres is not None
    url = settings.postgres.superuser_url(settings.postgres.database)
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def test_the_largest_messages_go_from_the_socket_to_their_rows(line: Line, tmp_path: Path) -> None:
    messages = {"L-SEEN": LARGEST, "L-FRAME": line.settings.mllp_frame_bytes}
    for control_id, size in messages.items():
        body = oru(control_id, size)
        assert len(body) == size
        path = tmp_path / f"{control_id}.hl7"
        path.write_bytes(body)
        assert line.json("send", str(path))["answers"]["AA"] == 1
    settled = line.settle()
    assert settled["ledger"]["applied"] == len(messages)
    assert settled["verification"]["dead"] == settled["timeline"]["dead"] == 0
    rows = asked(line.settings, "SELECT outcome, events, octet_length(body_sealed) FROM messages")
    assert sorted(outcome for outcome, *_ in rows) == ["applied"] * len(messages)
    by_size = sorted(rows, key=lambda row: row[2])
    for (_, events, sealed), size in zip(by_size, messages.values(), strict=True):
        assert events == RESULTS + 2, "the patient, the document's result, and each other one"
        assert sealed > size
    [[kept]] = asked(line.settings, "SELECT count(*) FROM events WHERE event_type LIKE 'evid%'")
    assert kept == len(messages) * (RESULTS + 1)
    for control_id, size in messages.items():
        [found] = line.json("trace", "-", stdin=control_id)["messages"]
        assert found["body"]["size"] == size
        assert {each["state"] for event in found["events"] for each in event["readers"]} <= {
            "applied", "published"
        }  # fmt: skip


def test_one_byte_more_than_a_frame_may_have_is_refused(line: Line, tmp_path: Path) -> None:
    path = tmp_path / "more.hl7"
    path.write_bytes(oru("L-MORE", line.settings.mllp_frame_bytes + 1))
    assert line.json("send", str(path))["answers"]["AR"] == 1
    assert line.run("trace", "-", stdin="L-MORE", check=False).returncode == 1, "nowhere"
