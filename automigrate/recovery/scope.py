"""Which tables a backup has to hold, when it need not hold everything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from automigrate.alembic_bridge.directory import directory_for
from automigrate.alembic_bridge.env_run import one_run_per_process
from automigrate.alembic_bridge.guard import process_guard
from automigrate.alembic_bridge.render import WayBack, render
from automigrate.recovery.destruction import touched

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from automigrate.database.session import Session
    from automigrate.run import Run

__all__ = ["rendered", "tables_touched"]

EXISTING = """\
select quote_ident(n.nspname) || '.' || quote_ident(c.relname)
from unnest(%s::text[]) as given(name)
join pg_class c on c.oid = to_regclass(given.name) join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') order by 1"""


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
