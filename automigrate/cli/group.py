"""The click group, and what a command is made with.

A command is a module in this package with a click command called `command`, and a line in
`COMMANDS`. Its module is imported when it is run, never for the others:

    @documented("automigrate something --all")
    @click.option("--all", "everything", is_flag=True, help="…")
    def command(settings: Settings, *, everything: bool) -> int: ...
"""

from __future__ import annotations

import importlib
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from automigrate import __version__
from automigrate.cli import running
from automigrate.cli.catalogue import BY_NAME, SETTINGS, Kind
from automigrate.cli.completing import completion_of
from automigrate.cli.settings import resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from automigrate.cli.catalogue import Setting
    from automigrate.cli.settings import Flags

__all__ = ["COMMANDS", "COMPLETING", "configured", "documented", "flags_of", "main"]

COMPLETING = "_AUTOMIGRATE_COMPLETE"
"""Set by a shell that asks for completions; see `automigrate completion`."""

COMMANDS: dict[str, tuple[str, str]] = {
    "backup": ("automigrate.cli.backup", "Back the database up, verified."),
    "baseline": (
        "automigrate.cli.baseline",
        "Compare an unmanaged database with a revision, and adopt it.",
    ),
    "check": ("automigrate.cli.check", "Judge the schema once; exit 0 only if the code may serve."),
    "completion": ("automigrate.cli.completion", "Print the shell's completion script."),
    "diff": ("automigrate.cli.diff", "Show what the models have and the database has not."),
    "generate": ("automigrate.cli.generate", "Write the revision that brings it to the models."),
    "history": ("automigrate.cli.history", "Show the revisions, and what is applied of them."),
    "init": ("automigrate.cli.init", "Set a project up, or adopt an Alembic project."),
    "lock": ("automigrate.cli.lock", "Write automigrate.lock: heads and checksums of the scripts."),
    "locks": ("automigrate.cli.locks", "Show who holds the migration lock, and why it waits."),
    "merge": ("automigrate.cli.merge", "Bring several heads into one line."),
    "new": ("automigrate.cli.new", "Write an empty revision, in Python or as SQL files."),
    "plan": ("automigrate.cli.plan", "Show the SQL of what is pending, and the locks it takes."),
    "pull": ("automigrate.cli.pull", "Write models and a first revision for a database."),
    "push": ("automigrate.cli.push", "Bring a development database to the models."),
    "repair": ("automigrate.cli.repair", "Settle a revision that was interrupted."),
    "reset": ("automigrate.cli.reset", "Empty a development database and build it anew."),
    "restore": ("automigrate.cli.restore", "Bring the database back to a backup."),
    "rollback": ("automigrate.cli.rollback", "Undo revisions, also those of a newer release."),
    "seed": ("automigrate.cli.seed", "Fill a development database."),
    "show": ("automigrate.cli.show", "Show one revision."),
    "stamp": ("automigrate.cli.stamp", "Record a revision without running anything."),
    "status": ("automigrate.cli.status", "Show how the schema relates to the code."),
    "unlock": ("automigrate.cli.unlock", "End the session that holds the migration lock."),
    "upgrade": ("automigrate.cli.upgrade", "Bring the schema to the revision the code needs."),
    "verify": ("automigrate.cli.verify", "See on a scratch database which locks DDL takes."),
    "wait": ("automigrate.cli.wait", "Wait until another process has brought it there."),
}
"""Name → module and summary; the command is what the module calls `command`."""


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and lists all without importing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module, _ = COMMANDS[cmd_name]
        command = importlib.import_module(module).command
        assert isinstance(command, click.Command)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="automigrate")
def root() -> None:
    """Run Alembic migrations on PostgreSQL: once across all replicas, before the app serves.

    Every option of a command can also be set in the environment, as AUTOMIGRATE_ and its name in
    capitals, or in [tool.automigrate] of pyproject.toml, in this order of precedence.
    """


def configured(
    function: Callable[..., int],
    *,
    required: Collection[str] = ("database_url",),
    offered: Collection[Setting] = SETTINGS,
    examples: Collection[str] = (),
) -> click.Command:
    """Make a command that takes the shared settings as its first argument.

    Args:
        function: takes `Settings`, and its own options as keywords; returns the exit code.
        required: settings without which it cannot work.
        offered: the shared settings that it has flags for.
        examples: command lines for the end of its help.
    """

    def invoke(**given: Any) -> int:
        settings = resolve(flags_of(given), required=required)
        return running.exit_code(lambda: function(settings, **given), settings)

    own = list(getattr(function, "__click_params__", ()))
    shared = [_option(setting) for setting in offered]
    shown = "".join(f"\n  {example}" for example in examples)
    return click.Command(
        name=None,
        callback=invoke,
        params=[*reversed(own), *shared],
        help=function.__doc__,
        epilog=f"\b\nExamples:{shown}" if examples else None,
    )


def documented(*examples: str) -> Callable[[Callable[..., int]], click.Command]:
    """Make a command as `configured` does, with examples at the end of its help."""
    return partial(configured, examples=examples)


def flags_of(given: dict[str, Any]) -> Flags:
    """Take the shared settings that were given out of a command's parameters."""
    taken = {name: given.pop(name) for name in BY_NAME if name in given}
    return {name: value for name, value in taken.items() if value not in (None, ())}


def _option(setting: Setting) -> click.Option:
    names = [setting.name, setting.flag, *filter(None, [setting.short])]
    metavar = f"[{'|'.join(setting.choices)}]" if setting.choices else setting.kind.value
    return click.Option(
        names,
        help=setting.help,
        metavar=metavar,
        multiple=setting.kind is Kind.REPEATED,
        shell_complete=completion_of(setting),
    )


def main(arguments: Sequence[str]) -> int:
    """Read the arguments with click, run the command, return its exit code."""
    if not arguments and COMPLETING not in os.environ:
        click.echo(root.get_help(click.Context(root, info_name="automigrate")), err=True)
        return 2
    try:
        code = root.main(list(arguments), prog_name="automigrate", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort as error:
        raise KeyboardInterrupt from error
    return code if isinstance(code, int) else 0
