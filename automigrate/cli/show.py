"""`automigrate show`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from automigrate.cli import completing, output, seen
from automigrate.cli.history import lines, recorded_in
from automigrate.cli.local import as_json, local, project_of
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@local("automigrate show head", "automigrate show 3f2a --sql")
@click.argument("revision", shell_complete=completing.revisions)
@click.option("--sql", is_flag=True, help="Its statements and locks, from a scratch database.")
@as_json
def command(settings: Settings, *, revision: str, sql: bool, as_json: bool) -> int:
    """Show one revision: what it is built on, whether it is applied, and its script.

    REVISION is an identifier or its unique beginning, `head`, or `label@head`.
    """
    from automigrate.workflow.history import history

    project = project_of(settings)
    found = project.graph.resolve(revision)
    if len(found) != 1:
        raise ConfigurationError(f"{revision!r} names no single revision.")
    entry = next(e for e in history(project, recorded_in(settings)) if e.revision == found[0])
    statements = seen.look_at(settings, project, found) if sql else []
    if as_json:
        told = dataclasses.asdict(entry) | ({"sql": seen.as_json(statements)} if sql else {})
        output.json_line(told)
        return 0
    for line in lines(entry):
        output.line(line)
    output.line(f"    {entry.file}\n")
    if sql:
        for line in seen.text(statements, None):
            output.line(line)
    else:
        output.line(Path(entry.file).read_text("utf-8").rstrip())
    return 0
