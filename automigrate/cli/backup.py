"""`automigrate backup`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from automigrate.cli import output, running
from automigrate.cli.group import documented

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@documented("automigrate backup /var/backups/shop --keep 7")
@click.argument("directory", type=click.Path(file_okay=False))
@click.option("--jobs", type=click.IntRange(min=1), default=1, help="Dump in parallel.")
@click.option("--keep", type=click.IntRange(min=1), help="Remove older ones.  [default: none]")
@click.option("--table", "tables", multiple=True, help="Only this one; may be repeated.")
@click.option("--hook", help="A command whose success is required, such as a snapshot.")
@click.option("--pg-bin", "programs", help="Directory of pg_dump and pg_restore.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    settings: Settings,
    *,
    directory: str,
    jobs: int,
    keep: int | None,
    tables: tuple[str, ...],
    hook: str | None,
    programs: str | None,
    as_json: bool,
) -> int:
    """Back the database up into DIRECTORY with pg_dump, and have pg_restore list it.

    What is interrupted leaves no file that looks whole. Exits 10 when there is no backup.
    """
    with running.migrating(settings) as migrator:
        report = migrator.backup(
            directory, jobs=jobs, keep=keep, tables=tables, hook=hook, programs=programs
        )
    if as_json:
        output.json_line(dataclasses.asdict(report))
        return 0
    point = f", restore point {report.restore_point} at {report.lsn}" if report.lsn else ""
    took = output.duration(report.seconds)
    output.line(f"automigrate: {report.path}: {report.size} bytes, verified ({took}){point}")
    return 0
