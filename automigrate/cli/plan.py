"""`automigrate plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import output, seen
from automigrate.cli.local import as_json, local, project_of

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@local(
    "automigrate plan --database-url postgresql:///shop",
    "automigrate plan --since 3f2a > pending.sql",
)
@click.option(
    "--since",
    multiple=True,
    metavar="REVISION",
    help="Take these as applied.  [default: what the database has, or nothing]",
)
@as_json
def command(settings: Settings, *, since: tuple[str, ...], as_json: bool) -> int:
    """Show the SQL of what is pending, and what each statement does to tables.

    The SQL is what the revisions send when they run on a scratch database, and the locks are those
    that were seen there. The database itself is only asked for its revision and table sizes.
    """
    project = project_of(settings)
    pending, sizes = seen.pending_of(settings, project, since)
    found = seen.look_at(settings, project, pending)
    if as_json:
        output.json_line({"pending": pending, "revisions": seen.as_json(found)})
        return 0
    for line in seen.text(found, sizes):
        output.line(line)
    if not pending:
        output.line("-- nothing pending")
    return 0
