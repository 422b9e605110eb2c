"""`automigrate rollback`."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

import click

from automigrate.cli import completing, output, running
from automigrate.cli.group import documented
from automigrate.errors import ConfigurationError, RollbackRefusedError, names

if TYPE_CHECKING:
    from automigrate.cli.settings import Settings
    from automigrate.verdict import DowngradeReport, RollbackPlan, RollbackStep


@documented(
    "automigrate rollback --plan",
    "automigrate rollback --to 3f2a",
    "automigrate rollback --to-code --yes",
)
@click.option(
    "--to",
    "revision",
    metavar="REVISION",
    help="Undo all that stands on it; or base.",
    shell_complete=completing.revisions,
)
@click.option("--steps", type=click.IntRange(min=1), help="Undo so many revisions.  [default: 1]")
@click.option(
    "--to-code",
    is_flag=True,
    help="Undo what a newer release applied, down to the heads of this code.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--allow-data-loss", is_flag=True, help="Destroy the data that the plan names.")
@click.option("--plan", "plan_only", is_flag=True, help="Show the plan, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print plan or report as JSON.")
def command(
    settings: Settings,
    *,
    revision: str | None,
    steps: int | None,
    to_code: bool,
    yes: bool,
    allow_data_loss: bool,
    plan_only: bool,
    as_json: bool,
) -> int:
    """Undo revisions, newest first, each in a transaction of its own.

    Shows what would be undone and lost, with the SQL, and asks. Nothing is undone when one of the
    revisions cannot be. Exits 10 when it refuses.
    """
    target = _target(revision, steps, to_code=to_code)

    def confirm(plan: RollbackPlan) -> bool:
        if not as_json:
            show(plan)
        return yes or _asked(plan)

    with running.migrating(settings) as migrator:
        if plan_only:
            plan = migrator.downgrade_plan(target)
            if as_json:
                output.json_line(dataclasses.asdict(plan))
            else:
                show(plan)
            return 0
        report = migrator.downgrade(target, allow_data_loss=allow_data_loss, confirm=confirm)
    if as_json:
        output.json_line(dataclasses.asdict(report))
    else:
        output.line(f"automigrate: {summary(report)}")
    return 0


def show(plan: RollbackPlan) -> None:
    """Print what a rollback would do."""
    at = f"{names(plan.current)} -> {names(plan.target)}"
    output.line(f"rollback: {at}")
    for step in plan.steps:
        for line in _lines(step):
            output.line(line)


def summary(report: DowngradeReport) -> str:
    """Say in one line what a rollback did."""
    at = f"the schema is at {names(report.heads)} ({output.duration(report.seconds)})"
    if not report.reverted:
        return f"nothing to undo: {at}"
    count = len(report.reverted)
    return f"undid {count} {'revision' if count == 1 else 'revisions'}: {at}"


def _lines(step: RollbackStep) -> list[str]:
    source = ", by the SQL that its release kept" if step.recorded else ""
    lines = [f"  {step.revision}{source}{f': {step.message}' if step.message else ''}"]
    if step.irreversible:
        lines.append(f"    CANNOT BE UNDONE: {step.obstacle}")
    elif step.sql is None:
        lines.append(f"    its SQL is not known beforehand: {step.obstacle}")
    elif not step.sql:
        lines.append("    does nothing")
    else:
        lines.extend(f"    {line}" for line in step.sql.splitlines() if line.strip())
    lines.extend(f"    DATA LOSS: {loss}" for loss in step.losses)
    return lines


def _target(revision: str | None, steps: int | None, *, to_code: bool) -> str | None:
    if sum((revision is not None, steps is not None, to_code)) > 1:
        raise ConfigurationError("--to, --steps and --to-code exclude each other; give one.")
    if to_code:
        return None
    return revision if revision is not None else f"-{steps or 1}"


def _asked(plan: RollbackPlan) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise RollbackRefusedError(
            "nobody can be asked, because the input is no terminal",
            remedy="Look at the plan with --plan, and confirm with --yes.",
        )
    count = len(plan.steps)
    return click.confirm(f"Undo {count} {'revision' if count == 1 else 'revisions'}?", err=True)
