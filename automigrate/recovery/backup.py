"""Back up a database with pg_dump: verified before it counts, complete or not there.

A backup is written under a name that says it is unfinished, listed by pg_restore, made durable and
only then renamed. Whatever interrupts it leaves no file that looks whole.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from automigrate.errors import BackupError, StoppedError, names
from automigrate.options import BackupScope
from automigrate.recovery import manifest as manifests
from automigrate.recovery.scope import rendered, tables_touched, with_children
from automigrate.recovery.tools import tools_for
from automigrate.verdict import BackupReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automigrate.database.session import Look, Session
    from automigrate.recovery.tools import Tools
    from automigrate.run import Run

__all__ = ["BackupOptions", "back_up", "backup_before", "backup_before_upgrade"]

UNFINISHED = ".unfinished"
STALE_SECONDS = 24 * 3600.0

RESTORE_POINT = "select pg_create_restore_point(%s)::text"
LONGEST_RESTORE_POINT = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupOptions:
    """How a backup is made."""

    directory: str | None = None
    """Where it goes; `None`: no file, only what the hook does."""
    jobs: int = 1
    """Parallel dumps; more than one writes a directory instead of a file."""
    keep: int | None = None
    """How many backups of this database stay; `None`: all."""
    tables: tuple[str, ...] = ()
    """Limit it to these; empty: everything."""
    hook: str | None = None
    """A command whose success is required, such as one that takes a snapshot of the volume."""
    programs: str | None = None
    """Directory of pg_dump and pg_restore, where they are not found."""


def back_up(run: Run, options: BackupOptions) -> BackupReport:
    """Make a backup; takes no lock, as pg_dump sees one moment of the database.

    Raises:
        BackupError: it could not be made or verified; nothing is left that looks like one.
        ConfigurationError: pg_dump of the server's version is missing.
        AutomigrateError: no connection.
    """
    run.read_scripts()
    return run.until_settled(lambda session, look: backup_under_lock(run, session, look, options))


def backup_under_lock(
    run: Run, session: Session, look: Look, options: BackupOptions
) -> BackupReport:
    """Make a backup beside a session that may hold the lock; see `back_up`."""
    started = time.monotonic()
    options = replace(options, tables=with_children(session, options.tables))
    name = _name(session, look)
    _call_hook(run, look, options.hook)
    point, lsn = _restore_point(session, name)
    if options.directory is None:
        return BackupReport(
            path="",
            heads=tuple(sorted(look.heads)),
            restore_point=point,
            lsn=lsn,
            seconds=time.monotonic() - started,
        )
    directory = _directory(options.directory)
    tools = tools_for(run.source, run.control, directory=options.programs)
    path = directory / (f"{name}.dir" if options.jobs > 1 else f"{name}.dump")
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        _dump(tools, unfinished, options)
        _verify(tools, unfinished, options.tables)
        size = _make_durable(unfinished)
        report = BackupReport(
            path=str(path),
            heads=tuple(sorted(look.heads)),
            size=size,
            restore_point=point,
            lsn=lsn,
            tables=options.tables,
            seconds=time.monotonic() - started,
        )
        created = datetime.now(UTC).isoformat(timespec="seconds")
        manifests.write(path, session.connection.info, report, created)
        unfinished.rename(path)
        _sync_directory(directory)
    except OSError as error:
        raise BackupError(reason=f"the backup cannot be written: {error}") from error
    finally:
        _remove(unfinished)
    _thin_out(directory, _prefix(session), options.keep)
    return report


def backup_before_upgrade(run: Run, session: Session, look: Look, pending: Sequence[str]) -> str:
    """Make the backup that the options require before revisions are applied.

    Raises:
        BackupError: there is none, so nothing may be changed.
    """

    def scripts() -> list[str | None]:
        return [way.sql for way in rendered(run, pending, "upgrade").values()]

    return backup_before(run, session, look, scripts)


def backup_before(
    run: Run, session: Session, look: Look, scripts: Callable[[], Sequence[str | None]]
) -> str:
    """Make the backup that the options require before anything is applied or undone.

    Under the lock, once a call: a session that was lost meanwhile does not make it again.

    Args:
        run: the call.
        session: holds the lock.
        look: what was seen on it.
        scripts: returns the SQL that will run, `None` where it is not known; asked for only where
            the backup is to hold no more than what is touched.

    Returns:
        Where it is; empty where a hook made one, or where nothing that exists is touched.

    Raises:
        BackupError: there is none, so nothing may be changed.
    """
    if run.backup is not None:
        return run.backup
    tables: tuple[str, ...] | None = None
    if run.options.backup_scope is BackupScope.TOUCHED:
        tables = tables_touched(session, scripts())
    options = BackupOptions(
        directory=None if tables == () else run.options.backup,
        keep=run.options.backup_keep,
        hook=run.options.backup_hook,
        tables=tables or (),
    )
    report = backup_under_lock(run, session, look, options)
    run.restore_point = (report.restore_point, report.lsn)
    return report.path


def _dump(tools: Tools, path: Path, options: BackupOptions) -> None:
    arguments = [f"--file={path}"]
    if options.jobs > 1:
        arguments += ["--format=directory", f"--jobs={options.jobs}"]
    else:
        arguments += ["--format=custom"]
    arguments += [f"--table={table}" for table in options.tables]
    tools.run("pg_dump", *arguments)


def _verify(tools: Tools, path: Path, tables: Sequence[str]) -> None:
    """Have pg_restore read the whole table of contents.

    Raises:
        BackupError: it cannot, or tables that were asked for are missing.
    """
    listed = tools.run("pg_restore", "--list", str(path), online=False)
    entries = [line for line in listed.splitlines() if line and not line.startswith(";")]
    if tables and not any(" TABLE DATA " in line for line in entries):
        raise BackupError(reason=f"the backup holds none of {names(tables)}")


def _make_durable(path: Path) -> int:
    files = [path] if path.is_file() else [found for found in path.rglob("*") if found.is_file()]
    size = 0
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
        size += file.stat().st_size
    if path.is_dir():
        _sync_directory(path)
    return size


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _restore_point(session: Session, name: str) -> tuple[str | None, str | None]:
    """Name this moment in the write-ahead log, where the role may."""
    short = name.encode()[:LONGEST_RESTORE_POINT].decode(errors="ignore")
    try:
        row = session.connection.execute(RESTORE_POINT, (short,)).fetchone()
    except psycopg.Error:  # not permitted, or wal_level is minimal
        if session.broken:
            raise
        return None, None
    return (short, row[0]) if row is not None else (None, None)


def _call_hook(run: Run, look: Look, hook: str | None) -> None:
    """Run the hook.

    Raises:
        BackupError: it failed or does not exist.
        StoppedError: a stop was asked for; the hook was ended.
    """
    if hook is None:
        return
    database = "" if run.source.url is None else run.source.url.redacted
    environment = {
        **os.environ,
        "AUTOMIGRATE_HOOK_DATABASE": database,
        "AUTOMIGRATE_HOOK_HEADS": " ".join(sorted(look.heads)),
    }
    try:
        command = shlex.split(hook)
        process = subprocess.Popen(command, env=environment)  # noqa: S603 - the user's own command
    except (OSError, ValueError, IndexError) as error:
        raise BackupError(reason=f"the backup hook {hook!r} cannot be run: {error}") from error
    while process.poll() is None:
        run.control.sleep(0.1)
        if run.control.stopping:
            process.kill()
            process.wait()
            raise StoppedError
    if process.returncode != 0:
        raise BackupError(
            reason=f"the backup hook {hook!r} ended with {process.returncode}",
            remedy="Nothing was changed in the database.",
        )


def _directory(path: str) -> Path:
    directory = Path(path)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BackupError(reason=f"the backup directory cannot be used: {error}") from error
    return directory


def _prefix(session: Session) -> str:
    return re.sub(r"[^\w.-]", "_", session.connection.info.dbname) + "-"


def _name(session: Session, look: Look) -> str:
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    heads = re.sub(r"[^\w.-]", "_", "+".join(sorted(look.heads)))[:60] or "base"
    return f"{_prefix(session)}{at}-{heads}"


def _thin_out(directory: Path, prefix: str, keep: int | None) -> None:
    """Remove old backups of the same database, and what an interruption left long ago."""
    ours = re.compile(re.escape(prefix) + r"\d{8}T\d{6}\.\d{6}Z-.*\.(?:dump|dir)$")
    found = sorted(path for path in directory.iterdir() if ours.match(path.name))
    for path in found[:-keep] if keep else ():
        _remove(path)
        _remove(path.with_name(path.name + manifests.MANIFEST))
    for path in directory.glob(f"{prefix}*{UNFINISHED}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
