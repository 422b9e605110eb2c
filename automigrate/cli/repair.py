"""`automigrate repair`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from automigrate.cli import completing, output, running
from automigrate.cli.group import documented
from automigrate.errors import ConfigurationError, names

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings
    from automigrate.recovery.repair import Repair


@documented("automigrate repair 3f2a --applied", "automigrate repair --drop-invalid-indexes")
@click.argument("revision", required=False, shell_complete=completing.revisions)
@click.option("--applied", is_flag=True, help="Its work is complete: record it as applied.")
@click.option("--not-applied", is_flag=True, help="Its work is undone: have it run again.")
@click.option(
    "--drop-invalid-indexes",
    is_flag=True,
    help="Drop the invalid indexes that its CREATE INDEX CONCURRENTLY has left.",
)
@click.option(
    "--accept-modified",
    is_flag=True,
    help="Take the changed script of an applied REVISION, or of all, for the one that was applied.",
)
@click.option(
    "--rebuild-journal", is_flag=True, help="Fill the journal from version table and scripts."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(
    settings: Settings,
    *,
    revision: str | None,
    applied: bool,
    not_applied: bool,
    drop_invalid_indexes: bool,
    accept_modified: bool,
    rebuild_journal: bool,
    as_json: bool,
) -> int:
    """Settle a revision that was interrupted after it had committed a part of its work.

    Look at the schema first: nobody can tell how far it came but you. Refuses a revision that was
    not interrupted, exit code 10.
    """
    from automigrate.recovery.repair import Resolution

    if accept_modified or rebuild_journal:
        if applied or not_applied or drop_invalid_indexes or (accept_modified and rebuild_journal):
            raise ConfigurationError(
                "--accept-modified and --rebuild-journal go with nothing else; give one."
            )
        with running.migrating(settings) as migrator:
            if accept_modified:
                accepted = migrator.accept_modified(*filter(None, [revision]))
                output.line(f"automigrate: accepted the changed scripts of {names(accepted)}")
            else:
                changed = migrator.rebuild_journal()
                output.line(f"automigrate: the journal agrees; {changed} rows were changed")
        return 0
    if revision is None:
        raise ConfigurationError("name the REVISION that was interrupted.")
    if applied and not_applied:
        raise ConfigurationError("--applied and --not-applied contradict each other; give one.")
    if not (applied or not_applied or drop_invalid_indexes):
        raise ConfigurationError(
            "say what to do: --applied, --not-applied or --drop-invalid-indexes."
        )
    resolution = None
    if applied or not_applied:
        resolution = Resolution.APPLIED if applied else Resolution.NOT_APPLIED
    with running.migrating(settings) as migrator:
        done = migrator.repair(
            revision, resolution=resolution, drop_invalid_indexes=drop_invalid_indexes
        )
    if as_json:
        output.json_line(dataclasses.asdict(done))
    else:
        output.line(f"automigrate: {_summary(done)}")
    return 0


def _summary(done: Repair) -> str:
    parts = []
    if done.dropped:
        parts.append(f"dropped {names(done.dropped)}")
    if done.resolution is not None:
        parts.append(f"{done.revision} is {done.resolution} now")
    what = ", ".join(parts) or "found no invalid index"
    return f"{what}; the database is at {names(done.heads)}"
