"""Judge what was seen by the size of the tables: what blocks whom, for how long.

The same statement is harmless on a table of a hundred rows and an outage on one of forty million.
Sizes come from the real database; without one they are unknown, and what would be an error on a
large table is a warning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from automigrate.workflow.findings import Finding, Level
from automigrate.workflow.reaching import reaching
from automigrate.workflow.recording import LockMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from automigrate.database.url import DatabaseURL
    from automigrate.workflow.recording import StatementSeen
    from automigrate.workflow.verify import RevisionSeen

__all__ = ["Policy", "Size", "judge", "read_sizes", "remedy_for"]

SIZES = """\
select n.nspname || '.' || c.relname, greatest(c.reltuples, 0)::bigint,
  pg_total_relation_size(c.oid)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'm') and n.nspname not like 'pg\\_%'
  and n.nspname <> 'information_schema'"""

REMEDIES: tuple[tuple[str, str], ...] = (
    (r"create\s+(unique\s+)?index", "Build it CONCURRENTLY in an autocommit block."),
    (r"drop\s+index", "Drop it CONCURRENTLY in an autocommit block."),
    (r"reindex", "REINDEX CONCURRENTLY, in an autocommit block."),
    (
        r"set\s+not\s+null",
        "Prove it by a CHECK added NOT VALID and validated by the next revision, then set it.",
    ),
    (
        r"(foreign\s+key|references)",
        "Add it NOT VALID, and VALIDATE CONSTRAINT in the next revision.",
    ),
    (r"\bcheck\b", "Add it NOT VALID, and VALIDATE CONSTRAINT in the next revision."),
    (
        r"add\s+(constraint\s+\S+\s+)?(unique|primary\s+key)(?!.*using\s+index)",
        "Build a unique index CONCURRENTLY, then `ADD CONSTRAINT … USING INDEX`.",
    ),
    (
        r"alter\s+column\s+\S+\s+(set\s+data\s+)?type",
        "Add a column of the new type, fill it in batches, and swap the names.",
    ),
    (
        r"add\s+column",
        "Add it without that default, set the default afterwards, fill in old rows in batches.",
    ),
    (r"(cluster|vacuum\s+full)", "Use pg_repack, which works beside the traffic."),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a table is."""

    rows: int
    """As the planner estimates."""
    size: int
    """Bytes, with indexes and TOAST."""

    def __str__(self) -> str:
        return f"{_short(self.rows, 1000, ('', ' thousand', ' million', ' billion'))} rows, " + (
            _short(self.size, 1024, (" B", " kB", " MB", " GB", " TB"))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """From where on a table counts as large."""

    rows: int = 100_000
    size: int = 256 * 1024 * 1024

    def level(self, size: Size | None) -> Level | None:
        """Say how bad it is to block a table of this size; `None`: not worth a word."""
        if size is None:
            return Level.WARNING
        return Level.ERROR if size.rows >= self.rows or size.size >= self.size else None


def read_sizes(url: DatabaseURL) -> dict[str, Size]:
    """Read the sizes of all tables of the real database; one query, no lock worth naming.

    Raises:
        DatabaseUnavailableError: it cannot be asked.
    """
    with reaching(url), psycopg.connect(url.conninfo(), autocommit=True) as connection:
        return {name: Size(rows=rows, size=size) for name, rows, size in connection.execute(SIZES)}


def judge(
    seen: Sequence[RevisionSeen],
    sizes: Mapping[str, Size] | None = None,
    policy: Policy | None = None,
) -> list[Finding]:
    """Say what the revisions would do to traffic and data.

    Args:
        seen: from a rehearsal.
        sizes: of the real tables by qualified name; `None`: not known. A table that is not among
            them is new there, and empty.
        policy: what counts as large.
    """
    judge_one = _Judge(sizes, policy or Policy())
    return [finding for revision in seen for finding in judge_one.revision(revision)]


def remedy_for(statement: str) -> str:
    """Name the safe alternative of a statement."""
    for pattern, remedy in REMEDIES:
        if re.search(pattern, statement, re.IGNORECASE | re.DOTALL):
            return remedy
    return "Run it in a quiet hour."


class _Judge:
    def __init__(self, sizes: Mapping[str, Size] | None, policy: Policy) -> None:
        self._sizes = sizes
        self._policy = policy

    def revision(self, seen: RevisionSeen) -> Iterator[Finding]:
        """Judge the statements of one revision, in the order of time."""
        if seen.failure is not None:
            yield self._finding(
                seen, "fails", Level.ERROR, f"it fails on an empty database: {seen.failure}.", ""
            )
        held: dict[str, LockMode] = {}
        together = True
        for statement in seen.statements:
            if not (statement.in_transaction and together):
                held = {}
            together = statement.in_transaction
            for lock in statement.locks:
                held[lock.table] = max(lock.mode, held.get(lock.table, lock.mode))
            yield from self._blocking(seen, statement, held)
            yield from self._losing(seen, statement)

    def _blocking(
        self, seen: RevisionSeen, statement: StatementSeen, held: Mapping[str, LockMode]
    ) -> Iterator[Finding]:
        for rule, tables, what in (
            ("table-rewrite", statement.rewritten, "rewrites"),
            ("scan-under-lock", statement.scanned, "scans"),
            ("index-rebuild", statement.reindexed, "rebuilds an index of"),
        ):
            for table in tables:
                mode = held.get(table)
                if mode is None or not mode.blocks_writes or _truncates(statement):
                    continue
                if rule != "table-rewrite" and table in statement.rewritten:
                    continue
                level = self._policy.level(self._size(table))
                if level is not None:
                    blocked = "reads and writes" if mode.blocks_reads else "writes"
                    yield self._finding(
                        seen,
                        rule,
                        level,
                        f"{_brief(statement.sql)} {what} {self._named(table)} under {mode}, which "
                        f"blocks {blocked} for as long as that takes.",
                        remedy_for(statement.sql),
                    )
        if re.match(r"\s*(update|delete|insert)\b", statement.sql, re.IGNORECASE):
            for lock in statement.locks:
                size = self._size(lock.table)
                if (
                    size is not None
                    and self._policy.level(size) is Level.ERROR
                    and (lock.mode is LockMode.ROW_EXCLUSIVE)
                ):
                    yield self._finding(
                        seen,
                        "large-update",
                        Level.WARNING,
                        f"{_brief(statement.sql)} changes {self._named(lock.table)} in one "
                        "transaction.",
                        "Do it in batches, outside of the migration.",
                    )

    def _losing(self, seen: RevisionSeen, statement: StatementSeen) -> Iterator[Finding]:
        for what in statement.dropped:
            yield self._finding(
                seen,
                "data-loss",
                Level.WARNING,
                f"{_brief(statement.sql)} drops {what.replace('public.', '')} with its data; older "
                "replicas that still use it fail.",
                "Release code that does not use it first.",
            )

    def _size(self, table: str) -> Size | None:
        if self._sizes is None:
            return None
        return self._sizes.get(table, Size(rows=0, size=0))

    def _named(self, table: str) -> str:
        size = self._size(table)
        name = table.removeprefix("public.")
        return name if size is None else f"{name} ({size})"

    def _finding(
        self, seen: RevisionSeen, rule: str, level: Level, message: str, remedy: str
    ) -> Finding:
        return Finding(
            rule=rule,
            level=level,
            message=f"revision {seen.revision}: {message}",
            remedy=remedy,
            revision=seen.revision,
            file=seen.file,
        )


def _truncates(statement: StatementSeen) -> bool:
    """Whether the new file is an empty one."""
    return re.match(r"\s*truncate\b", statement.sql, re.IGNORECASE) is not None


def _brief(statement: str) -> str:
    text = " ".join(statement.split())
    return f"`{text[:77]}…`" if len(text) > 78 else f"`{text}`"  # noqa: PLR2004


def _short(number: float, step: int, units: tuple[str, ...]) -> str:
    for unit in units[:-1]:
        if number < step:
            return f"{number:.0f}{unit}"
        number /= step
    return f"{number:.0f}{units[-1]}"
