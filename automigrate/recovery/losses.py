"""Count the data that SQL would destroy, before it is run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from automigrate.recovery.destruction import Destruction, Kind, destructions
from automigrate.verdict import Loss

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["losses"]

# Long enough for some hundred million rows; beyond it the server's estimate has to do.
COUNT_MILLISECONDS = 20_000

EXISTS = """\
select exists (select from pg_class where oid = to_regclass(%(table)s)) and (%(column)s = ''
  or exists (select from pg_attribute where attrelid = to_regclass(%(table)s)
    and quote_ident(attname) = %(column)s and not attisdropped))"""

ESTIMATE = """\
select coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint
from pg_class c where c.oid = to_regclass(%(table)s) or c.oid in (
  select inhrelid from pg_inherits where inhparent = to_regclass(%(table)s))"""

OF_SCHEMA = """\
select case c.relkind when 'm' then 'drops materialized view' when 'S' then 'drops sequence'
  else 'drops table' end, quote_ident(n.nspname) || '.' || quote_ident(c.relname)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where quote_ident(n.nspname) = %s and c.relkind in ('r', 'p', 'm', 'S') and not c.relispartition
  and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass
    and d.objid = c.oid and d.deptype in ('a', 'i', 'e'))
order by 2"""

SCHEMA_EXISTS = "select exists (select from pg_namespace where quote_ident(nspname) = %s)"

# Numbers that were given out.
ADVANCED = """\
select case when q.is_called then (q.last_value - s.seqstart) / s.seqincrement + 1 else 0 end
from {table} q, pg_sequence s where s.seqrelid = to_regclass({name})"""

FOLDED = "select quote_ident(part) from unnest(parse_ident(%s)) part"


def losses(
    connection: psycopg.Connection[Any], scripts: Mapping[str, str | None]
) -> dict[str, tuple[Loss, ...]]:
    """Say what data each script would destroy; losses of nothing are left out.

    Reads only, in short read-only transactions; a table that takes too long to count is estimated.

    Args:
        connection: in autocommit.
        scripts: by revision, in the order in which they would run: the SQL; `None` where it is
            not known, which may destroy anything.
    """
    listed = destructions(script or "" for script in scripts.values())
    result: dict[str, tuple[Loss, ...]] = {}
    for (revision, script), found in zip(scripts.items(), listed, strict=True):
        if script is None:
            result[revision] = (Loss(revision=revision, what=Kind.UNKNOWN.value),)
            continue
        counted = [loss for item in found for loss in _counted(connection, revision, item)]
        result[revision] = tuple(dict.fromkeys(loss for loss in counted if loss.count != 0))
    return result


def _counted(
    connection: psycopg.Connection[Any], revision: str, item: Destruction
) -> Iterator[Loss]:
    if item.kind is Kind.UNKNOWN:
        yield Loss(revision=revision, what=item.kind.value, statement=item.statement)
    elif item.kind is Kind.DROP_SCHEMA:
        schema = _shown(connection, item.table)
        row = connection.execute(SCHEMA_EXISTS, (schema,)).fetchone()
        if not (row and row[0]) and not item.optional:
            yield Loss(revision=revision, what=item.kind.value, statement=item.statement)
        for kind, table in connection.execute(OF_SCHEMA, (schema,)).fetchall():
            inner = Destruction(kind=Kind(kind), statement=item.statement, table=table)
            yield from _counted(connection, revision, inner)
    else:
        count, exact = _count(connection, item)
        yield Loss(
            revision=revision,
            what=item.kind.value,
            table=_shown(connection, item.table),
            column=_shown(connection, item.column),
            count=count,
            exact=exact,
            statement=item.statement,
        )


def _count(connection: psycopg.Connection[Any], item: Destruction) -> tuple[int | None, bool]:
    """Count rows or values; `None`: it cannot be known, because the object is not there now."""
    named = {"table": item.table, "column": _shown(connection, item.column)}
    row = connection.execute(EXISTS, named).fetchone()
    if not (row and row[0]):
        return (0, True) if item.optional else (None, True)
    conditions = [f"{item.column} is not null"] if item.column else []
    conditions += [f"({item.condition}\n)"] if item.condition else []
    where = f" where {' and '.join(conditions)}" if conditions else ""
    # From SQL that is about to be run as it is; the transaction is read-only.
    query = f"select count(*) from {item.table}{where}"  # noqa: S608
    if item.kind is Kind.DROP_SEQUENCE:
        name = sql.Literal(item.table).as_string(connection)
        query = ADVANCED.format(table=item.table, name=name)
    try:
        with _briefly(connection):
            row = connection.execute(query.encode()).fetchone()
            return (int(row[0]) if row else None), True
    except psycopg.errors.QueryCanceled:
        if item.condition:
            return None, True
        row = connection.execute(ESTIMATE, {"table": item.table}).fetchone()
        return (max(1, int(row[0])) if row else None), False
    except psycopg.Error:
        if connection.closed:
            raise
        return None, True


@contextmanager
def _briefly(connection: psycopg.Connection[Any]) -> Iterator[None]:
    with connection.transaction():
        connection.execute("set transaction read only")
        limit = sql.SQL("set local statement_timeout = {}").format(COUNT_MILLISECONDS)
        connection.execute(limit)
        yield


def _shown(connection: psycopg.Connection[Any], name: str) -> str:
    """Write a quoted name without the quotes that it does not need."""
    if not name:
        return ""
    return ".".join(row[0] for row in connection.execute(FOLDED, (name,)))
