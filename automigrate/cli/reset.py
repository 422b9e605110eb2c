"""`automigrate reset`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import output, reports, running
from automigrate.cli.local import as_json, database_of, interactive, local, project_of
from automigrate.database.url import DatabaseURL
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@local(
    "automigrate reset --database-url embedded:.postgres",
    "automigrate reset --yes --seed shop.fixtures:fill",
    required=("database_url",),
    also=("seed",),
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask for the name of the database.")
@as_json
def command(settings: Settings, *, yes: bool, as_json: bool) -> int:
    """Empty your own development database, run all revisions, and seed it.

    You type the name of the database, or say --yes. A database that others use is refused, as its
    journal tells. Extensions stay.
    """
    from automigrate.workflow.development import require_development
    from automigrate.workflow.reset import empty, seed

    paths = project_of(settings).location.prepend_sys_path
    with running.migrating(settings) as migrator, database_of(settings) as given:
        url = DatabaseURL.parse(given)
        require_development(url, "reset")
        if not yes:
            _ask_for_the_name(url)
        empty(url)
        report = migrator.upgrade()
        if settings.seed is not None:
            seed(url, settings.seed, paths=paths)
    if as_json:
        output.json_line({**reports.as_json(report), "seed": settings.seed})
    else:
        seeded = f", seeded by {settings.seed}" if settings.seed else ""
        output.line(f"automigrate: {reports.summary(report)}{seeded}")
    return 0


def _ask_for_the_name(url: DatabaseURL) -> None:
    name = url.parameters.get("dbname", "")
    if not interactive():
        raise ConfigurationError("nobody can be asked here: say --yes to empty the database.")
    typed = click.prompt(f"This empties {url.describe()}. Type its name", err=True)
    if typed != name:
        raise ConfigurationError(f"{typed!r} is not its name; nothing was changed.")
