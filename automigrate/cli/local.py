"""What the commands of local work and CI are made with: their flags, their project, their ends."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from automigrate.cli import output, running
from automigrate.cli.catalogue import BY_NAME
from automigrate.cli.group import configured
from automigrate.errors import ConfigurationError
from automigrate.options import SECTION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from sqlalchemy import MetaData

    from automigrate.cli.settings import Settings
    from automigrate.workflow.formats import Check
    from automigrate.workflow.project import Project
    from automigrate.workflow.rehearsal import Rehearsal
    from automigrate.workflow.scratch import Scratch

__all__ = [
    "as_json",
    "database_of",
    "interactive",
    "local",
    "metadata_of",
    "project_of",
    "rehearsal_on",
    "reported",
    "scratch_of",
    "tell_checks",
    "tell_files",
    "warn",
    "writes_lock",
]

OFFERED = (
    "database_url",
    "migration_url",
    "script_location",
    "config",
    "ini_section",
    "x_arguments",
    "version_table",
    "version_table_schema",
    "models",
    "scratch",
    "timeout",
    "connect_timeout",
    "log_format",
    "log_level",
)


def local(
    *examples: str, required: Sequence[str] = (), also: Sequence[str] = ()
) -> Callable[[Callable[..., int]], click.Command]:
    """Make a command of local work.

    Args:
        *examples: for its help.
        required: settings without which it cannot work.
        also: settings that it has flags for, besides the usual ones.
    """
    offered = tuple(BY_NAME[name] for name in dict.fromkeys((*OFFERED, *also)))
    return partial(configured, required=required, offered=offered, examples=examples)


as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def reported(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of a report of checks: `form`, `to` and `strict`."""
    options = (
        click.option(
            "--format",
            "form",
            type=click.Choice(["text", "json", "github", "sarif", "junit"]),
            default="text",
            show_default=True,
            help="Of the report.",
        ),
        click.option(
            "--output", "to", type=click.Path(dir_okay=False), help="File to write the report to."
        ),
        click.option("--strict", is_flag=True, help="Warnings fail, too."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def tell_checks(checks: Sequence[Check], form: str, to: str | None, *, strict: bool) -> int:
    """Write a report of checks and return the exit code: 3 when one failed.

    A report that goes to a file is also printed as text.
    """
    from automigrate.errors import ScriptError
    from automigrate.workflow.formats import render

    text = render(checks, form)
    if to is not None:
        Path(to).write_text(f"{text}\n", encoding="utf-8")
        text = render(checks, "text")
    if text:
        output.line(text)
    failed = any(check.failed or (strict and check.warned) for check in checks)
    return ScriptError.exit_code if failed else 0


def interactive() -> bool:
    """Whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty() and not _in_ci()


def project_of(settings: Settings) -> Project:
    """Find the project of a command.

    Raises:
        ConfigurationError: none is named or found.
        ScriptError: its scripts cannot be used.
    """
    from automigrate.workflow.project import open_project

    return open_project(
        settings.scripts,
        settings.options.get("config"),
        ini_section=settings.options.get("ini_section") or SECTION,
    )


def metadata_of(settings: Settings, project: Project) -> tuple[MetaData, ...] | None:
    """Import the models, if they are named; otherwise env.py has to bring them.

    Raises:
        ConfigurationError: nothing names models.
    """
    from automigrate.workflow.models import load_models

    if settings.models is not None:
        return load_models(settings.models, paths=project.location.prepend_sys_path)
    if project.location.env_file is None:
        raise ConfigurationError(
            "no models are named: give --models package.module:Base, or set models in "
            "[tool.automigrate] of pyproject.toml."
        )
    return None


def scratch_of(settings: Settings) -> AbstractContextManager[Scratch]:
    """Give the scratch server of a command."""
    from automigrate.workflow.scratch import scratch

    return scratch(settings.scratch, settings.database)


def database_of(settings: Settings) -> AbstractContextManager[str]:
    """Give the URL of the command's database."""
    return running.database_url(settings)


def rehearsal_on(scratch: Scratch, settings: Settings, project: Project, **more: Any) -> Rehearsal:
    """Make a rehearsal on a new scratch database."""
    from automigrate.workflow.rehearsal import Rehearsal

    given: dict[str, Any] = {
        name: settings.options[name]
        for name in ("version_table", "version_table_schema", "x_arguments")
        if settings.options.get(name)
    }
    return Rehearsal(project, scratch.database(), **given, **more)


def writes_lock(project: Project) -> Iterator[str]:
    """Bring the lock file up to date, and tell it."""
    from automigrate.scripts.lockfile import NAME

    if project.update_lock():
        yield project.relative(str(project.location.directory / NAME))


def warn(texts: Iterable[str]) -> None:
    """Print warnings on stderr."""
    for text in texts:
        click.echo(f"automigrate: warning: {text}", err=True)


def tell_files(files: Sequence[str]) -> None:
    """Name the files that were written."""
    for file in files:
        output.line(f"wrote {file}")


def _in_ci() -> bool:
    """Whether this is a CI job, where nobody answers."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}
