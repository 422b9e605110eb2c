"""`automigrate diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import output
from automigrate.cli.local import as_json, database_of, local, metadata_of, project_of, warn
from automigrate.database.url import DatabaseURL

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings

DIFFERENT = 6


@local(
    "automigrate diff --database-url postgresql:///shop",
    "automigrate diff --exit-code",
    required=("database_url",),
)
@click.option("--exit-code", is_flag=True, help="End with 6 when there are differences.")
@as_json
def command(settings: Settings, *, exit_code: bool, as_json: bool) -> int:
    """Show what the models have and the database has not, and the other way round.

    Whatever the database's revision is, and without changing anything in it.
    """
    from automigrate.workflow.live import differences

    project = project_of(settings)
    models = metadata_of(settings, project)
    with database_of(settings) as url:
        seen = differences(project, DatabaseURL.parse(url), models)
    found = seen.found
    warn(seen.uncompared)
    if as_json:
        output.json_line({"differences": found})
    else:
        for difference in found:
            output.line(difference)
        if not found:
            output.line("automigrate: no difference between models and database")
    return DIFFERENT if found and exit_code else 0
