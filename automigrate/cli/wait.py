"""`automigrate wait`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import running
from automigrate.cli.group import documented

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@documented("automigrate wait --timeout 10m")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(settings: Settings, *, as_json: bool) -> int:
    """Wait until the schema is right, and never change it.

    For init containers beside a Job that migrates. Exits 6 if it is not right within --timeout.
    """
    return running.reported(settings, lambda migrator: migrator.wait(), as_json=as_json)
