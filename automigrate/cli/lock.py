"""`automigrate lock`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from automigrate.cli import output
from automigrate.cli.local import as_json, local, project_of, tell_files
from automigrate.errors import ScriptError, names
from automigrate.scripts import lockfile

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings
    from automigrate.scripts.lockfile import LockDifferences


@local("automigrate lock", "automigrate lock --check")
@click.option("--check", is_flag=True, help="Write nothing; exit 3 if the lock file is stale.")
@as_json
def command(settings: Settings, *, check: bool, as_json: bool) -> int:
    """Write automigrate.lock: the heads and a checksum of every script.

    With it the look of a startup costs the same for ten revisions and ten thousand, two branches
    conflict in git instead of at startup, and edits of old scripts are seen. Formatting and
    comments do not count. No database is needed.
    """
    project = project_of(settings)
    file = project.relative(str(project.location.directory / lockfile.NAME))
    if check:
        differences = differing(settings)
        if as_json:
            output.json_line({"fresh": not differences, **asdict(differences)})
            return ScriptError.exit_code if differences else 0
        if differences:
            raise ScriptError(f"{file} is stale: {described(differences)}. Run `automigrate lock`.")
        output.line(f"automigrate: {file} fits the scripts")
        return 0
    written = lockfile.write(project.location, project.graph)
    if as_json:
        output.json_line({"files": [file], "heads": written.summary.heads})
        return 0
    tell_files([file])
    return 0


def differing(settings: Settings) -> LockDifferences:
    """Compare the lock file with the scripts.

    Raises:
        ScriptError: there is no lock file, or it is damaged.
    """
    project = project_of(settings)
    lock = lockfile.load(project.location)
    if lock is None:
        raise ScriptError(
            f"{project.location.directory} has no {lockfile.NAME} that this version can read. "
            "Run `automigrate lock`."
        )
    return lockfile.compare(project.location, lock, project.graph)


def described(differences: LockDifferences) -> str:
    """Say in a line how the scripts differ."""
    parts = [
        f"{label} {names(files)}"
        for label, files in (
            ("edited", differences.edited),
            ("missing", differences.missing),
            ("new", differences.extra),
        )
        if files
    ]
    if differences.heads_changed:
        parts.append("the heads are others")
    return "; ".join(parts) or "its summary no longer fits the files"
