"""`automigrate locks`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from automigrate.cli import output, running
from automigrate.cli.group import documented

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.cli.settings import Settings
    from automigrate.recovery.locks import LockState

__all__ = ["lines"]


@documented("automigrate locks", "automigrate locks --json")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def command(settings: Settings, *, as_json: bool) -> int:
    """Show who holds the migration lock, from where, since when, and what it waits for.

    Takes no lock and changes nothing. Of sessions of other roles PostgreSQL shows the statement
    only to members of pg_read_all_stats.
    """
    with running.migrating(settings) as migrator:
        state = migrator.locks()
    if as_json:
        output.json_line(dataclasses.asdict(state))
    else:
        for line in lines(state):
            output.line(line)
    return 0


def lines(state: LockState) -> Iterator[str]:
    """Render the state of the lock."""
    if state.holder is None:
        yield "holder: nobody"
    else:
        yield f"holder: {state.holder}"
        if state.user:
            yield f"role: {state.user}"
        if state.state:
            since = "" if state.seconds is None else f" for {output.duration(state.seconds)}"
            yield f"state: {state.state}{since}"
        if state.query:
            yield f"statement: {state.query}"
        if state.waits_for:
            yield f"waits for: {state.waits_for}"
        for blocker in state.blockers:
            yield f"blocked by: {blocker}"
    for waiter in state.waiters:
        yield f"also connected: {waiter}"
