"""`automigrate check`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import output, reports, running
from automigrate.cli.group import configured

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@configured
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
def command(settings: Settings, *, as_json: bool) -> int:
    """Judge the schema once; wait for nothing, change nothing.

    Exits 0 if the code may serve on it, 6 if not, 7 if a revision was interrupted.
    """
    with running.migrating(settings) as migrator:
        status = migrator.check()
    if as_json:
        output.json_line(reports.as_json(status))
    else:
        output.line(f"automigrate: {reports.judgement(status)}")
    return 0
