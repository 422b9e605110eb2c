"""`automigrate upgrade`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import running
from automigrate.cli.group import documented

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@documented(
    "automigrate upgrade --database-url postgresql://shop@db/shop",
    "automigrate upgrade --target 3f2a --lock-timeout 2s --json",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(settings: Settings, *, as_json: bool) -> int:
    """Bring the schema to the revision the code needs, and wait while another process does.

    Nothing pending: one connection, one query, no lock. Exits 0 when the schema is right.
    """
    return running.reported(settings, lambda migrator: migrator.upgrade(), as_json=as_json)
