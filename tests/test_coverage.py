"""The page that says where the seed documents stand here names only what is there."""

import re
from pathlib import Path

import pytest

from schemas import commands, events
from tests.sinks.provisioned import store

__all__ = ["store"]
pytestmark = pytest.mark.stack

PAGE = Path(__file__).parent.parent / "docs/coverage.md"
NAME = re.compile(r"`([^`]+)`")
# Of each kind, all that there is: as the page names it.
CATALOGUE = {
    "table": """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')""",
    "view": """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')""",
    "column": """
        SELECT table_name || '.' || column_name FROM information_schema.columns
        WHERE table_schema = 'public'""",
    "constraint": """
        SELECT conrelid::regclass || '.' || conname FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace""",
    "index": "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'",
    "type": """
        SELECT typname FROM pg_type
        WHERE typnamespace = 'public'::regnamespace AND typtype = 'e'""",
    "value": """
        SELECT typname || '.' || enumlabel FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid""",
    "function": "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "policy": "SELECT tablename || '.' || policyname FROM pg_policies WHERE schemaname = 'public'",
}
# The document's tables that are not built yet.
LATER = {"audit_logs", "attachment_read_models"}


def lines(page):
    """Each line of the page's tables: theirs, kind, names, how."""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4 and cells[0] != "theirs" and "---" not in line:
            yield cells[0], cells[1], NAME.findall(cells[2]), cells[3]


@pytest.fixture
def there(store):
    found = {
        kind: {next(iter(row.values())) for row in store.rows(query)}
        for kind, query in CATALOGUE.items()
    }
    types = {declared.stream_type for declared in events.TYPES.values()}
    found["reference"] = {
        f"{declared.name}.{field}"
        for declared in commands.TYPES.values()
        for field, stream_type in declared.references.items()
        if stream_type in types
    }
    return found


def missing(page, there):
    return [
        (kind, name)
        for _, kind, names, _ in lines(page)
        for name in names
        if name not in there.get(kind, ())
    ]


def test_every_name_on_the_page_is_in_the_catalogue(there):
    page = PAGE.read_text("utf-8")
    named = [name for _, _, names, _ in lines(page) for name in names]
    assert len(named) > 150
    assert missing(page, there) == []


@pytest.mark.parametrize(
    "line",
    [
        "| a | table | `no_such_table` | |",
        "| a | column | `tasks.no_such_column` | |",
        "| a | constraint | `tasks.ck_none` | |",
        "| a | index | `idx_none` | |",
        "| a | view | `tasks` | |",
        "| a | function | `none` | |",
        "| a | type | `none` | |",
        "| a | value | `task_status.none` | |",
        "| a | policy | `tasks.none` | |",
        "| a | reference | `task.create.title` | |",
        "| a | nonsense | `tasks` | |",
        "| a | | `tasks` | |",
    ],
)
def test_a_name_that_is_not_there_is_found(there, line):
    assert len(missing(line, there)) == 1


def test_a_line_without_a_name_says_why_there_is_none():
    for theirs, _, names, how in lines(PAGE.read_text("utf-8")):
        assert names or how, theirs


def test_every_table_of_the_documents_is_on_the_page_and_there_or_said_to_come(there):
    page = {name for theirs, *_ in lines(PAGE.read_text("utf-8")) for name in NAME.findall(theirs)}
    tables = {
        "users", "departments", "shifts", "patients", "tasks", "emr_verifications", "handovers",
        "audit_logs", "events", "snapshots", "subscriptions", "tenants", "patient_read_models",
        "admission_read_models", "flightplan_read_models", "timeline_events",
        "trajectory_points", "attachment_read_models",
    }  # fmt: skip
    assert tables <= page
    assert tables - LATER <= there["table"] | there["view"]
    assert not LATER & there["table"], "built by now: tell where it is"
