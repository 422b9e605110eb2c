"""`automigrate stamp`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import completing, output, running
from automigrate.cli.group import documented
from automigrate.errors import names

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@documented("automigrate stamp head")
@click.argument(
    "revisions", nargs=-1, required=True, metavar="REVISION...", shell_complete=completing.revisions
)
@click.option("--force", is_flag=True, help="Also over revisions that no script defines.")
@click.option("--json", "as_json", is_flag=True, help="Print the heads as JSON.")
def command(settings: Settings, *, revisions: tuple[str, ...], force: bool, as_json: bool) -> int:
    """Record revisions as the heads of the database, without running anything.

    All of them together; `base` records that nothing is applied.
    """
    with running.migrating(settings) as migrator:
        heads = migrator.stamp(*revisions, force=force)
    if as_json:
        output.json_line({"heads": heads})
    else:
        output.line(f"automigrate: the database is recorded at {names(heads)}")
    return 0
