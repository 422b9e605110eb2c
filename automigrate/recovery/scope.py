"""Which tables a backup has to hold, when it need not hold everything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from automigrate.alembic_bridge.directory import directory_for
from automigrate.alembic_bridge.env_run import one_run_per_process
from automigrate.alembic_bridge.guard import process_guard
from automigrate.alembic_bridge.render import WayBack, render
from automigrate.errors import BackupError, names
from automigrate.recovery.destruction import touched

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from automigrate.database.session import Session
    from automigrate.run import Run

__all__ = ["rendered", "tables_touched", "with_children"]

EXISTING = """\
select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
from unnest(%s::text[]) as given(name)
join pg_class c on c.oid = to_regclass(given.name) join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') order by 1"""

# pg_dump leaves partitions and inheriting tables out of --table.
CHILDREN = """\
with recursive below as (
  select c.oid from pg_class c join unnest(%s::text[]) as given(name)
    on c.oid = to_regclass(given.name)
  where c.relkind in ('r', 'p')
  union select i.inhrelid from below join pg_inherits i on i.inhparent = below.oid)
select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
from below join pg_class c using (oid) join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') order by 1"""

MISSING = """select name from unnest(%s::text[]) as given(name) where not exists (
  select from pg_class c where c.oid = to_regclass(given.name) and c.relkind in ('r', 'p'))"""


def rendered(run: Run, revisions: Sequence[str], direction: str) -> dict[str, WayBack]:
    """Render what scripts do, without running them; imports them, and leaves no trace of that."""
    if not revisions:
        return {}
    found = {}
    with (
        one_run_per_process(run.deadline, run.control),
        process_guard(run.location.prepend_sys_path),
    ):
        directory = directory_for(run.location, run.graph)
        for name in revisions:
            script = directory.get_revision(name)
            assert script is not None
            found[name] = render(script.module, str(Path(script.path)), direction=direction)
    return found


def tables_touched(session: Session, scripts: Iterable[str | None]) -> tuple[str, ...] | None:
    """Return the tables that SQL changes or destroys and that exist, qualified.

    Args:
        session: to look the tables up.
        scripts: in the order in which they run; `None`: not known.

    Returns:
        `None` where it cannot be told, so that everything has to be backed up.
    """
    listed = list(scripts)
    known = [script for script in listed if script is not None]
    names = touched(known) if len(known) == len(listed) else None
    if names is None:
        return None
    rows = session.connection.execute(EXISTING, (sorted(names),)).fetchall()
    return tuple(row[0] for row in rows)


def with_children(session: Session, tables: Sequence[str]) -> tuple[str, ...]:
    """Qualify tables and add their partitions and the tables that inherit from them.

    Raises:
        BackupError: one does not exist.
    """
    if not tables:
        return ()
    listed = list(tables)
    missing = [row[0] for row in session.connection.execute(MISSING, (listed,)).fetchall()]
    if missing:
        raise BackupError(reason=f"there is no table {names(missing)} in the database")
    return tuple(row[0] for row in session.connection.execute(CHILDREN, (listed,)).fetchall())
