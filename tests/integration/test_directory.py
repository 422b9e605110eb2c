"""Alembic's script directory over lazily imported scripts, and the configuration env.py sees."""

from __future__ import annotations

import sys
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import pytest
from alembic.script import ScriptDirectory

from automigrate.alembic_bridge.directory import LazyScript, config_for, directory_for
from automigrate.errors import BrokenHistoryError, ScriptImportError
from automigrate.scripts.location import locate
from automigrate.scripts.reader import read
from tests.support.projects import Project

if TYPE_CHECKING:
    from pathlib import Path


def directory_of(project: Project) -> ScriptDirectory:
    """Make the lazy script directory of a project."""
    location = locate(project.scripts)
    return directory_for(location, read(location))


def lazy(directory: ScriptDirectory, revision: str) -> LazyScript:
    """Return a script that was not imported yet."""
    script = directory.get_revision(revision)
    assert isinstance(script, LazyScript)
    return script


def test_scripts_are_imported_when_they_run(project: Project) -> None:
    """A script that is not going to run is not imported."""
    project.add("r1", extra_module_code="import sys; sys.imported_r1 = True")
    project.add("r2", extra_module_code="import sys; sys.imported_r2 = True")
    directory = directory_of(project)
    steps = list(directory._upgrade_revs("r2", "r1"))
    assert [step.revision.revision for step in steps] == ["r2"]
    assert hasattr(sys, "imported_r2")
    assert not hasattr(sys, "imported_r1")


def test_the_map_is_alembics(project: Project) -> None:
    """Heads, bases, order, labels and dependencies are those that Alembic itself finds."""
    project.add("a1", branch_labels=("a",))
    project.add("a2")
    project.add("b1", down=None)
    project.add("b2", depends_on="a2")
    project.add("c", down="a1")
    ours, theirs = directory_of(project), ScriptDirectory(str(project.scripts))
    for directory in (ours, theirs):
        directory.revision_map._revision_map  # noqa: B018 - loads it
    assert ours.get_heads() == theirs.get_heads()
    assert ours.get_bases() == theirs.get_bases()
    walked = [
        [(s.revision, s.down_revision, s.dependencies, s.branch_labels) for s in d.walk_revisions()]
        for d in (ours, theirs)
    ]
    assert walked[0] == walked[1]


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("revision = 'r1'\ndown_revision = None\ndef upgrade(:", ScriptImportError, "syntax error"),
        ("revision = 'r1'\ndown_revision = None\n1 / 0", ScriptImportError, "ZeroDivisionError"),
        ("revision = 'r1'\ndown_revision = None\nexit('no key')", ScriptImportError, "no key"),
        ("revision = 'r1'\ndown_revision = None\n", ScriptImportError, "it has no upgrade"),
        (
            "revision = 'r1'\ndown_revision = None\ndef upgrade(): pass\nrevision = 'r' + '2'",
            BrokenHistoryError,
            "says revision 'r2' when imported",
        ),
    ],
)
def test_a_script_that_cannot_be_imported_is_named(
    project: Project, source: str, error: type[Exception], text: str
) -> None:
    """The error has the file, the revision and the reason."""
    project.add("r1")
    script = lazy(directory_of(project), "r1")
    project.revisions["r1"].write_text(source)
    with pytest.raises(error, match=text) as caught:
        script.module  # noqa: B018 - imports it
    assert project.revisions["r1"].name in str(caught.value)


@pytest.mark.parametrize(
    ("said", "driver"),
    [
        ("postgresql+asyncpg://u:p@h/d", "postgresql+asyncpg"),
        ("postgresql+psycopg2://u:p@h/d", "postgresql+psycopg2"),
        ("postgresql://u:p@h/d", "postgresql+psycopg"),
        ("postgresql+pg8000://u:p@h/d", "postgresql+psycopg"),
        ("driver://user:pass@localhost/dbname", "postgresql+psycopg"),
        ("%(DB_URL)s", "postgresql+psycopg"),
    ],
)
def test_the_url_keeps_the_driver_of_the_project(tmp_path: Path, said: str, driver: str) -> None:
    """Env.py gets our database with the driver that its connect arguments are made for."""
    project = Project(tmp_path)
    ini = project.ini.read_text()
    project.ini.write_text(ini.replace("driver://user:pass@localhost/dbname", said))
    location = locate(project.scripts)
    config = config_for(location, lambda name: f"{name}://ours%20/db", Namespace(x=None))
    assert config.get_main_option("sqlalchemy.url") == f"{driver}://ours%20/db"
    assert config.get_main_option("script_location") == str(project.scripts)
    assert config.attributes["configure_logger"] is False
    assert config.config_file_name == str(project.ini)


HISTORIES: dict[str, list[dict[str, Any]]] = {
    "line": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
    "merge": [
        {"name": "a"},
        {"name": "b", "down": "a"},
        {"name": "c", "down": "a"},
        {"name": "d", "down": ("b", "c")},
    ],
    "dependency": [
        {"name": "a", "branch_labels": ("left",)},
        {"name": "b", "down": None},
        {"name": "c", "down": "b", "depends_on": "left"},
        {"name": "d", "down": "a", "depends_on": "c"},
        {"name": "e", "down": "c", "depends_on": "a"},
    ],
}


@pytest.mark.parametrize("history", HISTORIES)
def test_the_steps_are_alembics(project: Project, history: str) -> None:
    """From every revision: the same steps, each with the same rows of the version table."""
    for given in HISTORIES[history]:
        described = dict(given)
        project.add(described.pop("name"), **described)
    theirs = ScriptDirectory(str(project.scripts))
    for current in [(), *((name,) for name in project.revisions)]:
        ours = directory_of(project)
        found, expected = (
            [
                (
                    step.revision.revision,
                    step.from_revisions,
                    step.to_revisions,
                    step.should_create_branch(set(current)),
                    step.should_merge_branches({"b", "c"}),
                    step.revision._all_down_revisions,
                    step.revision._normalized_down_revisions,
                )
                for step in directory._upgrade_revs("heads", current)  # type: ignore[arg-type]
            ]
            for directory in (ours, theirs)
        )
        assert found == expected
        assert "_revision_map" not in vars(ours.revision_map)
