"""`automigrate seed`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import output
from automigrate.cli.local import database_of, local, project_of
from automigrate.database.url import DatabaseURL
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@local("automigrate seed shop.fixtures:fill", required=("database_url",), also=("seed",))
@click.argument("function", required=False)
def command(settings: Settings, *, function: str | None) -> int:
    """Call the function that fills your own development database.

    FUNCTION is package.module:function; by default `seed` of [tool.automigrate]. It gets a
    SQLAlchemy Connection if it takes an argument, in a transaction that is committed at the end.
    """
    from automigrate.workflow.development import require_development
    from automigrate.workflow.reset import seed

    name = function or settings.seed
    if name is None:
        raise ConfigurationError("no function is named: automigrate seed package.module:function.")
    paths = project_of(settings).location.prepend_sys_path
    with database_of(settings) as given:
        url = DatabaseURL.parse(given)
        require_development(url, "seed")
        seed(url, name, paths=paths)
    output.line(f"automigrate: seeded by {name}")
    return 0
