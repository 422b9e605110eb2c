"""`automigrate baseline`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from automigrate.cli import completing, output, running
from automigrate.cli.group import documented
from automigrate.database.url import is_embedded
from automigrate.errors import SchemaMismatchError, names
from automigrate.workflow.scratch import ScratchPlace, scratch

if TYPE_CHECKING:
    from automigrate import Migrator
    from automigrate.cli.settings import Settings


@documented("automigrate baseline", "automigrate baseline 3f2a --scratch embedded")
@click.argument("revision", default="head", shell_complete=completing.revisions)
@click.option(
    "--scratch",
    "place",
    type=click.Choice([place.value for place in ScratchPlace]),
    default=ScratchPlace.SERVER.value,
    show_default=True,
    help="Where the revision is built for the comparison.",
)
@click.option("--accept-differences", is_flag=True, help="Record the revision even so.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    settings: Settings, *, revision: str, place: str, accept_differences: bool, as_json: bool
) -> int:
    """Adopt a database that has tables but no version table.

    Builds REVISION in a scratch database, compares the schemas and records the revision when they
    are equal. Exits 6 and shows the differences when they are not.
    """
    with (
        running.migrating(settings) as migrator,
        scratch(place, server_of(settings, migrator)) as places,
    ):
        report = migrator.baseline(
            revision, places.database(), accept_differences=accept_differences
        )
    if as_json:
        output.json_line(dataclasses.asdict(report))
        return 0 if report.stamped else SchemaMismatchError.exit_code
    for line in report.differences:
        output.line(line)
    if not report.stamped:
        count = sum(line[:1] in {"+", "-"} for line in report.differences) - 2
        output.error(
            SchemaMismatchError(
                current=(),
                wanted=report.heads,
                detail=f"{count} {'line differs' if count == 1 else 'lines differ'}; nothing was "
                "recorded (--accept-differences does)",
            )
        )
        return SchemaMismatchError.exit_code
    output.line(f"automigrate: the database is adopted at {names(report.heads)}")
    return 0


def server_of(settings: Settings, migrator: Migrator) -> str | None:
    """Return the URL of the database's server, also where that is the embedded one."""
    if not is_embedded(settings.url):
        return settings.url
    url = migrator.source.url
    return None if url is None else url.conninfo()
