"""CREATE INDEX CONCURRENTLY: what it leaves behind when it does not finish, and how to go on.

A failed or killed build leaves an INVALID index, which `if not exists` then hides for ever (H14).
An invalid index of the name that a revision is about to create is of no use to anybody and is
dropped first, unless another session is building it at this moment.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from psycopg import sql

from automigrate.events import RevisionRecovered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

    from automigrate.events import Listener

__all__ = ["NOTHING", "complete", "drop_if_invalid", "index_name", "invalid", "repeatable"]

NOTHING = "do $$ begin end $$"
"""A statement without effect, in the place of one that was completed before an interruption."""

_NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_CREATE = re.compile(
    rf"\s*create\s+(?:unique\s+)?index\s+concurrently\s+(?:if\s+not\s+exists\s+)?"
    rf"(?P<index>{_NAME})\s+on\s+(?:only\s+)?(?:(?P<schema>{_NAME})\s*\.\s*)?(?P<table>{_NAME})",
    re.IGNORECASE,
)

_DROP = re.compile(
    rf"\s*drop\s+index\s+concurrently\s+(?:if\s+exists\s+)?"
    rf"(?P<index>{_NAME}(?:\s*\.\s*{_NAME})?)\s*(?:restrict\s*)?;?\s*$",
    re.IGNORECASE,
)

# Invalid parents of partitioned indexes are legitimate; an index being built is not left behind.
INVALID = """\
select n.nspname || '.' || c.relname
from pg_index i join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where not i.indisvalid and c.relkind = 'i'
  and not exists (select from pg_stat_progress_create_index p where p.index_relid = i.indexrelid)
order by 1"""

STATE = """\
select n.nspname, c.relname, i.indisvalid
from pg_index i join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where c.relname = %(index)s and i.indrelid = to_regclass(%(table)s)
  and not exists (select from pg_stat_progress_create_index p where p.index_relid = i.indexrelid)"""


def index_name(statement: str) -> str | None:
    """Return the name of the index that a CREATE INDEX CONCURRENTLY makes, else `None`."""
    match = _CREATE.match(statement)
    return None if match is None else _unquoted(match["index"])


def invalid(connection: psycopg.Connection[Any]) -> tuple[str, ...]:
    """Return the invalid indexes of the database as `schema.name`, but for those being built."""
    return tuple(row[0] for row in connection.execute(INVALID).fetchall())


def complete(connection: psycopg.Connection[Any], statement: str) -> bool:
    """Whether a statement has had its effect: its index is there and valid, or it is gone."""
    dropped = _DROP.match(statement)
    if dropped is not None:
        row = connection.execute("select to_regclass(%s) is null", (dropped["index"],)).fetchone()
        return bool(row and row[0])
    found = _state(connection, statement)
    return found is not None and found[2]


def drop_if_invalid(
    connection: psycopg.Connection[Any], statement: str, emit: Listener, revision: str
) -> None:
    """Drop the invalid index that stands where a statement is about to create one.

    The connection must be in autocommit. Waits for transactions that use the table, as DROP INDEX
    CONCURRENTLY does.
    """
    found = _state(connection, statement)
    if found is None or found[2]:
        return
    schema, name, _ = found
    connection.execute(
        sql.SQL("drop index concurrently if exists {}").format(sql.Identifier(schema, name))
    )
    emit(RevisionRecovered(revision=revision, action=f"invalid index {schema}.{name} dropped"))


def repeatable(progress: Mapping[str, Any] | None) -> Sequence[str] | None:
    """Return the statements of an interrupted revision if it can safely be run again.

    It can when nothing but CREATE or DROP INDEX CONCURRENTLY of named indexes had begun, and
    nothing was done before: then each is either complete, or can be done again.
    """
    if not progress or progress.get("before") != 0:
        return None
    statements: Sequence[str] = progress.get("statements") or ()
    if not all(index_name(text) or _DROP.match(text) for text in statements):
        return None
    return statements


def _state(connection: psycopg.Connection[Any], statement: str) -> tuple[str, str, bool] | None:
    match = _CREATE.match(statement)
    if match is None:
        return None
    table = match["table"] if match["schema"] is None else f"{match['schema']}.{match['table']}"
    row = connection.execute(STATE, {"index": _unquoted(match["index"]), "table": table}).fetchone()
    return None if row is None else (row[0], row[1], row[2])


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()
