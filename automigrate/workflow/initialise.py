"""Set a project up, or adopt the Alembic project that is there, changing nothing of it."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automigrate.errors import ConfigurationError
from automigrate.options import SECTION
from automigrate.scripts import lockfile
from automigrate.workflow.project import open_project

if TYPE_CHECKING:
    from automigrate.workflow.project import Project

__all__ = ["TEMPLATE", "Initialised", "initialise", "section_of"]

DEFAULT_DIRECTORY = "migrations"
PYPROJECT_SECTION = "[tool.automigrate]"
TEMPLATE = '''\
"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}
Create Date: ${create_date}
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision: str = ${repr(up_revision)}
down_revision: str | Sequence[str] | None = ${repr(down_revision)}
branch_labels: str | Sequence[str] | None = ${repr(branch_labels)}
depends_on: str | Sequence[str] | None = ${repr(depends_on)}


def upgrade() -> None:
    """Upgrade the schema."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Undo the upgrade."""
    ${downgrades if downgrades else "pass"}
'''
"""What new revisions look like, in the form that Alembic fills in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialised:
    """What was set up."""

    directory: str
    adopted: bool
    """Whether scripts or their directory were there before."""
    revisions: int
    written: tuple[str, ...]
    kept: tuple[str, ...]
    """Files that said enough already."""
    warnings: tuple[str, ...] = ()


def initialise(
    scripts: str | None,
    *,
    config: str | None = None,
    ini_section: str = SECTION,
    models: str | None = None,
) -> Initialised:
    """Make script directory, lock file and `[tool.automigrate]`, as far as they are missing.

    Opens no database. An env.py is not made: revisions run without one.

    Args:
        scripts: the script directory; found as everywhere else, or `migrations`, by default.
        config: an alembic.ini.
        ini_section: its section.
        models: what `models` in `[tool.automigrate]` shall say.

    Raises:
        ConfigurationError: `pyproject.toml` is no TOML.
        ScriptError: what is there cannot be used.
    """
    found = _existing(scripts, config, ini_section)
    written: list[str] = []
    kept: list[str] = []
    if found is None:
        directory = Path(scripts or DEFAULT_DIRECTORY)
        written += _make(directory)
        project = open_project(str(directory))
    else:
        project = found
    lock = project.location.directory / lockfile.NAME
    _note(lock, written, kept)
    lockfile.write(project.location, project.graph)
    pyproject = Path("pyproject.toml")
    warnings: list[str] = []
    section = section_of(pyproject)
    if section is None:
        _append(pyproject, project, models)
        written.append(str(pyproject))
    elif models is None or section.get("models") == models:
        kept.append(str(pyproject))
    elif "models" not in section and _insert(pyproject, models):
        written.append(str(pyproject))
    else:
        kept.append(str(pyproject))
        warnings.append(f"{pyproject} was left as it is: set models = {json.dumps(models)} there.")
    return Initialised(
        directory=project.relative(str(project.location.directory)),
        adopted=found is not None,
        revisions=len(project.graph),
        written=tuple(project.relative(file) for file in written),
        kept=tuple(project.relative(file) for file in kept),
        warnings=tuple(warnings),
    )


def _existing(scripts: str | None, config: str | None, ini_section: str) -> Project | None:
    if scripts is not None and ":" not in scripts and not Path(scripts, "versions").is_dir():
        return None
    try:
        return open_project(scripts, config, ini_section=ini_section)
    except ConfigurationError:
        if scripts is not None or config is not None:
            raise
    if Path(DEFAULT_DIRECTORY, "versions").is_dir():
        return open_project(DEFAULT_DIRECTORY)
    return None


def _make(directory: Path) -> list[str]:
    """Make a script directory; one that was emptied by git is completed."""
    (directory / "versions").mkdir(parents=True, exist_ok=True)
    files = {directory / "versions" / ".gitkeep": "", directory / "script.py.mako": TEMPLATE}
    written = []
    for file, text in files.items():
        if not file.exists():
            file.write_text(text, encoding="utf-8")
            written.append(str(file))
    return written


def _note(file: Path, written: list[str], kept: list[str]) -> None:
    (kept if file.exists() else written).append(str(file))


def section_of(pyproject: Path) -> dict[str, Any] | None:
    """Return our section, `None` where there is none.

    Raises:
        ConfigurationError: the file is no TOML.
    """
    if not pyproject.exists():
        return None
    try:
        tools = tomllib.loads(pyproject.read_text("utf-8")).get("tool", {})
    except ValueError as error:
        raise ConfigurationError(f"{pyproject} is not valid TOML: {error}.") from error
    found: dict[str, Any] | None = tools.get("automigrate")
    return found


def _insert(pyproject: Path, models: str) -> bool:
    """Name the models in a section that does not; false where it is written in another way."""
    lines = pyproject.read_bytes().decode().splitlines(keepends=True)
    for index, line in enumerate(lines):
        if line.strip() == PYPROJECT_SECTION:
            ending = line[len(line.rstrip("\r\n")) :] or "\n"
            header = line.removesuffix(ending) + ending
            lines[index : index + 1] = [header, f"models = {json.dumps(models)}{ending}"]
            pyproject.write_bytes("".join(lines).encode())
            return True
    return False


def _append(pyproject: Path, project: Project, models: str | None) -> None:
    """Add the section at the end; what stands before it keeps every byte."""
    before = pyproject.read_text("utf-8") if pyproject.exists() else ""
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    place = project.relative(str(project.location.directory))
    lines = [PYPROJECT_SECTION, f"script-location = {json.dumps(place)}"]
    if models is not None:
        lines.append(f"models = {json.dumps(models)}")
    pyproject.write_text(before + gap + "\n".join(lines) + "\n", encoding="utf-8")
