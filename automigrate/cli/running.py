"""Run one command: a `Migrator` that signals can stop, and an exit code for every end."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from automigrate import logs
from automigrate.cli import output, reports
from automigrate.cli.settings import EMBEDDED
from automigrate.cli.signals import stopped_by_signals
from automigrate.errors import AutomigrateError, ConfigurationError, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from automigrate.cli.settings import Settings
    from automigrate.migrator import Migrator
    from automigrate.verdict import UpgradeReport

__all__ = ["database_url", "exit_code", "migrating", "reported"]

BUG = 1


def exit_code(action: Callable[[], int], settings: Settings | None = None) -> int:
    """Return what a command ends with; whatever it raises is printed on stderr."""
    try:
        return action()
    except AutomigrateError as error:
        output.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        stopped = StoppedError()
        output.error(stopped)
        return stopped.exit_code
    except Exception as error:  # noqa: BLE001 -- the last border; a bug is told as a bug
        output.bug(error, _secrets(settings))
        return BUG


def reported(
    settings: Settings, call: Callable[[Migrator], UpgradeReport], *, as_json: bool = False
) -> int:
    """Make the call and print its report; both ways to run `upgrade` end here."""
    from automigrate.health.termination import default_termination_log, write_termination_log

    path = settings.termination_log or default_termination_log()
    try:
        with migrating(settings) as migrator, _health(settings, migrator):
            report = call(migrator)
    except BaseException as error:
        write_termination_log(path, error)
        raise
    write_termination_log(path, report)
    if as_json:
        output.json_line(reports.as_json(report))
    else:
        output.line(f"automigrate: {reports.summary(report)}")
    return 0


@contextlib.contextmanager
def migrating(settings: Settings) -> Iterator[Migrator]:
    """Make the `Migrator` of a command, logging to stderr and stopped by SIGTERM and Ctrl-C.

    On a terminal, its runs show what they do.
    """
    from automigrate.migrator import Migrator

    logs.configure(settings.log_format, settings.log_level)
    with database_url(settings) as url:
        migrator = Migrator(url, settings.scripts, **settings.options)
        with _progress(settings, migrator), stopped_by_signals(migrator, settings.grace):
            yield migrator


def _progress(settings: Settings, migrator: Migrator) -> contextlib.AbstractContextManager[object]:
    """Show runs on stderr, where it is a terminal and the log is for people."""
    log_format = settings.log_format or logs.default_format()
    if log_format != "console" or not output.redraws(sys.stderr):
        return contextlib.nullcontext()
    from automigrate.cli.progress import Progress

    progress = Progress()
    migrator.add_listener(progress)
    return progress.shown()


def _health(settings: Settings, migrator: Migrator) -> contextlib.AbstractContextManager[object]:
    """Answer probes while the command runs, where a port is named."""
    if settings.health_port is None:
        return contextlib.nullcontext()
    from automigrate.health.server import HealthServer

    return HealthServer(migrator, port=settings.health_port, host=settings.health_host)


@contextlib.contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """Give the URL of the database; `embedded:PATH` runs the wheel's server meanwhile.

    Raises:
        ConfigurationError: no database was named, or `embedded:` without its extra.
    """
    if not settings.url.startswith(EMBEDDED):
        yield settings.url
        return
    from automigrate import embedded

    path = settings.url.removeprefix(EMBEDDED)
    if not path:
        raise ConfigurationError("embedded: needs the path of a directory: embedded:PATH.")
    with embedded.use(path) as url:
        yield url


def _secrets(settings: Settings | None) -> frozenset[str]:
    from automigrate.database.url import DatabaseURL

    with contextlib.suppress(Exception):  # a URL that cannot be read connected to nothing
        if settings is not None and settings.database is not None:
            return DatabaseURL.parse(settings.database).secrets
    return frozenset()
