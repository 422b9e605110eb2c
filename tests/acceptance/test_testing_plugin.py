"""The pytest plugin for applications: fixtures, ready tests, and silence where it is not used."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.projects import Project

if TYPE_CHECKING:
    from automigrate.embedded import EmbeddedServer

ROOT = Path(__file__).parent.parent.parent
CONTRACT = "from automigrate.testing.contract import *\n"
MODELS = """
from sqlalchemy import Column, Integer, MetaData, Table

metadata = MetaData()
for name in ("t_r0001", "t_r0002"):
    Table(name, metadata, Column("id", Integer, primary_key=True))
"""


def run_pytest(project: Project, server: EmbeddedServer, *arguments: str) -> str:
    """Run pytest in a project of a user; return what it prints."""
    (project.directory / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\nautomigrate_scripts = "migrations"\n'
        'automigrate_models = "shop_models:metadata"\npythonpath = ["."]\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "automigrate.testing.plugin", "-q", *arguments],
        cwd=project.directory,
        env={
            **os.environ,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": str(ROOT),
            "AUTOMIGRATE_TEST_DATABASE_URL": server.url(),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


@pytest.fixture
def shop(tmp_path: Path) -> Project:
    """A project of two revisions with models, and the ready tests."""
    project = Project.linear(tmp_path, 2)
    (tmp_path / "shop_models.py").write_text(MODELS)
    (tmp_path / "test_migrations.py").write_text(CONTRACT)
    return project


def test_the_ready_tests_pass_on_a_sound_project(shop: Project, server: EmbeddedServer) -> None:
    """Four questions are answered well; without a lock file the fifth is skipped."""
    assert "4 passed, 1 skipped" in run_pytest(shop, server, "test_migrations.py")
    subprocess.run(
        [sys.executable, "-m", "automigrate", "lock"],
        cwd=shop.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert "5 passed" in run_pytest(shop, server, "test_migrations.py")


def test_a_second_head_fails(shop: Project, server: EmbeddedServer) -> None:
    """The test names both heads."""
    shop.add("other", down="r0001")
    found = run_pytest(shop, server, "-k", "single_head")
    assert "1 failed" in found
    assert "other" in found
    assert "r0002" in found


def test_models_that_differ_fail(shop: Project, server: EmbeddedServer) -> None:
    """The test says what the revisions lack."""
    models = shop.directory / "shop_models.py"
    models.write_text(MODELS.replace('"t_r0002")', '"t_r0002", "t_lacking")'))
    found = run_pytest(shop, server, "-k", "models_match")
    assert "1 failed" in found
    assert "t_lacking" in found


def test_a_downgrade_that_leaves_something_fails(shop: Project, server: EmbeddedServer) -> None:
    """The test names the revision and what it left."""
    shop.add(
        "r0003",
        upgrade='op.execute("create table a (id int)"); op.execute("create table b (id int)")',
        downgrade='op.execute("drop table a")',
    )
    found = run_pytest(shop, server, "-k", "leaves_no_trace")
    assert "1 failed" in found
    assert "r0003" in found


@pytest.mark.parametrize("downgrade", ["pass", 'op.execute("drop table a")'], ids=["empty", "half"])
def test_a_downgrade_in_the_way_of_the_next_upgrade_fails(
    shop: Project, server: EmbeddedServer, downgrade: str
) -> None:
    """The test says that the downgrade has left what the second upgrade finds in its way."""
    shop.add(
        "r0003",
        upgrade='op.execute("create table a (id int)"); op.execute("create table b (id int)")',
        downgrade=downgrade,
    )
    found = run_pytest(shop, server, "-k", "leaves_no_trace")
    assert "1 failed" in found
    assert "revision r0003, undone, cannot be applied again: DuplicateTable" in found
    left = found.partition("Its downgrade leaves behind what was not there before: ")[2]
    assert "public.b" in left
    assert "Correct its downgrade." in left


def test_a_broken_upgrade_fails(shop: Project, server: EmbeddedServer) -> None:
    """The test shows the error of the run."""
    shop.add("r0003", upgrade='op.execute("create table t_r0001 (id int)")')
    found = run_pytest(shop, server, "-k", "from_base")
    assert "1 failed" in found
    assert "r0003 failed: DuplicateTable" in found


def test_a_stale_lock_file_fails(shop: Project, server: EmbeddedServer) -> None:
    """A revision that the lock file does not know is found."""
    subprocess.run(
        [sys.executable, "-m", "automigrate", "lock"],
        cwd=shop.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    shop.extend(1)
    assert "1 failed" in run_pytest(shop, server, "-k", "lock_file_fresh")


def test_each_test_has_a_migrated_database_of_its_own(
    shop: Project, server: EmbeddedServer
) -> None:
    """Clones of one template: what a test writes is not seen by the next, and none is left."""
    (shop.directory / "test_own.py").write_text(
        textwrap.dedent("""
            import psycopg
            import pytest
            import sqlalchemy

            @pytest.mark.parametrize("round", range(3))
            def test_own(migrated_database, round):
                with migrated_database.connect() as connection:
                    assert connection.execute("select * from t_r0002").fetchall() == []
                    connection.execute("insert into t_r0002 values (1)")
                engine = sqlalchemy.create_engine(migrated_database.sqlalchemy_url())
                with engine.connect() as connection:
                    found = connection.execute(sqlalchemy.text("select * from t_r0002")).all()
                assert found == [(1,)]
                engine.dispose()

            def test_empty(empty_database):
                with psycopg.connect(empty_database.url) as connection:
                    query = "select from pg_tables where schemaname = 'public'"
                    assert connection.execute(query).rowcount == 0
        """)
    )
    assert "4 passed" in run_pytest(shop, server, "test_own.py")
    left = server.run("psql", "-Atc", "select datname from pg_database", "postgres").stdout
    assert "automigrate_test_" not in left


def test_a_section_of_alembic_ini_is_chosen(shop: Project, server: EmbeddedServer) -> None:
    """Where the ini describes several histories, the setting says which one is tested."""
    (shop.directory / "alembic.ini").write_text(
        "[alembic]\nscript_location = elsewhere\n[warehouse]\nscript_location = migrations\n"
    )
    options = ["-o", "automigrate_scripts=", "-o", "automigrate_ini_section=warehouse"]
    found = run_pytest(shop, server, *options, "-k", "single_head or from_base")
    assert "2 passed" in found, found


def test_the_plugin_is_installed_and_silent() -> None:
    """Loading it for every pytest run imports none of the libraries that automigrate needs."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    module = pyproject["project"]["entry-points"]["pytest11"]["automigrate"]
    script = f"""
import importlib, pytest, sys
before = set(sys.modules)
importlib.import_module({module!r})
print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["automigrate"]
