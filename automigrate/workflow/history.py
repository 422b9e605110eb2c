"""What revisions there are, and what the journal knows of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003  see `runtime-evaluated-decorators`
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from automigrate.database.session import JOURNAL_TABLE, VERSION_TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from automigrate.database.url import DatabaseURL
    from automigrate.workflow.project import Project

__all__ = ["Applied", "Entry", "Recorded", "history", "read_recorded"]

WHERE = """\
select n.nspname, to_regclass(format('%%I.%%I', n.nspname, %(journal)s::text)) is not null
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid = to_regclass(%(version)s)"""
HEADS = "select version_num from {version}"
ROWS = """\
select revision, direction, state, started_at,
  extract(epoch from finished_at - started_at)::float8, instance_host, instance_pid,
  application_version, automigrate_version, error, row ->> 'backup', row ->> 'restore_point',
  row ->> 'restore_lsn'
from {journal} j, to_jsonb(j) row
where coalesce(row ->> 'version_table', %(table)s) = %(table)s order by id"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """One row of the journal."""

    direction: str
    state: str
    at: datetime
    seconds: float | None
    """`None` while it runs, or where it was interrupted."""
    host: str
    pid: int
    application_version: str | None
    automigrate_version: str
    error: str | None
    backup: str | None = None
    """The backup that was made before it."""
    restore_point: str | None = None
    """The restore point in the write-ahead log that was made before it, and its place."""
    restore_lsn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a database says about its history."""

    heads: tuple[str, ...] = ()
    rows: Mapping[str, tuple[Applied, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One revision, newest first in a history."""

    revision: str
    down_revisions: tuple[str, ...]
    depends_on: tuple[str, ...]
    branch_labels: tuple[str, ...]
    message: str
    file: str
    head: bool
    applied: bool | None
    """`None`: no database was looked at."""
    journal: tuple[Applied, ...] = ()


def history(project: Project, recorded: Recorded | None = None) -> list[Entry]:
    """List all revisions, newest first, with what a database says of them."""
    graph = project.graph
    applied: frozenset[str] = frozenset()
    if recorded is not None:
        applied = graph.ancestors([head for head in recorded.heads if head in graph])
    entries = []
    for name in reversed(graph.upgrade_order((), graph.heads)):
        script = graph[name]
        entries.append(
            Entry(
                revision=name,
                down_revisions=script.down_revisions,
                depends_on=script.depends_on,
                branch_labels=script.branch_labels,
                message=script.doc.partition("\n")[0],
                file=project.relative(script.file),
                head=name in graph.heads,
                applied=None if recorded is None else name in applied,
                journal=() if recorded is None else recorded.rows.get(name, ()),
            )
        )
    return entries


def read_recorded(
    url: DatabaseURL, *, version_table: str = VERSION_TABLE, schema: str | None = None
) -> Recorded:
    """Read heads and journal; changes nothing, and a database without them has an empty history.

    Raises:
        psycopg.Error: it cannot be connected to, or refuses.
    """
    version = sql.Identifier(schema, version_table) if schema else sql.Identifier(version_table)
    with psycopg.connect(url.conninfo(), autocommit=True) as connection:
        name = version.as_string(connection)
        found = connection.execute(WHERE, {"version": name, "journal": JOURNAL_TABLE}).fetchone()
        if found is None:
            return Recorded()
        heads = connection.execute(sql.SQL(HEADS).format(version=version)).fetchall()
        rows: dict[str, list[Applied]] = {}
        if found[1]:
            journal = sql.Identifier(found[0], JOURNAL_TABLE)
            for row in connection.execute(
                sql.SQL(ROWS).format(journal=journal), {"table": version_table}
            ):
                rows.setdefault(row[0], []).append(_applied(row))
    return Recorded(
        heads=tuple(sorted(head for (head,) in heads)),
        rows={revision: tuple(entries) for revision, entries in rows.items()},
    )


def _applied(row: Sequence[Any]) -> Applied:
    return Applied(
        direction=row[1],
        state=row[2],
        at=row[3],
        seconds=row[4],
        host=row[5],
        pid=row[6],
        application_version=row[7],
        automigrate_version=row[8],
        error=row[9],
        backup=row[10],
        restore_point=row[11],
        restore_lsn=row[12],
    )
