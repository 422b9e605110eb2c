"""`automigrate new`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import output
from automigrate.cli.local import as_json, local, project_of, tell_files, writes_lock

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings


@local(
    'automigrate new -m "fill in totals"',
    'automigrate new -m "add a view" --sql',
)
@click.option("-m", "--message", required=True, help="What it does; part of the file name.")
@click.option("--sql", is_flag=True, help="Add an .up.sql and a .down.sql, which it runs.")
@click.option("--rev-id", help="Its identifier.  [default: random]")
@click.option("--head", default="head", help="What it is built on.  [default: head]")
@click.option("--splice", is_flag=True, help="Allow a --head that is no head.")
@click.option("--branch-label", help="Label of the branch that begins with it.")
@click.option("--depends-on", multiple=True, help="Revision of another branch to apply before.")
@click.option("--version-path", help="Which of several version locations to write it to.")
@as_json
def command(
    settings: Settings,
    *,
    message: str,
    sql: bool,
    rev_id: str | None,
    head: str,
    splice: bool,
    branch_label: str | None,
    depends_on: tuple[str, ...],
    version_path: str | None,
    as_json: bool,
) -> int:
    """Write an empty revision, in Python or as a pair of SQL files. No database is needed."""
    from automigrate.workflow.revisions import new

    project = project_of(settings)
    files = new(
        project,
        message,
        sql=sql,
        rev_id=rev_id,
        head=head,
        splice=splice,
        branch_label=branch_label,
        depends_on=depends_on,
        version_path=version_path,
    )
    written = [project.relative(str(file)) for file in files]
    written += writes_lock(project.reread())
    if as_json:
        output.json_line({"files": written})
    else:
        tell_files(written)
    return 0
