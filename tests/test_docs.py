"""What the documents show is run."""

import re
from pathlib import Path

import pytest
import sqlalchemy
from sqlalchemy import BigInteger, Column, Integer, MetaData, SmallInteger, Table, Uuid

from sinks.changes import Put
from sinks.projection import Load, Projection
from tests.streams.trajectory.visits import adt, arrive

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]


def test_the_projection_of_the_guide_folds():
    guide = (ROOT / "docs/adding-a-projection.md").read_text("utf-8")
    table, fold = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    names = {
        "Table": Table, "Column": Column, "Uuid": Uuid, "Integer": Integer, "Put": Put,
        "SmallInteger": SmallInteger, "BigInteger": BigInteger, "metadata": MetaData(),
        "Load": Load, "Projection": Projection, "sqlalchemy": sqlalchemy,
    }  # fmt: skip
    exec(table + fold, names)
    events = arrive([adt("A02", "10:00", "W2^R^2"), adt("A02", "11:00", "W3^R^3")])
    (change,) = names["PROJECTION"].fold(events, {"moves": [{"moves": 3}]})
    assert change.row["moves"] == 5


def test_every_link_between_documents_leads_somewhere():
    for document in documents():
        for target in LINK.findall(document.read_text("utf-8")):
            if not target.startswith(("http://", "https://")):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "docs/security.md", "docs/feeds.md"])
def test_every_test_that_a_document_names_is_there(document: str):
    named = set(re.findall(r"`(test_\w+)`", (ROOT / document).read_text("utf-8")))
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"def (test_\w+)\(", path.read_text("utf-8")))
    assert named
    assert named <= there, named - there


def test_everything_that_feeds_are_known_to_send_has_a_test_by_its_number():
    text = (ROOT / "docs/feeds.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \|(.+)$", text, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 25))
    for number, said in rows:
        assert f"`test_f{int(number):02}_" in said, number


def test_every_danger_of_the_threat_model_says_what_stops_it_and_what_shows_that():
    text = (ROOT / "docs/security.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| (?!tries )\w", line)]
    assert len(rows) > 40
    shown = re.compile("`test_|installer")
    assert [row for row in rows if row.count("|") != 4 or not shown.search(row)] == []
