"""What the documents show is run."""

import re
from pathlib import Path

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


def test_every_test_that_the_architecture_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "ARCHITECTURE.md").read_text("utf-8")))
    there = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        there |= set(re.findall(r"def (test_\w+)\(", path.read_text("utf-8")))
    assert named
    assert named <= there, named - there
