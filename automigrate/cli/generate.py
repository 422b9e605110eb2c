"""`automigrate generate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import output
from automigrate.cli.local import (
    as_json,
    interactive,
    local,
    metadata_of,
    project_of,
    rehearsal_on,
    scratch_of,
    tell_files,
    warn,
    writes_lock,
)

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings
    from automigrate.workflow.renames import Candidate


@local(
    'automigrate generate -m "add totals" --models shop.models:Base',
    'automigrate generate -m "full names" --rename users.name:full_name',
)
@click.option("-m", "--message", required=True, help="What it does; part of the file name.")
@click.option(
    "--rename",
    "renames",
    multiple=True,
    metavar="OLD:NEW",
    help="A table, a table.column or an enum's type.value that has a new name; may be repeated.",
)
@click.option(
    "--drop", "drops", multiple=True, help="What looks renamed and is really gone; may be repeated."
)
@click.option(
    "--plain", is_flag=True, help="Leave Alembic's proposal as it is: one revision, full locks."
)
@click.option("--rev-id", help="Identifier of the (first) revision.  [default: random]")
@click.option("--head", default="head", help="What it is built on.  [default: head]")
@as_json
def command(
    settings: Settings,
    *,
    message: str,
    renames: tuple[str, ...],
    drops: tuple[str, ...],
    plain: bool,
    rev_id: str | None,
    head: str,
    as_json: bool,
) -> int:
    """Write the revision that brings the scripts' schema to the models.

    The scripts run on a scratch database, and what is missing there is written: your own database
    is not looked at. What may be a rename is asked for on a terminal and refused elsewhere, unless
    --rename or --drop says it. On existing tables the safe forms are written (indexes
    CONCURRENTLY; NOT NULL, checks and foreign keys in two steps), as further revisions.
    """
    from automigrate.workflow import comparison
    from automigrate.workflow.answers import Answers
    from automigrate.workflow.generate import generate
    from automigrate.workflow.revisions import require_head

    asking = interactive() and not as_json
    answers = Answers(renames, drops, ask_rename if asking else None)
    project = project_of(settings)
    require_head(project, head)
    models = metadata_of(settings, project)
    with scratch_of(settings) as scratch:
        rehearsal = rehearsal_on(
            scratch, settings, project, models=models, configured=comparison.configured()
        )
        made = generate(
            project,
            rehearsal,
            message,
            answers=answers,
            safe=not plain,
            rev_id=rev_id,
            head=head,
        )
    written = [project.relative(str(file)) for file in made.files]
    written += writes_lock(project.reread()) if written else ()
    if as_json:
        output.json_line(
            {
                "files": written,
                "revisions": made.revisions,
                "operations": made.operations,
                "losses": made.losses,
                "warnings": made.warnings,
            }
        )
        return 0
    for operation in made.operations:
        output.line(f"  {operation}")
    warn(f"loses data: it {loss}." for loss in made.losses)
    warn(made.warnings)
    tell_files(written)
    if not written:
        same = "" if made.warnings else ": scripts and models make the same schema"
        output.line(f"automigrate: nothing to write{same}")
    return 0


def ask_rename(candidate: Candidate) -> str | None:
    """Ask the person at the terminal."""
    click.echo(f"{candidate.kind} {candidate.new} is new. Is it", err=True)
    click.echo("  0: created", err=True)
    for number, old in enumerate(candidate.old, 1):
        click.echo(f"  {number}: renamed from {old}", err=True)
    chosen = click.prompt("Number", type=click.IntRange(0, len(candidate.old)), err=True)
    return candidate.old[chosen - 1] if chosen else None
