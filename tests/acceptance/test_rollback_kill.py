"""A rollback that is killed at any point is carried on with by the next one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import automigrate
from automigrate import Migrator
from automigrate.testing.faults import Point
from tests.support.projects import Project

if TYPE_CHECKING:
    from tests.support.servers import Database

pytestmark = pytest.mark.fault

_ROOT = Path(__file__).parents[2]
_VICTIM = """\
import sys
from automigrate import Migrator
from automigrate.testing import faults

url, scripts, point, revision = sys.argv[1:]
action = faults.once(faults.Point(point), faults.kill, revision=revision or None)
with faults.injected(action):
    Migrator(url, scripts).downgrade()
"""
POINTS = [
    (Point.CONNECTED, ""),
    (Point.LOOKED, ""),
    *(
        (point, revision)
        for revision in ("r2", "r3", "r4")
        for point in (Point.REVISION_BEGUN, Point.SCRIPT_RUN, Point.VERSION_UPDATED)
    ),
    (Point.IN_AUTOCOMMIT, "r3"),
    (Point.AUTOCOMMIT_LEFT, "r3"),
    (Point.COMMITTED, "r4"),
    (Point.COMMITTED, "r3"),
    (Point.COMMITTED, "r2"),
    (Point.RELEASED, ""),
    (Point.CLOSED, ""),
]


@pytest.fixture
def releases(tmp_path: Path, database: Database) -> tuple[Project, Project, str]:
    """An old and a new release, the database at the new one, and the schema of the old one."""
    old = Project.linear(tmp_path / "old", 1)
    automigrate.upgrade(database.url, old.scripts)
    schema = database.dump_schema()
    new = old.copy(tmp_path / "new")
    new.add(
        "r2",
        upgrade='op.add_column("t_r0001", sa.Column("note", sa.Text))',
        downgrade='op.drop_column("t_r0001", "note")',
    )
    new.add(
        "r3",
        upgrade="""
            with op.get_context().autocommit_block():
                op.create_index("by_note", "t_r0001", ["note"], postgresql_concurrently=True)
        """,
        downgrade="""
            with op.get_context().autocommit_block():
                op.drop_index("by_note", "t_r0001", postgresql_concurrently=True)
        """,
    )
    new.add("r4", upgrade='op.create_table("later")', downgrade='op.drop_table("later")')
    automigrate.upgrade(database.url, new.scripts)
    return old, new, schema


@pytest.mark.parametrize(
    ("point", "revision"), POINTS, ids=[f"{point} {name}".strip() for point, name in POINTS]
)
def test_a_killed_rollback_is_finished_by_the_next(
    point: Point, revision: str, releases: tuple[Project, Project, str], database: Database
) -> None:
    """After kill -9 at any point, the same command brings the schema of the old release back."""
    old, _, schema = releases
    victim = subprocess.run(
        [sys.executable, "-c", _VICTIM, database.url, old.scripts, point.value, revision],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    Migrator(database.url, old.scripts).downgrade()
    assert database.rows("select version_num from alembic_version") == [("r0001",)]
    assert database.dump_schema() == schema
    applied = "select revision from automigrate_journal where state = 'applied' and direction = %s"
    assert database.rows(applied, ("upgrade",)) == [("r0001",)]
    undone = {name for (name,) in database.rows(applied, ("downgrade",))}
    assert undone == {"r2", "r3", "r4"}
    assert database.rows("select 1 from automigrate_journal where state = 'running'") == []


def test_the_new_release_goes_on_after_a_killed_rollback(
    releases: tuple[Project, Project, str], database: Database
) -> None:
    """Where the rollback was killed between two revisions, an upgrade applies what was undone."""
    old, new, _ = releases
    schema = database.dump_schema()
    victim = subprocess.run(
        [sys.executable, "-c", _VICTIM, database.url, old.scripts, Point.COMMITTED.value, "r3"],
        cwd=_ROOT,
        check=False,
        capture_output=True,
    )
    assert victim.returncode == -signal.SIGKILL
    report = automigrate.upgrade(database.url, new.scripts)
    assert [item.revision for item in report.applied] == ["r3", "r4"]
    assert database.dump_schema() == schema
