"""`automigrate status`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from automigrate.cli import output, reports, running
from automigrate.cli.group import documented

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings
    from automigrate.verdict import Status


@documented("automigrate status", "automigrate status --json")
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON.")
def command(settings: Settings, *, as_json: bool) -> int:
    """Show how the schema relates to the code: verdict, heads, what is pending, who migrates.

    Exits 0 whatever the verdict is; `automigrate check` judges.
    """
    with running.migrating(settings) as migrator:
        status = migrator.status()
    if as_json:
        output.json_line(reports.as_json(status))
    elif output.on_terminal(sys.stdout):
        output.line(_table(status))
    else:
        for name, text in reports.status_rows(status):
            output.line(f"{name}: {text}")
    return 0


def _table(status: Status) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    colour = "green" if status.serves else "yellow" if status.pending else "red"
    for name, text in reports.status_rows(status):
        table.add_row(Text(name, "dim"), Text(text, f"bold {colour}" if name == "verdict" else ""))
    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")
