"""What users import and install."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

import automigrate

ROOT = Path(__file__).parents[2]
HEAVY = {
    "alembic",
    "asyncio",
    "click",
    "psycopg",
    "rich",
    "sqlalchemy",
    "structlog",
    "tenacity",
}


def _imported_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{m.partition('.')[0] for m in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return set(result.stdout.split())


def test_importing_the_package_imports_no_library() -> None:
    """`import automigrate` costs an application next to nothing."""
    assert not HEAVY & (_imported_by("import automigrate") - _imported_by(""))


def test_all_is_complete() -> None:
    """Every public name is listed once and is there."""
    assert len(automigrate.__all__) == len(set(automigrate.__all__))
    for name in automigrate.__all__:
        assert hasattr(automigrate, name)


def test_every_error_is_public() -> None:
    """Whatever is raised can be caught by its public name."""
    from automigrate import errors

    assert set(errors.__all__) <= set(automigrate.__all__)


def test_the_package_is_typed() -> None:
    """Type checkers read our hints."""
    assert files("automigrate").joinpath("py.typed").is_file()


def test_the_version_has_one_source() -> None:
    """The build reads the version where the code has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "automigrate/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+", automigrate.__version__)


def test_the_changelog_knows_what_is_coming() -> None:
    """There is always an Unreleased section, on top."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"


def test_module_names_say_what_is_inside() -> None:
    """No module is called by a word that fits everything."""
    vague = {"utils", "util", "helpers", "common", "base", "manager", "misc"}
    assert not {path.stem for path in (ROOT / "automigrate").rglob("*.py")} & vague
