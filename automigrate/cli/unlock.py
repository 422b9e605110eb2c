"""`automigrate unlock`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from automigrate.cli import output, running
from automigrate.cli.group import documented
from automigrate.cli.locks import lines
from automigrate.errors import RecoveryError

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@documented("automigrate unlock")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(settings: Settings, *, yes: bool, as_json: bool) -> int:
    """End the session that holds the migration lock, after showing it and asking.

    The revision it is at is rolled back, as far as it is transactional; the journal tells the rest.
    A killed process needs no unlocking: its lock frees itself. Needs the role of that session, or
    pg_signal_backend. Exits 0 when the lock is free, 10 when nobody can be asked.
    """
    with running.migrating(settings) as migrator:
        state = migrator.locks()
        for line in () if as_json else lines(state):
            output.line(line)
        if state.holder is None:
            if as_json:
                output.json_line({"holder": None, "ended": False})
            return 0
        if not yes and not _asked(state.holder.pid):
            raise RecoveryError("not confirmed; nothing was done.")
        ended = migrator.unlock(state.holder.pid)
    if as_json:
        output.json_line({"holder": state.holder.pid, "ended": ended})
        return 0
    done = "was ended" if ended else "had let go of the lock already"
    output.line(f"automigrate: backend {state.holder.pid} {done}")
    return 0


def _asked(pid: int) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise RecoveryError(
            "nobody can be asked, because the input is no terminal; nothing was done. Look with "
            "`automigrate locks`, and confirm with --yes."
        )
    return click.confirm(f"End backend {pid}?", err=True)
