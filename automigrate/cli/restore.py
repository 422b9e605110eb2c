"""`automigrate restore`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from automigrate.cli import output, running
from automigrate.cli.group import documented
from automigrate.errors import BackupError, names

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@documented("automigrate restore /var/backups/shop/FILE.dump")
@click.argument("path", type=click.Path())
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--pg-bin", "programs", help="Directory of pg_restore and psql.")
@click.option("--json", "as_json", is_flag=True, help="Print the heads as JSON.")
def command(
    settings: Settings, *, path: str, yes: bool, programs: str | None, as_json: bool
) -> int:
    """Replace all that is in the database by what the backup PATH holds, in one transaction.

    Of a backup of some tables, replace the rows of these; the schema has to be at its revision.
    Stop the application first. Exits 10 when it failed; nothing has changed then.
    """
    if not yes:
        if sys.stdin is None or not sys.stdin.isatty():
            raise BackupError(
                reason="nobody can be asked, because the input is no terminal",
                remedy="Confirm with --yes that the data in the database are to be replaced.",
            )
        click.confirm(f"Replace {replaced(path)}?", abort=True, err=True)
    with running.migrating(settings) as migrator:
        heads = migrator.restore(path, programs=programs)
    if as_json:
        output.json_line({"restored": path, "heads": heads})
    else:
        output.line(f"automigrate: restored {path}: the schema is at {names(heads)}")
    return 0


def replaced(path: str) -> str:
    """Say what a backup takes the place of."""
    from automigrate.recovery.manifest import read

    manifest = read(path)
    if manifest is None or not manifest.tables:
        return "all that is in the database"
    return f"the rows of {names(manifest.tables)} by those of {manifest.created}"
