"""`automigrate check`: green for a sound project, red for each kind of fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
import sqlalchemy as sa

from automigrate.workflow.gate import CHECKS, Gate
from tests.support.workflow import Workbench, benches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.embedded import EmbeddedServer
    from automigrate.workflow.formats import Check
    from tests.support.servers import Database

ROOT = Path(__file__).parents[2]
CREATE = 'op.execute("create table t (a integer)")'
DROP = 'op.execute("drop table t")'


@pytest.fixture
def bench(tmp_path: Path, server: EmbeddedServer) -> Iterator[Workbench]:
    """An empty project."""
    yield from benches(tmp_path, server)


def gate(bench: Workbench, *names: str, **more: Any) -> dict[str, Check]:
    """Ask the questions; return the answers by name."""
    found = Gate(scripts=str(bench.directory), scratch=bench.scratch, **more)
    return {check.name: check for check in found.run(names or tuple(CHECKS))}


def rules(check: Check) -> list[str]:
    """Return what was found."""
    return [finding.rule for finding in check.findings]


def edit(bench: Workbench, old: str, new: str) -> None:
    """Change the newest script."""
    file = max(bench.directory.glob("versions/*.py"), key=lambda path: path.stat().st_mtime)
    file.write_text(file.read_text().replace(old, new))


def test_a_sound_project_passes(bench: Workbench) -> None:
    """Nothing fails, and nothing is even remarked."""
    bench.add(CREATE, DROP)
    bench.add('op.execute("alter table t add column b text")', 'op.execute("alter table t drop b")')
    models = sa.MetaData()
    sa.Table("t", models, sa.Column("a", sa.Integer), sa.Column("b", sa.Text))
    answers = gate(bench, models=lambda _: (models,))
    assert [name for name, check in answers.items() if check.failed] == []
    assert [name for name, check in answers.items() if check.skipped] == ["applied"]
    assert rules(answers["round-trip"]) == []


def test_a_missing_link_is_found(bench: Workbench) -> None:
    """A broken history fails, and what builds on it is skipped, not passed."""
    head = bench.add(CREATE, DROP)
    bench.add("pass")
    edit(bench, f"= '{head}'", "= 'gone'")
    answers = gate(bench)
    assert rules(answers["history"]) == ["broken-history"]
    assert answers["round-trip"].skipped == "the history is broken"


def test_two_heads_are_found(bench: Workbench) -> None:
    """Each head is named with its file."""
    bench.add(CREATE, DROP)
    bench.add("pass", head="base", splice=True)
    found = gate(bench, "heads")["heads"].findings
    assert len(found) == 2
    assert all(finding.file and finding.rule == "multiple-heads" for finding in found)


def test_an_edited_script_is_found(bench: Workbench) -> None:
    """The lock file knows what it was; a changed comment is no edit."""
    bench.add(CREATE, DROP)
    edit(bench, "a integer", "a bigint")
    answer = gate(bench, "lock")["lock"]
    assert answer.failed
    assert "was edited" in answer.findings[0].message


def test_a_script_that_the_lock_lacks_is_found(bench: Workbench) -> None:
    """Whoever adds a revision without `automigrate` forgets the lock."""
    bench.add(CREATE, DROP)
    (bench.directory / "versions" / "x.py").write_text(
        f"revision = 'x'\ndown_revision = {bench.project.graph.heads[0]!r}\ndef upgrade(): pass\n"
    )
    assert "x.py is not in the lock" in gate(bench, "lock")["lock"].findings[0].message


def test_conflict_markers_in_the_lock_are_found(bench: Workbench) -> None:
    """Two branches have each added a revision."""
    lock = bench.directory / "automigrate.lock"
    lock.write_text("<<<<<<< ours\n" + lock.read_text())
    assert "conflict markers" in gate(bench, "lock")["lock"].findings[0].message


def test_a_missing_downgrade_is_found(bench: Workbench) -> None:
    """The line is that of the function."""
    bench.add(CREATE)
    (finding,) = gate(bench, "downgrades")["downgrades"].findings
    assert finding.file is not None
    assert "def downgrade" in Path(finding.file).read_text().splitlines()[finding.line - 1]


@pytest.mark.parametrize(
    "downgrade", ["raise NotImplementedError", "# nothing to undo: it is data\n    pass"]
)
def test_what_says_so_needs_no_downgrade(bench: Workbench, downgrade: str) -> None:
    """An irreversible revision passes, here and on its round trip."""
    bench.add(CREATE, downgrade)
    answers = gate(bench, "downgrades", "round-trip")
    assert not answers["downgrades"].failed
    assert answers["round-trip"].failed is ("nothing to undo" in downgrade)


def test_a_failing_upgrade_is_found(bench: Workbench) -> None:
    """The revision is named with PostgreSQL's words; what needs it is skipped."""
    bench.add('op.execute("create table t (a no_such_type)")', DROP)
    answers = gate(bench)
    assert "no_such_type" in answers["round-trip"].findings[0].message
    assert answers["models"].skipped == "the revisions do not run"


def test_a_failing_downgrade_is_found(bench: Workbench) -> None:
    """It is told apart from the upgrade."""
    bench.add(CREATE, 'op.execute("drop table other")')
    assert rules(gate(bench, "round-trip")["round-trip"]) == ["downgrade-fails"]


def test_a_downgrade_that_leaves_something_fails_the_second_upgrade(bench: Workbench) -> None:
    """The classic: an enum type that stays, and cannot be created again."""
    bench.add("op.execute(\"create type mood as enum ('sad'); create table t (m mood)\")", DROP)
    assert (
        'type "mood" already exists' in gate(bench, "round-trip")["round-trip"].findings[0].message
    )


def test_a_downgrade_that_does_not_lead_back_is_a_warning(bench: Workbench) -> None:
    """The difference is shown."""
    bench.add('op.execute("create table if not exists t (a integer)")', "op.get_bind()")
    answer = gate(bench, "round-trip")["round-trip"]
    assert rules(answer) == ["leftover"]
    assert not answer.failed
    assert "+ column public.t.a integer" in answer.findings[0].message


def test_models_that_differ_are_found(bench: Workbench) -> None:
    """What is missing is named."""
    bench.add(CREATE, DROP)
    models = sa.MetaData()
    sa.Table("t", models, sa.Column("a", sa.Integer), sa.Column("b", sa.Text))
    answer = gate(bench, "models", models=lambda _: (models,))["models"]
    assert answer.failed
    assert "add column t.b TEXT" in answer.findings[0].message


def test_locks_are_warned_of(bench: Workbench) -> None:
    """Without a database nobody knows how large the tables are."""
    bench.add(CREATE, DROP)
    bench.add(
        'op.execute("alter table t alter a type bigint")',
        'op.execute("alter table t alter a type int")',
    )
    answer = gate(bench, "lint")["lint"]
    assert "table-rewrite" in rules(answer)
    assert not answer.failed


def run(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    foreign = ("AUTOMIGRATE_", "DATABASE_URL", "PG", "CI")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return subprocess.run(
        [sys.executable, "-m", "automigrate", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **more},
        stdin=subprocess.DEVNULL,
        timeout=100.0,
    )


def test_the_whole_gate_runs_where_no_server_is_named(bench: Workbench, tmp_path: Path) -> None:
    """It starts a PostgreSQL of its own, from the wheel, and leaves none behind."""
    bench.add(CREATE, DROP)
    (tmp_path / "shop.py").write_text(
        "import sqlalchemy as sa\n"
        "models = sa.MetaData()\n"
        "sa.Table('t', models, sa.Column('a', sa.Integer), sa.Column('b', sa.Text))\n"
    )
    arguments = ("check", "--script-location", str(bench.directory), "--models", "shop:models")
    done = run(*arguments, "--json", cwd=tmp_path, PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.returncode == 3, done.stderr
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert "add column t.b TEXT" in checks["models"]["findings"][0]["message"]
    ran = {"history", "heads", "lock", "downgrades", "round-trip", "lint"}
    assert {name for name in ran if checks[name]["skipped"] or checks[name]["failed"]} == set()


def test_the_command_needs_no_database_and_ends_with_3_on_a_fault(
    bench: Workbench, tmp_path: Path
) -> None:
    """No server runs, and none is started; all formats tell of the same fault."""
    bench.add(CREATE)
    skipped = ("--skip", "round-trip", "--skip", "models", "--skip", "lint")
    arguments = ("check", "--script-location", str(bench.directory), *skipped)
    text = run(*arguments, cwd=tmp_path)
    assert text.returncode == 3, text.stderr
    assert "[no-downgrade]" in text.stdout
    told = json.loads(run(*arguments, "--json", cwd=tmp_path).stdout)
    assert (told["ok"], told["checks"][4]["findings"][0]["rule"]) == (False, "no-downgrade")
    github = run(*arguments, "--format", "github", cwd=tmp_path).stdout
    assert github.startswith("::error file=migrations/versions/")
    sarif = json.loads(run(*arguments, "--format", "sarif", cwd=tmp_path).stdout)
    (result,) = sarif["runs"][0]["results"]
    place = result["locations"][0]["physicalLocation"]
    assert (sarif["version"], result["ruleId"]) == ("2.1.0", "no-downgrade")
    assert place["artifactLocation"]["uri"].startswith("migrations/versions/")
    junit = ET.fromstring(
        run(*arguments, "--format", "junit", cwd=tmp_path).stdout.partition("\n")[2]
    )
    assert (junit.get("tests"), junit.get("failures")) == ("5", "1")


def test_a_green_gate_ends_with_0(bench: Workbench, database: Database, tmp_path: Path) -> None:
    """With the database it also asks for edits of applied scripts, and a report goes to a file."""
    bench.add(CREATE, DROP)
    bench.upgrade(database)
    arguments = ("check", "--gate", "--database-url", database.url, "--scratch", "server")
    place = ("--script-location", str(bench.directory), "--skip", "models")
    report = tmp_path / "report.sarif"
    green = run(*arguments, *place, "--format", "sarif", "--output", str(report), cwd=tmp_path)
    assert green.returncode == 0, green.stdout + green.stderr
    assert json.loads(report.read_text())["version"] == "2.1.0"
    edit(bench, "a integer", "a bigint")
    red = run(*arguments, *place, "--only", "applied", cwd=tmp_path)
    assert red.returncode == 3
    assert "[edited-script]" in red.stdout
