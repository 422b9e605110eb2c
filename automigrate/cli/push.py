"""`automigrate push`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from automigrate.cli import output
from automigrate.cli.generate import ask_rename
from automigrate.cli.local import (
    as_json,
    database_of,
    interactive,
    local,
    metadata_of,
    project_of,
    warn,
)
from automigrate.database.url import DatabaseURL
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings
    from automigrate.workflow.live import Pushed


@local(
    "automigrate push --database-url embedded:.postgres",
    "automigrate push --yes --rename users.name:full_name",
    required=("database_url",),
)
@click.option("--rename", "renames", multiple=True, metavar="OLD:NEW", help="As in `generate`.")
@click.option("--drop", "drops", multiple=True, help="As in `generate`.")
@click.option("--force", is_flag=True, help="Although data is lost.")
@click.option("--dry-run", is_flag=True, help="Show the SQL only.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@as_json
def command(
    settings: Settings,
    *,
    renames: tuple[str, ...],
    drops: tuple[str, ...],
    force: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Bring your own development database to the models, without a revision.

    Shows the SQL and asks before it runs it. Refuses a database that others use (its journal tells)
    and, without --force, to lose data. Revisions are for everything else: `generate`, `upgrade`.
    """
    from automigrate.workflow.answers import Answers
    from automigrate.workflow.live import push

    asking = interactive() and not as_json
    answers = Answers(renames, drops, ask_rename if asking else None)

    def confirm(pushed: Pushed) -> bool:
        if not as_json:
            for statement in pushed.statements:
                output.line(f"{statement};")
            warn(f"loses data: it {loss}." for loss in pushed.losses)
        if dry_run or yes:
            return not dry_run
        if not asking:
            raise ConfigurationError("nobody can be asked here: say --yes, or --dry-run.")
        return click.confirm("Run this?", err=True)

    project = project_of(settings)
    models = metadata_of(settings, project)
    with database_of(settings) as url:
        done = push(
            project,
            DatabaseURL.parse(url),
            models,
            answers=answers,
            force=force or dry_run,
            confirm=confirm,
        )
    warn(done.warnings)
    if as_json:
        output.json_line(
            {
                "statements": done.statements,
                "losses": done.losses,
                "warnings": done.warnings,
                "applied": done.applied,
            }
        )
    elif done.applied:
        count = len(done.statements)
        output.line(f"automigrate: pushed {count} statement{'' if count == 1 else 's'}")
    elif not done.statements:
        nothing = "nothing to run" if done.warnings else "no difference between models and database"
        output.line(f"automigrate: {nothing}")
    return 0
