"""Nothing pending costs one connection and one query, and imports nothing that is not needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import automigrate
from automigrate import Outcome, Verdict

if TYPE_CHECKING:
    from tests.support.projects import Project
    from tests.support.servers import Database

ROOT = Path(__file__).parents[2]
HEAVY = ("alembic", "sqlalchemy", "structlog", "tenacity", "click", "rich", "mako")

IMPORTED = """
import json, sys
import automigrate
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""
NOTHING_PENDING = """
import json, sys
import automigrate
report = automigrate.upgrade(sys.argv[1], sys.argv[2])
assert report.outcome == "unchanged", report
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def modules_after(program: str, *arguments: str) -> set[str]:
    """Return the top-level modules that a program had imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    loaded: list[str] = json.loads(done.stdout)
    return set(loaded)


def test_importing_automigrate_imports_no_heavy_library() -> None:
    """`import automigrate` loads neither Alembic nor SQLAlchemy, nor psycopg."""
    assert modules_after(IMPORTED).isdisjoint({*HEAVY, "psycopg"})


@pytest.mark.parametrize("revisions", [1, 40])
def test_nothing_pending_imports_no_heavy_library(
    revisions: int, database: Database, project: Project
) -> None:
    """A start with nothing pending loads psycopg and the reader, and not Alembic."""
    project.extend(revisions)
    automigrate.upgrade(database.url, project.scripts)
    loaded = modules_after(NOTHING_PENDING, database.url, str(project.scripts))
    assert loaded.isdisjoint(HEAVY)


def test_nothing_pending_is_one_connection_and_one_statement(
    database: Database, project: Project
) -> None:
    """The server's log shows a single session with a single statement, which takes no lock."""
    project.extend(3)
    automigrate.upgrade(database.url, project.scripts)
    before = len(database.statements())
    report = automigrate.upgrade(database.url, project.scripts)
    told = database.statements()[before:]
    assert report.outcome is Outcome.UNCHANGED
    assert report.verdict is Verdict.CURRENT
    assert report.attempts == 1
    assert len(told) == 1
    assert "lock" not in told[0].text
    assert told[0].text.lstrip().lower().startswith("select")
    assert told[0].application_name.startswith("automigrate")


def test_nothing_pending_takes_no_lock_and_waits_for_none(
    database: Database, project: Project
) -> None:
    """A start with nothing pending goes by a session that holds the migration lock."""
    from automigrate.database.advisory_lock import lock_key

    project.extend(2)
    automigrate.upgrade(database.url, project.scripts)
    with database.connect() as holder:
        holder.execute("select pg_advisory_lock(%s)", (lock_key("public", "alembic_version"),))
        report = automigrate.upgrade(database.url, project.scripts, timeout=1.0)
    assert report.outcome is Outcome.UNCHANGED
    assert report.waited_seconds == 0.0


def test_nothing_pending_opens_no_transaction_block(database: Database, project: Project) -> None:
    """A start with nothing pending can be done on a standby: it writes nothing."""
    project.extend(2)
    automigrate.upgrade(database.url, project.scripts)
    database.execute(f"alter database {database.name} set default_transaction_read_only = on")
    report = automigrate.upgrade(database.url, project.scripts)
    assert report.outcome is Outcome.UNCHANGED


def test_mode_off_does_not_connect(project: Project) -> None:
    """With mode `off` neither server nor scripts are looked at."""
    report = automigrate.upgrade("postgresql://127.0.0.1:9/nowhere", "nowhere", mode="off")
    assert report.outcome is Outcome.SKIPPED


def test_events_of_an_unchanged_run(database: Database, project: Project) -> None:
    """A run with nothing to do tells its phases and its end, and nothing of a lock."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    events: list[Any] = []
    automigrate.upgrade(database.url, project.scripts, on_event=events.append)
    assert [type(event).__name__ for event in events] == [
        "PhaseEntered",
        "PhaseEntered",
        "PhaseEntered",
        "RunFinished",
    ]
    assert [event.phase for event in events[:3]] == ["starting", "connecting", "ready"]
