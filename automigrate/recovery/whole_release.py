"""After a failed upgrade, the whole release back: undo what this run had applied, if that is safe.

Safe means that every revision of it can be undone, and that nothing is destroyed which was there
before the run: what the run itself has made may go, what others have must not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automigrate.errors import AutomigrateError, UpgradeError, names
from automigrate.recovery import descent as descents
from automigrate.recovery.destruction import Kind
from automigrate.recovery.rollback import planned

if TYPE_CHECKING:
    import psycopg

    from automigrate.database.advisory_lock import AdvisoryLock
    from automigrate.database.session import Look, Session
    from automigrate.run import Run
    from automigrate.verdict import Loss, RollbackPlan

__all__ = ["WholeRelease"]

COLUMNS = """\
select a.attrelid::bigint, a.attnum from pg_attribute a
join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'p', 'm', 'S')
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"""

FOUND = """\
select to_regclass(%(table)s)::oid::bigint, (select attnum from pg_attribute
  where attrelid = to_regclass(%(table)s) and quote_ident(attname) = %(column)s)"""


class WholeRelease:
    """Remembers what was there before a run, and undoes the run."""

    def __init__(self, run: Run, session: Session, lock: AdvisoryLock, look: Look) -> None:
        self._run = run
        self._session = session
        self._lock = lock
        self._look = look
        rows = session.connection.execute(COLUMNS).fetchall()
        self._columns: set[tuple[int, int]] = set(rows)
        self._tables = {table for table, _ in self._columns}

    def undo(self, error: UpgradeError) -> UpgradeError:
        """Undo what the run had applied; returns the error that says what came of it.

        Still under the lock of the upgrade. The session must be in autocommit.
        """
        run = self._run
        applied, run.applied[:] = list(run.applied), []
        if not applied:
            return error
        try:
            obstacle = self._obstacle(error, [item.revision for item in applied])
        except AutomigrateError as failure:
            obstacle = str(failure)
        if obstacle is not None:
            run.applied[:] = applied
            error.add_note(f"on_failure='rollback' undid nothing, because {obstacle}")
            return error
        undone, run.applied[:] = len(run.applied), []
        return UpgradeError(
            applied=(),
            failed=error.failed,
            pending=(*(item.revision for item in applied), *error.pending),
            rolled_back=True,
            reason=error.reason,
            remedy=f"The {undone} revisions that this run had applied before it were undone as "
            "well (on_failure='rollback'): the schema is what it was. Correct the script or the "
            "data and start again.",
        )

    def _obstacle(self, error: UpgradeError, applied: list[str]) -> str | None:
        """Undo, or say why not."""
        from automigrate.application import Application

        if not error.rolled_back:
            return f"a part of {error.failed} is committed"
        run, session = self._run, self._session
        look = session.look(run.tables)
        left = run.graph.ancestors(look.heads).difference(applied)
        target = run.graph.effective_heads(left)
        descent = descents.to_code(run.graph, look.heads, target)
        plan = planned(run, session, look, descent, {})
        reason = self._unsafe(plan)
        if reason is not None:
            return reason
        status = run.judge(session, look)
        Application(run, session, self._lock, look).downgrade(status, descent)
        return None

    def _unsafe(self, plan: RollbackPlan) -> str | None:
        if plan.irreversible:
            step = plan.irreversible[0]
            return f"{step.revision} cannot be undone: {step.obstacle}"
        lost = [str(loss) for loss in plan.losses if self._was_there(loss)]
        return f"data would be lost: {names(lost, limit=3)}" if lost else None

    def _was_there(self, loss: Loss) -> bool:
        """Whether what is lost existed before the run."""
        if loss.what == Kind.UNKNOWN.value:
            return True
        connection: psycopg.Connection[Any] = self._session.connection
        named = {"table": loss.table, "column": loss.column}
        row = connection.execute(FOUND, named).fetchone()
        if row is None or row[0] is None:
            return True
        table, column = row
        return (table, column) in self._columns if loss.column else table in self._tables
