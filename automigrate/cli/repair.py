"""`automigrate repair`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from automigrate.cli import output, running
from automigrate.cli.group import configured
from automigrate.errors import ConfigurationError, names

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings
    from automigrate.recovery.repair import Repair


@configured
@click.argument("revision")
@click.option("--applied", is_flag=True, help="Its work is complete: record it as applied.")
@click.option("--not-applied", is_flag=True, help="Its work is undone: have it run again.")
@click.option(
    "--drop-invalid-indexes",
    is_flag=True,
    help="Drop the invalid indexes that its CREATE INDEX CONCURRENTLY has left.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(
    settings: Settings,
    *,
    revision: str,
    applied: bool,
    not_applied: bool,
    drop_invalid_indexes: bool,
    as_json: bool,
) -> int:
    """Settle a revision that was interrupted after it had committed a part of its work.

    Look at the schema first: nobody can tell how far it came but you. Refuses a revision that was
    not interrupted, exit code 10.
    """
    from automigrate.recovery.repair import Resolution

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
