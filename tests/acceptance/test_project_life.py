"""A project's life from `init` on, as a developer walks it, by the command line."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from automigrate.cli.group import COMMANDS
from tests.support.desk import ROOT, Desk
from tests.support.projects import Project
from tests.support.terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import Database


@pytest.fixture
def desk(tmp_path: Path, database: Database) -> Desk:
    """A project after `init`, without models."""
    directory = tmp_path / "shop"
    directory.mkdir()
    made = Desk(directory, database)
    made.run("init", "--models", "shop:Base")
    return made


def test_init_makes_scripts_lock_and_section(desk: Desk) -> None:
    """Everything that a project needs, and no env.py."""
    made = {str(path.relative_to(desk.directory)) for path in desk.directory.rglob("*")}
    assert {"migrations/versions", "migrations/automigrate.lock", "pyproject.toml"} <= made
    assert "migrations/env.py" not in made
    section = (desk.directory / "pyproject.toml").read_text()
    assert 'script-location = "migrations"' in section
    assert 'models = "shop:Base"' in section


def test_init_says_what_works_next(tmp_path: Path, database: Database) -> None:
    """Without models the next command has to name them."""
    for name, models, next_one in (
        ("with", ("--models", "shop:Base"), ""),
        ("without", (), " --models package.module:Base"),
    ):
        (tmp_path / name).mkdir()
        desk = Desk(tmp_path / name, database)
        told = desk.run("init", *models)
        assert told.endswith(f'next: automigrate generate -m "first tables"{next_one}\n')
        assert "write the first one: `automigrate generate`" in desk.run("upgrade", code=3)


def test_init_names_the_models_also_afterwards(tmp_path: Path, database: Database) -> None:
    """In a section that names none; one that names others is left, and that is told."""
    desk = Desk(tmp_path, database)
    pyproject = tmp_path / "pyproject.toml"
    assert "or make one with `automigrate init`" in desk.run("status", code=2)
    desk.run("init")
    pyproject.write_bytes(b"[project]\r\nname = 'x'\r\n" + pyproject.read_bytes())
    told = desk.run("init", "--models", "shop:Base")
    assert "wrote pyproject.toml" in told
    assert told.endswith('next: automigrate generate -m "first tables"\n')
    assert pyproject.read_bytes() == (
        b"[project]\r\nname = 'x'\r\n"
        b'[tool.automigrate]\nmodels = "shop:Base"\nscript-location = "migrations"\n'
    )
    before = pyproject.read_bytes()
    assert "warning" not in desk.run("init", "--models", "shop:Base")
    told = desk.run("init", "--models", "shop:Other")
    assert 'warning: pyproject.toml was left as it is: set models = "shop:Other" there' in told
    assert pyproject.read_bytes() == before


def test_init_inside_of_another_project_begins_one_of_its_own(desk: Desk) -> None:
    """Only where a directory is named; else the scripts of the other one would be taken for it."""
    inner = Desk(desk.directory / "inner", desk.database)
    inner.directory.mkdir()
    told = inner.run("init", code=2)
    assert str(desk.directory / "migrations") in told
    assert "automigrate init migrations" in told
    assert list(inner.directory.iterdir()) == []
    inner.run("init", "migrations")
    assert "wrote migrations/versions/one" in inner.run("new", "-m", "one", "--rev-id", "one")
    assert list(desk.directory.glob("migrations/versions/one*")) == []


def test_init_adopts_an_alembic_project(tmp_path: Path, database: Database) -> None:
    """Its files keep every byte; plain Alembic and automigrate work side by side."""
    project = Project.linear(tmp_path, 2)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'")
    files = [
        path for path in tmp_path.rglob("*") if path.is_file() and path.name != "pyproject.toml"
    ]
    before = {path: path.read_bytes() for path in files}
    desk = Desk(tmp_path, database)
    told = desk.run("init")
    assert "adopted migrations with 2 revisions" in told
    assert {path: path.read_bytes() for path in files} == before
    assert (tmp_path / "pyproject.toml").read_text().startswith("[project]\nname = 'x'\n\n[tool.")
    desk.run("upgrade")
    project.alembic("upgrade", "head", url=database.url)
    again = desk.run("init", "--json")
    assert json.loads(again)["written"] == []


def test_the_life_of_a_project(desk: Desk) -> None:
    """init, models, generate, upgrade, rename with data, generate, upgrade: the data is there."""
    desk.models("name: Mapped[str]")
    desk.run("generate", "-m", "first tables")
    desk.run("upgrade")
    desk.database.execute("insert into users (name) values ('Ada'), ('Grace')")

    desk.models("full_name: Mapped[str]")
    refused = desk.run("generate", "-m", "full names", code=2)
    assert "--rename users.name:users.full_name" in refused
    written = desk.run("generate", "-m", "full names", "--rename", "users.name:full_name")
    assert "rename column users.name to full_name" in written
    desk.run("upgrade")
    assert desk.database.rows("select full_name from users order by id") == [("Ada",), ("Grace",)]

    assert "nothing to write" in desk.run("generate", "-m", "nothing")
    assert "no difference" in desk.run("diff")
    assert desk.run("check", "--gate", "--scratch", "server").count("FAILED") == 0


def test_two_branches_conflict_in_git_and_are_merged(desk: Desk) -> None:
    """The lock file conflicts where the directory of scripts would not; `merge` settles both."""
    desk.models("name: Mapped[str]")
    desk.run("generate", "-m", "first")
    desk.git("init", "--initial-branch=main")
    desk.git("add", "-A")
    desk.git("commit", "-m", "first")
    for branch, column in (
        ("left", "age: Mapped[int | None]"),
        ("right", "mail: Mapped[str | None]"),
    ):
        desk.git("checkout", "-b", branch, "main")
        desk.models(f"name: Mapped[str]\n    {column}")
        desk.run("generate", "-m", branch)
        desk.git("add", "-A")
        desk.git("commit", "-m", branch)
    conflict = desk.git("merge", "left", code=None)
    assert "CONFLICT (content): Merge conflict in migrations/automigrate.lock" in conflict
    assert "conflict markers" in desk.run("upgrade", code=3)
    assert "stale-lock" in desk.run("check", "--gate", "--only", "lock", code=3)
    desk.models("name: Mapped[str]\n    age: Mapped[int | None]\n    mail: Mapped[str | None]")
    (desk.directory / "migrations" / "automigrate.lock").unlink()
    for command in ("generate", "new"):
        told = desk.run(command, "-m", "more", code=3)
        assert "2 heads" in told
        assert told.count("migrations/versions/") == 2
        assert "Merge them with `automigrate merge`" in told
        assert "target" not in told
    desk.git("checkout", "HEAD", "migrations/automigrate.lock")
    assert "joins" in desk.run("merge")
    assert desk.run("merge").startswith("automigrate: nothing to merge")
    desk.run("upgrade")
    assert "no difference" in desk.run("diff")
    assert desk.run("check", "--gate", "--only", "lock", "--only", "heads").count("ok ") == 3


def test_status_history_plan_and_show_tell_of_revisions(desk: Desk) -> None:
    """What is applied when, by whom; what is pending, its SQL and its locks."""
    desk.models("name: Mapped[str]")
    desk.run("generate", "-m", "first", "--rev-id", "one")
    desk.run("upgrade")
    desk.models("name: Mapped[str] = mapped_column(sa.String(10))")
    desk.run("generate", "-m", "short names", "--rev-id", "two", "--drop", "x", code=2)
    desk.run("generate", "-m", "short names", "--rev-id", "two")
    history = desk.run("history")
    assert history.splitlines()[0] == "o two (head) short names"
    assert "* one (base) first" in history
    (entry,) = [e for e in json.loads(desk.run("history", "--json")) if e["revision"] == "one"]
    assert entry["journal"][0]["state"] == "applied"
    plan = desk.run("plan")
    assert "ALTER TABLE users ALTER COLUMN name TYPE VARCHAR(10)" in plan
    assert "--   ACCESS EXCLUSIVE on users (0 rows" in plan
    assert "--   rewrites users" in plan
    shown = desk.run("show", "two", "--sql")
    assert "on one" in shown
    assert "rewrites users" in shown
    assert "def upgrade" in desk.run("show", "one")
    assert desk.run("diff", "--exit-code", code=6).startswith("alter column users.name")


def test_push_brings_a_development_database_to_the_models(desk: Desk) -> None:
    """The SQL is shown first; loss needs --force; a shared database is refused."""
    desk.models("name: Mapped[str]")
    assert "say --yes" in desk.run("push", code=2)
    assert "CREATE TABLE users" in desk.run("push", "--dry-run")
    assert desk.database.rows("select to_regclass('users')::text") == [(None,)]
    desk.run("push", "--yes")
    desk.database.execute("insert into users (name) values ('Ada')")
    desk.models("full_name: Mapped[str] = mapped_column(index=True)")
    desk.run("push", "--yes", "--rename", "users.name:full_name")
    assert desk.database.rows("select full_name from users") == [("Ada",)]
    assert "no difference" in desk.run("diff")
    desk.models("full_name: Mapped[str | None] = mapped_column(index=True)")
    assert desk.run("push", "--yes").endswith("automigrate: pushed 1 statement\n")
    desk.models("age: Mapped[int | None]")
    assert "drops column users.full_name" in desk.run("push", "--yes", code=2)
    desk.run("push", "--yes", "--force")
    assert "no difference" in desk.run("push")


def test_push_says_what_the_server_refuses(desk: Desk) -> None:
    """It is no question of the connection, and nothing has changed."""
    desk.models("name: Mapped[str]")
    desk.run("push", "--yes")
    desk.database.execute("insert into users (name) values ('Ada')")
    desk.models("name: Mapped[str]\n    age: Mapped[int]\n    mail: Mapped[str | None]")
    told = desk.run("push", "--yes", code=2)
    assert "refuses `ALTER TABLE users ADD COLUMN age INTEGER NOT NULL`: column" in told
    assert "Nothing was changed." in told
    assert "no usable connection" not in told
    assert "add column users.mail" in desk.run("diff")


def test_reset_rebuilds_and_seeds_a_database_of_ones_own(desk: Desk) -> None:
    """Everything goes, all revisions run, the given function fills it; extensions stay."""
    desk.models("name: Mapped[str]")
    desk.run("generate", "-m", "first")
    desk.run("upgrade")
    desk.database.execute(
        "create extension pg_trgm; create schema more; create type more.mood as enum ('sad');"
        "create table more.t (m more.mood); create view v as select 1 as one;"
        "create function f() returns integer language sql return 1;"
        "insert into users (name) values ('Ada')"
    )
    (desk.directory / "fixtures.py").write_text(
        "import sqlalchemy as sa\n"
        "def fill(connection):\n"
        "    connection.execute(sa.text(\"insert into users (name) values ('seeded')\"))\n"
    )
    assert "say --yes" in desk.run("reset", code=2)
    told = desk.run("reset", "--yes", "--seed", "fixtures:fill")
    assert "applied 1 revision" in told
    assert desk.database.rows("select name from users") == [("seeded",)]
    assert desk.database.rows("select to_regclass('v')::text, to_regnamespace('more')::text") == [
        (None, None)
    ]
    assert desk.database.rows("select count(*) from pg_extension where extname = 'pg_trgm'") == [
        (1,)
    ]
    desk.run("seed", "fixtures:fill")
    assert desk.database.rows("select count(*) from users") == [(2,)]


@pytest.mark.parametrize("command", [("reset", "--yes"), ("push", "--yes"), ("seed", "x:y")])
def test_a_database_of_a_release_is_left_alone(desk: Desk, command: tuple[str, ...]) -> None:
    """The journal says that a release of the application has upgraded it."""
    desk.models("name: Mapped[str]")
    desk.run("generate", "-m", "first")
    desk.run("upgrade", "--application-version", "1.2.3")
    desk.database.execute("insert into users (name) values ('Ada')")
    assert "is shared" in desk.run(*command, code=2)
    assert desk.database.rows("select name from users") == [("Ada",)]


def test_pull_writes_models_and_a_first_revision(desk: Desk) -> None:
    """What the revision makes is what the database had."""
    desk.database.execute(
        "create table teams (id integer primary key, name varchar(40) not null unique);"
        "create table people (id bigint generated always as identity primary key,"
        "  team_id integer references teams (id), born timestamptz default now());"
        "create index on people (born);"
        "create view grown as select id from people"
    )
    before = desk.database.dump_schema()
    told = desk.run("pull", "--out", "shop.py")
    assert "1 x view" in told
    assert "no difference" in desk.run("diff")
    assert desk.database.dump_schema() == before
    assert "exists; say --overwrite" in desk.run("pull", "--out", "shop.py", code=2)
    assert desk.run("generate", "-m", "nothing").startswith("automigrate: nothing to write")


def test_a_sql_revision_is_written_and_runs(desk: Desk) -> None:
    """`new --sql` gives two files to fill in; up and down run."""
    files = json.loads(desk.run("new", "-m", "a view", "--sql", "--json"))["files"]
    up, down = (desk.directory / file for file in files[1:3])
    up.write_text("create view one as select 1 as a;\n")
    down.write_text("drop view one;\n")
    desk.run("upgrade")
    assert desk.database.rows("select a from one") == [(1,)]
    assert "FAILED" not in desk.run("check", "--gate", "--only", "round-trip")


def test_an_edited_sql_file_is_an_edited_script(desk: Desk) -> None:
    """Lock file, gate, verdict and journal see it, until it is as it was."""
    files = json.loads(desk.run("new", "-m", "a view", "--sql", "--json"))["files"]
    script, up, down = (desk.directory / file for file in files[:3])
    up.write_text("create view one as select 1 as a;\n")
    down.write_text("drop view one;\n")
    assert f"edited versions/{script.name}" in desk.run("lock", "--check", code=3)
    desk.run("lock")
    desk.run("lock", "--check")
    desk.run("upgrade")
    assert "current" in desk.run("check")
    for file in (up, down):
        before = file.read_text()
        file.write_text(before.replace("view one", "view  one"))
        assert f"edited versions/{script.name}" in desk.run("lock", "--check", code=3)
        gate = desk.run("check", "--gate", "--only", "lock", "--only", "applied", code=3)
        assert "stale-lock" in gate
        assert "edited-script" in gate
        assert "scripts of applied revisions were changed" in desk.run("check", code=6)
        assert json.loads(desk.run("status", "--json"))["verdict"] == "modified"
        file.write_bytes(before.replace("\n", "\r\n").encode())
        desk.run("lock", "--check")
        assert "current" in desk.run("check")
        file.write_text(before)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(desk: Desk, shell: str) -> None:
    """The script calls back with the variable that it names; commands are completed."""
    assert "_AUTOMIGRATE_COMPLETE" in desk.run("completion", shell)
    words = {"COMP_WORDS": "automigrate gen", "COMP_CWORD": "gen" if shell == "fish" else "1"}
    offered = desk.run(_AUTOMIGRATE_COMPLETE=f"{shell}_complete", **words, code=0)
    assert "generate" in offered


def test_values_are_completed(desk: Desk) -> None:
    """Revisions, newest first, and choices; nothing, and no error, where there is no project."""
    for name in ("one", "two"):
        desk.run("new", "-m", name, "--rev-id", name)

    def offered(line: str, **more: str) -> list[str]:
        words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
        told = desk.run(_AUTOMIGRATE_COMPLETE="bash_complete", **words, **more, code=0)
        return [item.partition(",")[2] for item in told.split()]

    assert offered("automigrate show ") == ["two", "one"]
    assert offered("automigrate rollback --to o") == ["one"]
    assert offered("automigrate upgrade --target t") == ["two"]
    assert offered("automigrate upgrade --log-format ") == ["console", "json"]
    assert offered("automigrate show ", AUTOMIGRATE_SCRIPT_LOCATION="elsewhere") == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(desk: Desk, command: str) -> None:
    """`--help` ends with a line to copy."""
    told = desk.run(command, "--help")
    assert f"automigrate {command}" in told.partition("Examples:")[2]


def test_machines_read_what_recording_and_unlocking_did(desk: Desk) -> None:
    """`stamp`, `unlock` and `baseline` print JSON and nothing else."""
    desk.models("name: Mapped[str]")
    desk.run("generate", "-m", "first", "--rev-id", "one")
    desk.run("upgrade")
    assert json.loads(desk.run("unlock", "--json")) == {"holder": None, "ended": False}
    assert json.loads(desk.run("stamp", "base", "--json")) == {"heads": []}
    desk.database.execute("drop table alembic_version, automigrate_journal")
    desk.database.execute("alter table users add column more text")
    differs = json.loads(desk.run("baseline", "--json", code=6))
    assert differs["stamped"] is False
    assert [line for line in differs["differences"] if "more text" in line]
    desk.database.execute("alter table users drop column more")
    adopted = json.loads(desk.run("baseline", "--json"))
    assert (adopted["heads"], adopted["stamped"]) == (["one"], True)


def test_verify_judges_pending_revisions_by_the_real_tables(desk: Desk) -> None:
    """The same revision passes on a small table and ends with 3 where the table counts as large."""
    desk.models("name: Mapped[str]")
    desk.run("generate", "-m", "first")
    desk.run("upgrade")
    desk.models("name: Mapped[str] = mapped_column(sa.String(10))")
    desk.run("generate", "-m", "short names")
    passed = desk.run("verify", "--no-squawk")
    assert "rewrites users" in passed
    refused = desk.run("verify", "--large-rows", "0", code=3)
    assert "[table-rewrite]" in refused
    assert "Add a column of the new type" in refused
    desk.run("upgrade")
    desk.run("verify", "--large-rows", "0")


def test_squawk_gives_a_second_opinion(desk: Desk) -> None:
    """Its rules stand beside ours, as warnings."""
    desk.models("name: Mapped[str]")
    desk.run("generate", "-m", "first")
    desk.run("new", "-m", "rename", "--rev-id", "later")
    (file,) = desk.directory.glob("migrations/versions/later*.py")
    file.write_text(
        file.read_text().replace("    pass", '    op.rename_table("users", "people")', 1)
    )
    told = desk.run("verify", "--format", "json")
    rules = [f["rule"] for check in json.loads(told)["checks"] for f in check["findings"]]
    assert "squawk/renaming-table" in rules


@pytest.mark.parametrize("template", ["generic", "async", "pyproject"])
def test_alembics_own_templates_bring_their_models(
    tmp_path: Path, database: Database, template: str
) -> None:
    """Generate works through env.py as `alembic init` writes it."""
    project = Project.linear(tmp_path, 1, env=template)
    env = project.scripts / "env.py"
    named = "from shop import metadata as target_metadata"
    env.write_text(env.read_text().replace("target_metadata = None", named))
    (tmp_path / "shop.py").write_text(
        "import sqlalchemy as sa\n"
        "metadata = sa.MetaData()\n"
        "sa.Table('t_r0001', metadata, sa.Column('id', sa.Integer, primary_key=True),"
        " sa.Column('more', sa.Text))\n"
    )
    desk = Desk(tmp_path, database)
    assert "add column t_r0001.more TEXT" in desk.run("generate", "-m", "more")
    desk.run("upgrade")
    assert "no difference" in desk.run("diff")


def test_a_rename_is_asked_for_on_a_terminal(desk: Desk) -> None:
    """The person types a number, and the revision renames."""
    desk.models("name: Mapped[str]")
    desk.run("generate", "-m", "first")
    desk.models("full_name: Mapped[str]")
    parent, child = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "automigrate", "generate", "-m", "names", "--scratch", "server"],
        cwd=desk.directory,
        env=desk.environment(),
        stdin=child,
        stdout=subprocess.PIPE,
        stderr=child,
    ) as process:
        os.close(child)
        asked = b""
        while b"Number" not in asked:
            asked += os.read(parent, 1024)
        os.write(parent, b"1\n")
        assert process.stdout is not None
        told = process.stdout.read().decode()
        assert process.wait(60.0) == 0
    os.close(parent)
    assert b"renamed from users.name" in asked
    assert "rename column users.name to full_name" in told


@pytest.mark.parametrize("command", [("generate", "-m", "names"), ("push",)], ids=lambda c: c[0])
def test_a_misspelt_rename_is_told_before_the_questions(
    desk: Desk, command: tuple[str, ...]
) -> None:
    """On a terminal, where there are questions: exit code 2, the possible names, no question."""
    desk.models("name: Mapped[str]\n    mail: Mapped[str]")
    if command[0] == "push":
        desk.run("push", "--yes")
    else:
        desk.run("generate", "-m", "first")
    desk.models("full_name: Mapped[str]\n    address: Mapped[str]")
    with Terminal(
        [sys.executable, "-m", "automigrate", *command, "--rename", "users.nmae:full_name"],
        cwd=desk.directory,
        env=desk.environment(),
    ) as terminal:
        assert terminal.end() == 2
        shown = "\n".join(terminal.lines)
    assert "users.nmae, which is not gone. What is gone: users.name, users.mail." in shown
    assert "Number" not in shown


@pytest.mark.parametrize("file", sorted((ROOT / "examples" / "ci").glob("*.y*ml")), ids=str)
def test_the_examples_for_ci_name_options_that_exist(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every `automigrate` line of them is understood."""
    from automigrate.__main__ import main

    lines = re.findall(r"(?:run|entry|-): ?(automigrate .*)|- (automigrate .*)", file.read_text())
    commands = [first or second for first, second in lines]
    assert commands
    for command in commands:
        assert main([*command.split()[1:], "--help"]) == 0, command
        capsys.readouterr()
