"""What a start with nothing pending costs a process: modules, memory, connections."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import automigrate
from automigrate.scripts import files, lockfile
from automigrate.scripts.location import locate
from automigrate.scripts.reader import read

if TYPE_CHECKING:
    import pytest

    from tests.support.projects import Project
    from tests.support.servers import Database

ROOT = Path(__file__).parents[2]
LIBRARIES = {
    "alembic",
    "click",
    "mako",
    "psycopg",
    "psycopg_binary",
    "rich",
    "sqlalchemy",
    "structlog",
    "tenacity",
}
MEGABYTE = 1024

MEMORY = """
import json, sys, sqlalchemy.orm, sqlalchemy.dialects.postgresql.psycopg, psycopg
with psycopg.connect(sys.argv[1]) as connection:
    connection.execute("select 1")
def resident():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
before = resident()
import automigrate
report = automigrate.upgrade(sys.argv[1], sys.argv[2])
print(json.dumps({"outcome": report.outcome, "grown": resident() - before}))
"""


def test_the_command_line_imports_no_library(database: Database, project: Project) -> None:
    """`automigrate upgrade` with nothing pending loads libpq, and not even psycopg."""
    project.extend(3)
    automigrate.upgrade(database.url, project.scripts)
    command = [sys.executable, "-X", "importtime", "-m", "automigrate", "upgrade"]
    done = subprocess.run(
        [*command, "--database-url", database.url, "--script-location", str(project.scripts)],
        capture_output=True,
        text=True,
        check=True,
        cwd=project.directory.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "automigrate.database.libpq" in imported
    assert {name.partition(".")[0] for name in imported}.isdisjoint(LIBRARIES)
    assert "nothing pending" in done.stdout


def test_without_libpq_psycopg_finds_the_same(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """Where libpq cannot be loaded directly, the command line says the same through psycopg."""
    project.extend(2)
    automigrate.upgrade(database.url, project.scripts)
    (tmp_path / "sitecustomize.py").write_text(
        "import automigrate.database.libpq as libpq\nlibpq.load = lambda: None\n"
    )
    command = [sys.executable, "-m", "automigrate", "upgrade"]
    done = subprocess.run(
        [*command, "--database-url", database.url, "--script-location", str(project.scripts)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
    )
    assert "nothing pending" in done.stdout


def test_memory_of_a_start_with_nothing_pending(database: Database, project: Project) -> None:
    """An application grows by less than 15 MB."""
    project.extend(30)
    automigrate.upgrade(database.url, project.scripts)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, database.url, str(project.scripts)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    found = json.loads(done.stdout)
    assert found["outcome"] == "unchanged"
    assert found["grown"] < 15 * MEGABYTE


def test_with_a_lock_file_no_other_script_than_the_head_is_opened(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cost of a start does not grow with what the scripts say."""
    names = project.extend(150)
    location = locate(project.scripts)
    lockfile.write(location, read(location))
    automigrate.upgrade(database.url, project.scripts)
    for name in names[:-1]:
        project.revisions[name].chmod(0)
    opened: list[str] = []

    def content(path: str) -> bytes:
        opened.append(path)
        return files.content(path)

    monkeypatch.setattr(lockfile, "content", content)
    report = automigrate.upgrade(database.url, project.scripts)
    assert report.outcome is automigrate.Outcome.UNCHANGED
    assert [Path(path).name for path in opened] == [project.revisions[names[-1]].name]
