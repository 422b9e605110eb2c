"""What was seen of revisions in a rehearsal, in words and as JSON; and what is pending at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automigrate.cli import output
from automigrate.cli.local import database_of, rehearsal_on, scratch_of
from automigrate.database.session import VERSION_TABLE
from automigrate.database.url import DatabaseURL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from automigrate.cli.settings import Settings
    from automigrate.workflow.policy import Size
    from automigrate.workflow.project import Project
    from automigrate.workflow.verify import RevisionSeen

__all__ = ["as_json", "look_at", "pending_of", "text"]


def pending_of(
    settings: Settings, project: Project, since: Sequence[str]
) -> tuple[tuple[str, ...], dict[str, Size] | None]:
    """Find what is pending, and how large the tables are where there is a database.

    Raises:
        ConfigurationError: `since` names no revision.
        AutomigrateError: the database cannot be looked at.
    """
    from automigrate.workflow.verify import since as pending_since

    if settings.database is None:
        return pending_since(project, since or ("base",)), None
    from automigrate.cli.running import migrating
    from automigrate.workflow.policy import read_sizes

    with migrating(settings) as migrator, database_of(settings) as url:
        pending = pending_since(project, since) if since else migrator.status().pending
        return pending, read_sizes(DatabaseURL.parse(url))


def look_at(settings: Settings, project: Project, pending: Sequence[str]) -> list[RevisionSeen]:
    """Run the pending revisions on a scratch database."""
    from automigrate.workflow.verify import rehearse

    if not pending:
        return []
    with scratch_of(settings) as scratch, output.progress(len(pending)) as advance:
        watched = set(pending)
        return rehearse(
            project,
            rehearsal_on(scratch, settings, project),
            pending,
            version_table=settings.options.get("version_table") or VERSION_TABLE,
            told=lambda revision: advance(revision) if revision in watched else None,
        )


def text(seen: Sequence[RevisionSeen], sizes: Mapping[str, Size] | None) -> Iterator[str]:
    """Say in lines what each statement does."""
    for revision in seen:
        yield f"-- {revision.revision} {revision.message} ({revision.file})"
        for statement in revision.statements:
            if not statement.in_transaction:
                yield "-- outside of a transaction:"
            yield f"{statement.sql.rstrip(';')};"
            for lock in statement.locks:
                yield f"--   {lock.mode} on {_named(lock.table, sizes)}"
            for verb, tables in (
                ("rewrites", statement.rewritten),
                ("rebuilds indexes of", statement.reindexed),
                ("scans", statement.scanned),
            ):
                for table in tables:
                    yield f"--   {verb} {_named(table, sizes)}"
            for what in statement.dropped:
                yield f"--   drops {what.replace('public.', '')}"
        if revision.failure is not None:
            yield f"-- fails: {revision.failure}"


def as_json(seen: Sequence[RevisionSeen]) -> list[dict[str, Any]]:
    """Return it for machines."""
    return [
        {
            "revision": revision.revision,
            "message": revision.message,
            "file": revision.file,
            "failure": revision.failure,
            "statements": [
                {
                    "sql": statement.sql,
                    "in_transaction": statement.in_transaction,
                    "locks": {lock.table: str(lock.mode) for lock in statement.locks},
                    "rewritten": statement.rewritten,
                    "reindexed": statement.reindexed,
                    "scanned": statement.scanned,
                    "dropped": statement.dropped,
                }
                for statement in revision.statements
            ],
        }
        for revision in seen
    ]


def _named(table: str, sizes: Mapping[str, Size] | None) -> str:
    name = table.removeprefix("public.")
    size = None if sizes is None else sizes.get(table)
    return name if size is None else f"{name} ({size})"
