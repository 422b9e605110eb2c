"""`automigrate merge`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import output
from automigrate.cli.local import as_json, local, project_of, tell_files, writes_lock
from automigrate.errors import names

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@local("automigrate merge", 'automigrate merge -m "orders and invoices"')
@click.option("-m", "--message", help="What is merged.  [default: the heads]")
@click.option("--rev-id", help="Identifier of the merge.  [default: random]")
@as_json
def command(settings: Settings, *, message: str | None, rev_id: str | None, as_json: bool) -> int:
    """Bring several heads into one line, and the lock file up to date.

    Also the way out of a conflict of git in automigrate.lock. No database is needed.
    """
    from automigrate.workflow.revisions import merge

    project = project_of(settings)
    file = merge(project, message, rev_id)
    written = [] if file is None else [project.relative(str(file))]
    after = project.reread()
    written += writes_lock(after)
    if as_json:
        output.json_line({"files": written, "heads": after.graph.heads})
        return 0
    tell_files(written)
    if file is None:
        output.line(f"automigrate: nothing to merge: the head is {names(project.graph.heads)}")
    else:
        output.line(f"automigrate: {names(after.graph.heads)} joins {names(project.graph.heads)}")
    return 0
