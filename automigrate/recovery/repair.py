"""Settle a revision that was interrupted between its commits, when a person has looked (H15).

Under the lock of the upgrades, so that nobody is still at it, and in one transaction: the version
table and the journal then say the same. Dropping what a broken CREATE INDEX CONCURRENTLY has left
is a thing of its own, because it cannot be done in a transaction.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from automigrate.alembic_bridge import concurrent_index
from automigrate.errors import RecoveryError, names
from automigrate.events import RevisionRecovered
from automigrate.recovery.holding import prepare, take_lock

if TYPE_CHECKING:
    from collections.abc import Collection

    import psycopg

    from automigrate.database.journal import Journal
    from automigrate.database.session import Look, Session, Tables
    from automigrate.plan import JournalEntry
    from automigrate.run import Run

__all__ = ["Repair", "Resolution", "repair"]

DELETE = "delete from {} where version_num = any(%s)"
INSERT = "insert into {} (version_num) select unnest(%s::text[])"
DROP = "drop index concurrently if exists {}"
NOTE = "settled by hand"


class Resolution(enum.StrEnum):
    """What a person says about an interrupted revision."""

    APPLIED = "applied"
    """All of its work is done."""
    NOT_APPLIED = "not applied"
    """None of its work is left; it will be run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a repair did."""

    revision: str
    resolution: Resolution | None
    """`None`: it was not settled, only invalid indexes were dropped."""
    heads: tuple[str, ...]
    """In the version table at the end, sorted."""
    dropped: tuple[str, ...] = ()
    """Invalid indexes, as `schema.name`."""


def repair(
    run: Run,
    revision: str,
    *,
    resolution: Resolution | None,
    drop_invalid_indexes: bool = False,
) -> Repair:
    """Settle an interrupted revision; takes the lock, waiting at most until the deadline.

    Of several version tables (tenants) each is settled where the revision was interrupted.

    Args:
        run: the call.
        revision: its identifier, in full.
        resolution: what to write into version table and journal.
        drop_invalid_indexes: whether to drop the invalid indexes that the revision has left;
            each waits for the transactions that use its table.

    Raises:
        RecoveryError: the revision was not interrupted; nothing was changed.
        LockTimeoutError: another process holds the lock.
        AutomigrateError: no connection, or unusable scripts.
    """
    run.read_scripts()
    if revision not in run.graph:
        raise RecoveryError(f"no script defines {revision!r}; nothing was changed.")
    settled: dict[Tables, Repair] = {}
    others: set[str] = set()

    def settle(session: Session, look: Look) -> None:
        if run.tables in settled:  # before the session was lost
            return
        prepare(run, session, look)
        lock, look = take_lock(run, session, look)
        try:
            journal = run.journal(session, run.schema(look))
            # The newest row, if it was tried several times.
            entries = {entry.revision: entry for entry in journal.entries() if entry.open}
            others.update(entries)
            if revision in entries:
                settled[run.tables] = _settle(
                    run,
                    session,
                    frozenset(look.heads),
                    journal=journal,
                    entry=entries[revision],
                    resolution=resolution,
                    drop=drop_invalid_indexes,
                )
        finally:
            if not session.broken:
                lock.release()

    run.until_settled(settle)
    if not settled:
        raise RecoveryError(
            f"revision {revision} was not interrupted, so there is nothing to repair; "
            f"interrupted is: {names(sorted(others))}. Nothing was changed."
        )
    return list(settled.values())[-1]


def _settle(
    run: Run,
    session: Session,
    heads: frozenset[str],
    *,
    journal: Journal,
    entry: JournalEntry,
    resolution: Resolution | None,
    drop: bool,
) -> Repair:
    dropped = _drop_invalid(run, session.connection, entry) if drop else ()
    if resolution is not None:
        before, heads = heads, _target(run, entry, heads, resolution)
        with session.connection.transaction():
            _write_version(session.connection, run.tables, before, heads)
            _write_journal(journal, entry, resolution)
        run.emit(RevisionRecovered(revision=entry.revision, action=f"declared {resolution}"))
    return Repair(
        revision=entry.revision, resolution=resolution, heads=tuple(sorted(heads)), dropped=dropped
    )


def _drop_invalid(
    run: Run, connection: psycopg.Connection[object], entry: JournalEntry
) -> tuple[str, ...]:
    """Drop the invalid indexes that statements of the revision had begun to build."""
    begun = (entry.progress or {}).get("statements") or ()
    wanted = {concurrent_index.index_name(statement) for statement in begun}
    dropped = []
    for found in concurrent_index.invalid(connection):
        schema, _, index = found.partition(".")
        if index in wanted:
            connection.execute(sql.SQL(DROP).format(sql.Identifier(schema, index)))
            run.emit(
                RevisionRecovered(revision=entry.revision, action=f"invalid index {found} dropped")
            )
            dropped.append(found)
    return tuple(dropped)


def _target(
    run: Run, entry: JournalEntry, heads: Collection[str], resolution: Resolution
) -> frozenset[str]:
    """Say what the version table has to hold for the revision to be applied, or not."""
    unknown = {head for head in heads if head not in run.graph}
    applied = run.graph.ancestors(head for head in heads if head not in unknown)
    revision = entry.revision
    if resolution is Resolution.APPLIED:
        missing = set(run.graph.dependencies_of(revision)) - applied
        if missing:
            raise RecoveryError(
                f"revision {revision} is built on {names(sorted(missing))}, which is not applied; "
                "nothing was changed."
            )
        return run.graph.effective_heads(applied | {revision}) | unknown
    above = (run.graph.descendants([revision]) & applied) - {revision}
    if above:
        raise RecoveryError(
            f"{names(sorted(above))}, applied, is built on revision {revision}; nothing was "
            "changed."
        )
    return run.graph.effective_heads(applied - {revision}) | unknown


def _write_version(
    connection: psycopg.Connection[object],
    tables: Tables,
    before: frozenset[str],
    after: frozenset[str],
) -> None:
    table = tables.version
    if before - after:
        connection.execute(DELETE.format(table).encode(), (sorted(before - after),))
    if after - before:
        connection.execute(INSERT.format(table).encode(), (sorted(after - before),))


def _write_journal(journal: Journal, entry: JournalEntry, resolution: Resolution) -> None:
    """Let the open row say what is true now; its direction decides what that means."""
    completed = (entry.direction == "downgrade") is (resolution is Resolution.NOT_APPLIED)
    if completed:
        journal.finish(entry.id, entry.revision, entry.direction, obstacle=NOTE)
    else:
        journal.resolve(entry.revision, "reverted", NOTE)
