"""The scripts of a project as the workflow sees them: where they lie, and their graph."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from automigrate.options import SECTION
from automigrate.scripts import lockfile
from automigrate.scripts.files import list_scripts
from automigrate.scripts.graph import ScriptGraph
from automigrate.scripts.location import locate
from automigrate.scripts.reader import read

if TYPE_CHECKING:
    import os

    from alembic.config import Config

    from automigrate.scripts.location import ScriptLocation

__all__ = ["Project", "open_project"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A script directory and the history in it, which may be empty."""

    location: ScriptLocation
    graph: ScriptGraph

    @property
    def has_lock(self) -> bool:
        """Whether an `automigrate.lock` lies beside the scripts."""
        return (self.location.directory / lockfile.NAME).exists()

    def relative(self, file: str) -> str:
        """Name a file relative to the working directory where it lies below it."""
        path = Path(file).absolute()
        return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)

    def reread(self) -> Project:
        """Read the scripts again, after some were written."""
        return _read(self.location)

    def update_lock(self) -> bool:
        """Bring the lock file up to date with the scripts, if there is one.

        Returns:
            Whether it was not.
        """
        if not self.has_lock:
            return False
        path = self.location.directory / lockfile.NAME
        before = path.read_bytes()
        lockfile.write(self.location, self.graph)
        return path.read_bytes() != before


def open_project(
    scripts: str | os.PathLike[str] | None,
    config: str | os.PathLike[str] | Config | None = None,
    *,
    ini_section: str = SECTION,
) -> Project:
    """Find the scripts and read their history; a project without any revision is one too.

    Raises:
        ConfigurationError: no script directory is named or found.
        ScriptError: the scripts cannot be read, or form no history.
    """
    return _read(locate(scripts, config=config, ini_section=ini_section))


def _read(location: ScriptLocation) -> Project:
    files = list_scripts(location)
    if not files.paths and not files.compiled:
        return Project(location=location, graph=ScriptGraph(()))
    return Project(location=location, graph=read(location))
