"""Adopt a database: record at which revision it is (stamp), after a comparison (baseline)."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import sql

from automigrate.errors import (
    AheadError,
    ConfigurationError,
    InterruptedRevisionError,
    RecoveryError,
    names,
)
from automigrate.recovery import schema_dump
from automigrate.recovery.holding import prepare, take_lock
from automigrate.recovery.reconciliation import checksum_of, reconcile
from automigrate.run import Run
from automigrate.verdict import BaselineReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automigrate.database.session import Look, Session
    from automigrate.database.source import Source
    from automigrate.verdict import UpgradeReport

__all__ = ["accept_modified", "baseline", "rebuild_journal", "stamp"]

# As Alembic makes it.
CREATE_VERSION_TABLE = """\
create table if not exists {table} (version_num varchar(32) not null,
  constraint {name} primary key (version_num))"""
EMPTY = "delete from {table}"
INSERT = "insert into {table} (version_num) select unnest(%s::text[])"


def stamp(run: Run, revisions: Sequence[str], *, force: bool = False) -> tuple[str, ...]:
    """Record revisions as the heads of the database, without running anything.

    Takes the lock; version table and journal change in one transaction.

    Args:
        run: the call.
        revisions: targets as for an upgrade; `base` records that nothing is applied. Together they
            are all the heads there will be.
        force: also where the database is at revisions that no script defines.

    Returns:
        The heads, sorted.

    Raises:
        AheadError: the database is at unknown revisions.
        AutomigrateError: as for an upgrade.
    """
    run.read_scripts()
    resolved = [name for target in revisions for name in run.graph.resolve(target)]
    heads = run.graph.effective_heads(resolved)

    def action(session: Session, look: Look) -> tuple[str, ...]:
        prepare(run, session, look)
        lock, look = take_lock(run, session, look)
        unknown = [head for head in look.heads if head not in run.graph]
        if unknown and not force:
            raise AheadError(
                current=look.heads,
                wanted=tuple(heads),
                revisions=unknown,
                detail="stamping would forget them",
            )
        _write(run, session, look, heads)
        lock.release()
        return tuple(sorted(heads))

    return run.until_settled(action)


def rebuild_journal(run: Run) -> int:
    """Have the journal agree with the version table and the scripts; takes the lock.

    Returns:
        How many rows were written or changed.

    Raises:
        InterruptedRevisionError: a revision stopped half-way; repair it first.
    """
    run.read_scripts()

    def action(session: Session, look: Look) -> int:
        prepare(run, session, look)
        lock, look = take_lock(run, session, look)
        status = run.judge(session, look)
        if status.interrupted:
            raise InterruptedRevisionError(
                revision=status.interrupted[0], left=("the journal has an open row",)
            )
        journal = run.journal(session, run.schema(look))
        journal.create()
        with session.connection.transaction():
            changed = reconcile(journal, run.graph, look.heads)
        lock.release()
        return changed

    return run.until_settled(action)


def accept_modified(run: Run, revisions: Sequence[str] = ()) -> tuple[str, ...]:
    """Take changed scripts of applied revisions for the ones that were applied.

    Takes the lock. What undoes such a revision was rendered from the old script, and is forgotten.

    Args:
        run: the call.
        revisions: which ones; empty: all that have changed.

    Returns:
        Those accepted, sorted.

    Raises:
        RecoveryError: one of them is not applied, or has not changed.
    """
    run.read_scripts()

    def action(session: Session, look: Look) -> tuple[str, ...]:
        prepare(run, session, look)
        lock, look = take_lock(run, session, look)
        modified = run.judge(session, look, thorough=True).modified
        unchanged = sorted(set(revisions).difference(modified))
        if unchanged:
            raise RecoveryError(
                f"{names(unchanged)} did not change after being applied; nothing was accepted. "
                f"Changed are: {names(modified)}."
            )
        journal = run.journal(session, run.schema(look))
        accepted = tuple(sorted(revisions or modified))
        with session.connection.transaction():
            for revision in accepted:
                journal.accept(revision, checksum_of(run.graph[revision].file))
        lock.release()
        return accepted

    return run.until_settled(action)


def baseline(
    run: Run,
    revision: str,
    scratch: Source,
    bring_up: Callable[[Run], UpgradeReport],
    *,
    accept_differences: bool = False,
) -> BaselineReport:
    """Compare the database with what a revision would have made, and stamp it when equal.

    Args:
        run: the call; its database is only read until it is stamped.
        revision: the target that the database is believed to be at.
        scratch: an empty database on a server of the same major version, with the extensions that
            the revisions need; the revisions are applied there.
        bring_up: applies them.
        accept_differences: stamp also when there are some.

    Raises:
        ConfigurationError: the database has a version table already.
        AutomigrateError: as for an upgrade.
    """
    found = _found(run)
    made = Run(
        source=scratch,
        scripts=run.scripts,
        options=replace(run.options, target=revision),
        control=run.control,
    )
    report = bring_up(made)
    expected = schema_dump.lines(made.source, ours=made.tables.version_table)
    differences = tuple(
        line
        for line in difflib.unified_diff(
            expected, found, f"revision {names(report.heads)}", "this database", "", "", 1, ""
        )
    )
    if differences and not accept_differences:
        return BaselineReport(revision=revision, heads=report.heads, differences=differences)
    stamp(run, list(report.heads))
    return BaselineReport(
        revision=revision, heads=report.heads, differences=differences, stamped=True
    )


def _found(run: Run) -> list[str]:
    """Look at the unmanaged database and dump its schema.

    Raises:
        ConfigurationError: it is managed already.
    """
    run.read_scripts()

    def action(_: Session, look: Look) -> None:
        if look.version_table and look.heads:
            raise ConfigurationError(
                f"the database is managed already, at {names(look.heads)}; baseline is for one "
                "without a version table. Use `automigrate stamp` to record another revision."
            )

    run.until_settled(action)
    return schema_dump.lines(run.source, ours=run.tables.version_table)


def _write(run: Run, session: Session, look: Look, heads: frozenset[str]) -> None:
    schema, connection = run.schema(look), session.connection
    table = sql.Identifier(schema, run.tables.version_table)
    name = sql.Identifier(f"{run.tables.version_table}_pkc")
    journal = run.journal(session, schema)
    with connection.transaction():
        connection.execute(sql.SQL(CREATE_VERSION_TABLE).format(table=table, name=name))
        longest = max(map(len, heads), default=0)
        journal.widen_version_column(table.as_string(connection), longest)
        journal.create()
        connection.execute(sql.SQL(EMPTY).format(table=table))
        connection.execute(sql.SQL(INSERT).format(table=table), (sorted(heads),))
        reconcile(journal, run.graph, heads)
