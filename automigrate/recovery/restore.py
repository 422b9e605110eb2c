"""Bring a database back to what a backup holds: all of it, or nothing changes.

Everything happens in one transaction of psql, which we commit only when pg_restore has come to its
end without an error. Whatever dies meanwhile (this process, pg_restore, psql, the server), the
transaction is rolled back. The lock of the upgrades is held all the time.

Of a whole backup, objects that came after it go as well: leaving them would make a schema that no
revision ever had. Extensions stay, because they belong to the superuser as a rule. Of a backup of
some tables only their rows are replaced, see `restore_tables`.
"""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from automigrate.database.session import OWN_TABLES
from automigrate.errors import BackupError, StoppedError
from automigrate.recovery import manifest as manifests, restore_tables
from automigrate.recovery.backup import UNFINISHED
from automigrate.recovery.holding import prepare, take_lock
from automigrate.recovery.tools import tools_for

if TYPE_CHECKING:
    from automigrate.database.advisory_lock import AdvisoryLock
    from automigrate.database.session import Look, Session
    from automigrate.recovery.manifest import Manifest
    from automigrate.recovery.tools import Tools
    from automigrate.run import Run

__all__ = ["restore"]

# What is in the way, as statements to drop it; nothing of the system's, nothing of an extension's.
DROPS = """\
with ours as (
  select oid, nspname from pg_namespace
  where nspname !~ '^pg_' and nspname <> 'information_schema'),
members as (select classid, objid from pg_depend where deptype = 'e')
select statement from (
  select 1.0, format('drop schema %I cascade', nspname) from pg_namespace n
    where n.oid in (select oid from ours) and nspname <> 'public'
      and pg_has_role(n.nspowner, 'usage')
      and ('pg_namespace'::regclass, n.oid) not in (select classid, objid from members)
      and not exists (select from pg_extension e where e.extnamespace = n.oid)
  union all
  -- An identity column's sequence goes with its table.
  select case when c.relkind in ('S', 'c') then 2.5 else 2 end,
    format('drop %s if exists %I.%I cascade', case c.relkind when 'v' then 'view'
      when 'm' then 'materialized view' when 'S' then 'sequence' when 'f' then 'foreign table'
      when 'c' then 'type' else 'table' end, ours.nspname, c.relname)
    from pg_class c join ours on ours.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'c') and not c.relispartition
      and ('pg_class'::regclass, c.oid) not in (select classid, objid from members)
  union all
  select 3, format('drop routine if exists %s cascade', p.oid::regprocedure)
    from pg_proc p join ours on ours.oid = p.pronamespace
    where p.prokind <> 'a'
      and ('pg_proc'::regclass, p.oid) not in (select classid, objid from members)
  union all
  select 3, format('drop aggregate if exists %s cascade', p.oid::regprocedure)
    from pg_proc p join ours on ours.oid = p.pronamespace
    where p.prokind = 'a'
      and ('pg_proc'::regclass, p.oid) not in (select classid, objid from members)
  union all
  select 4, format('drop type if exists %I.%I cascade', ours.nspname, t.typname)
    from pg_type t join ours on ours.oid = t.typnamespace
    where t.typtype in ('d', 'e', 'r') and t.typelem = 0
      and ('pg_type'::regclass, t.oid) not in (select classid, objid from members)
  union all
  select 5, format('select lo_unlink(%s)', oid) from pg_largeobject_metadata
) as found (rank, statement) order by rank"""

# Lines of pg_restore's table of contents that are there already, or not ours to make.
_EXTENSION = re.compile(r"^\d+; \d+ \d+ (?:EXTENSION - |COMMENT - EXTENSION )")
_PUBLIC = re.compile(r"^\d+; \d+ \d+ (?:SCHEMA|COMMENT|ACL) - (?:SCHEMA )?public\b")

PREAMBLE = """\
\\set ON_ERROR_STOP on
\\o /dev/null
set client_min_messages = warning;
begin;
set local lock_timeout = '60s';
set local statement_timeout = 0;
select set_config(name, '1000', true) from pg_settings
  where name = 'client_connection_check_interval';
"""
LISTED = "--use-list=/dev/stdin"
"""Through a pipe: a file would stay behind when this process is killed."""
DONE = b"automigrate: all of it is there"
ASK = b"\n\\echo " + DONE + b"\n"
COMMIT = b"\ncommit;\n"

SUPERUSER = "select rolsuper from pg_roles where rolname = current_user"
EXTENSIONS = "select extname from pg_extension"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Script:
    """What psql runs: statements, what pg_restore writes, and statements again."""

    path: str
    """The backup."""
    before: str
    contents: list[str]
    """Lines of the table of contents to be restored."""
    options: tuple[str, ...]
    """For pg_restore."""
    after: str = ""


def restore(run: Run, path: str, *, programs: str | None = None) -> tuple[str, ...]:
    """Bring back what a backup holds, in one transaction.

    All that is in the database is replaced; for a backup of some tables, the rows of these. Takes
    the lock of the upgrades. Waits at most a minute for each lock on a table.

    Args:
        run: the call.
        path: a backup of `back_up`.
        programs: directory of pg_restore and psql, where they are not found.

    Returns:
        The heads in the database afterwards, sorted.

    Raises:
        BackupError: the backup cannot be read, or restoring failed; nothing has changed. Or it is
            of some tables, and the schema is another one than they were saved from.
        AutomigrateError: no connection, or no lock.
    """
    if not Path(path).exists():
        raise BackupError(reason=f"there is no backup {path}")
    if path.rstrip("/").endswith(UNFINISHED):
        raise BackupError(reason=f"{path} was interrupted before it was complete and verified")
    manifest = manifests.read(path)
    run.read_scripts()

    def action(session: Session, look: Look) -> tuple[str, ...]:
        prepare(run, session, look)
        lock, look = take_lock(run, session, look)
        tools = tools_for(run.source, run.control, directory=programs)
        if manifest is not None and manifest.tables:
            restore_tables.require_heads(path, manifest, look)
            script = _rows(session, tools, path, manifest)
            if any(name.endswith(f".{own}") for name in manifest.tables for own in OWN_TABLES):
                agreement = run.journal(session, run.schema(look)).agreement()
                script = replace(script, after=script.after + _lines(agreement))
        else:
            script = _everything(session, tools, path, run.tables.version_table)
        _carry_out(run, session, lock, tools, script)
        found = session.look(run.tables)
        lock.release()
        return tuple(sorted(found.heads))

    return run.until_settled(action)


def _everything(session: Session, tools: Tools, path: str, version_table: str) -> _Script:
    contents = _contents(session, tools, path, version_table)
    drops = [row[0] for row in session.connection.execute(DROPS).fetchall()]
    row = session.connection.execute(SUPERUSER).fetchone()
    return _Script(
        path=path,
        before=_lines(drops),
        contents=contents,
        options=() if row and row[0] else ("--no-owner", "--no-privileges"),
    )


def _rows(session: Session, tools: Tools, path: str, manifest: Manifest) -> _Script:
    contents = tools.run("pg_restore", "--list", path, online=False).splitlines()
    sequences = restore_tables.sequences_of(contents)
    states = _written(tools, path, sequences) if sequences else ""
    return _Script(
        path=path,
        before=_lines(restore_tables.before(session, manifest)),
        contents=restore_tables.data_of(contents),
        options=("--data-only",),
        after=restore_tables.after(session, manifest, states),
    )


def _lines(statements: list[str]) -> str:
    return "".join(f"{statement};\n" for statement in statements)


def _carry_out(
    run: Run, session: Session, lock: AdvisoryLock, tools: Tools, script: _Script
) -> None:
    with (
        tools.started(
            "psql",
            "--no-psqlrc",
            "--quiet",
            "--file=-",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as psql,
        tools.started(
            "pg_restore",
            LISTED,
            "--file=-",
            *script.options,
            script.path,
            online=False,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as reader,
    ):
        _list(reader, script.contents)
        complete = _pump(run, (PREAMBLE + script.before).encode(), reader, psql)
        if complete:
            errors = _drained(reader)
            tools.require("pg_restore", reader.wait(), errors)
            complete = _send(psql, script.after.encode()) and _all_there(psql)
        if complete:
            _require_lock(session, lock)
            _send(psql, COMMIT)
        assert psql.stdin is not None
        with suppress(BrokenPipeError):
            psql.stdin.close()
        errors = _drained(psql)
        tools.require("psql", psql.wait() or (0 if complete else 1), errors)


def _written(tools: Tools, path: str, contents: list[str]) -> str:
    """Return what pg_restore writes for some lines of the table of contents."""
    with tools.started(
        "pg_restore",
        LISTED,
        "--file=-",
        "--data-only",
        path,
        online=False,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as reader:
        _list(reader, contents)
        assert reader.stdout is not None
        output = reader.stdout.read()
        tools.require("pg_restore", reader.wait(), _drained(reader))
    return output.decode()


def _list(reader: subprocess.Popen[bytes], contents: list[str]) -> None:
    """Tell pg_restore what to restore; it reads all of that first."""
    assert reader.stdin is not None
    _send(reader, "".join(f"{line}\n" for line in contents).encode())
    with suppress(BrokenPipeError):
        reader.stdin.close()


def _all_there(psql: subprocess.Popen[bytes]) -> bool:
    """Wait until psql has run everything.

    Only then the commit is sent: what is in the pipe already, psql carries out even when this
    process has died and the lock is gone.
    """
    assert psql.stdout is not None
    return _send(psql, ASK) and psql.stdout.readline().strip() == DONE


def _require_lock(session: Session, lock: AdvisoryLock) -> None:
    """Ask the server whether the lock is still ours.

    Raises:
        SessionLostError: it is not.
    """
    rows = [session.connection.execute(part.encode()).fetchone() for part in lock.claim()]
    lock.confirm([row for row in rows if row is not None], ())


def _pump(
    run: Run,
    preamble: bytes,
    reader: subprocess.Popen[bytes],
    psql: subprocess.Popen[bytes],
) -> bool:
    """Hand the script from one to the other; false: psql has stopped reading."""
    assert reader.stdout is not None
    if not _send(psql, preamble):
        return False
    while block := reader.stdout.read(1 << 16):
        if run.control.stopping:
            raise StoppedError
        if not _send(psql, block):
            return False
    return True


def _send(process: subprocess.Popen[bytes], data: bytes) -> bool:
    assert process.stdin is not None
    try:
        process.stdin.write(data)
        process.stdin.flush()
    except BrokenPipeError:
        return False
    return True


def _drained(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stderr is not None
    return process.stderr.read()


def _contents(session: Session, tools: Tools, path: str, name: str) -> list[str]:
    """Return the table of contents without what is in the database anyway.

    Raises:
        BackupError: it is a backup of some tables; all others would be lost.
    """
    listed = tools.run("pg_restore", "--list", path, online=False)
    version_table = re.compile(rf"^\d+; \d+ \d+ TABLE DATA \S+ {re.escape(name)} ", re.MULTILINE)
    if version_table.search(listed) is None:
        raise BackupError(
            reason=f"{path} does not hold the version table {name}, so it is of some tables only, "
            f"and {path}{manifests.MANIFEST}, which says of which revision, is not beside it",
            remedy="Put that file beside it, or restore by hand: `pg_restore --data-only …`.",
        )
    present = {row[0] for row in session.connection.execute(EXTENSIONS).fetchall()}

    def kept(line: str) -> bool:
        extension = _EXTENSION.match(line)
        if extension is not None:
            return line[extension.end() :].split(maxsplit=1)[0] not in present
        return _PUBLIC.match(line) is None

    return [line for line in listed.splitlines() if kept(line)]
