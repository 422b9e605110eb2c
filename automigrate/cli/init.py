"""`automigrate init`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from automigrate.cli import output
from automigrate.cli.local import as_json, local, warn
from automigrate.errors import ConfigurationError
from automigrate.options import SECTION

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@local(
    "automigrate init",
    "automigrate init migrations --models shop.models:Base",
)
@click.argument("directory", required=False)
@as_json
def command(settings: Settings, *, directory: str | None, as_json: bool) -> int:
    """Set a project up: script directory, automigrate.lock, [tool.automigrate].

    An Alembic project that is there is adopted: its scripts, its env.py and its alembic.ini stay
    as they are. DIRECTORY is `migrations` in a new project. No database is needed.
    """
    from automigrate.workflow.initialise import initialise

    if directory is None:
        _require_own(settings.scripts)
    done = initialise(
        directory or settings.scripts,
        config=settings.options.get("config"),  # type: ignore[arg-type]
        ini_section=settings.options.get("ini_section") or SECTION,
        models=settings.models,
    )
    if as_json:
        output.json_line(dataclasses.asdict(done))
        return 0
    for file in done.written:
        output.line(f"wrote {file}")
    for file in done.kept:
        output.line(f"kept {file}")
    warn(done.warnings)
    if done.adopted and done.revisions:
        output.line(f"automigrate: adopted {done.directory} with {done.revisions} revisions")
    else:
        models = "" if settings.models else " --models package.module:Base"
        output.line(f'automigrate: ready; next: automigrate generate -m "first tables"{models}')
    return 0


def _require_own(scripts: str | None) -> None:
    """Refuse to adopt what a pyproject.toml further up names, and not this directory's own.

    Raises:
        ConfigurationError: this directory lies in another project.
    """
    from automigrate.workflow.initialise import section_of

    if scripts is None or ":" in scripts or Path(scripts).absolute().is_relative_to(Path.cwd()):
        return
    if section_of(Path("pyproject.toml")) is None:
        raise ConfigurationError(
            f"this directory lies in a project whose scripts are {scripts}, and they would be "
            "taken for its own. Name a directory to set another project up here: "
            "`automigrate init migrations`."
        )
