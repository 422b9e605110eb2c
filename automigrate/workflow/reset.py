"""Empty a developer's database, build it anew, and fill it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from sqlalchemy import create_engine, pool

from automigrate.workflow.development import require_development
from automigrate.workflow.models import import_object
from automigrate.workflow.reaching import reaching

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automigrate.database.url import DatabaseURL

__all__ = ["empty", "seed"]

# Everything that no extension owns, one statement each; what goes along with something else by
# `cascade` is skipped when its turn comes.
OBJECTS = """\
select * from (
  select 1, case c.relkind when 'v' then 'view' when 'm' then 'materialized view'
      when 'S' then 'sequence' when 'f' then 'foreign table' else 'table' end,
    format('%I.%I', n.nspname, c.relname), c.oid, 'pg_class'::regclass::oid
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'm', 'S', 'f') and not c.relispartition and not exists (
    select from pg_depend d where d.objid = c.oid and d.deptype in ('i', 'a') and c.relkind = 'S')
  union all
  select 2, case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
    p.oid::regprocedure::text, p.oid, 'pg_proc'::regclass
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace where n.nspname !~ '^pg_'
  union all
  select 3, case t.typtype when 'd' then 'domain' else 'type' end,
    format('%I.%I', n.nspname, t.typname), t.oid, 'pg_type'::regclass
  from pg_type t join pg_namespace n on n.oid = t.typnamespace
  where t.typtype in ('e', 'd', 'r') or t.typtype = 'c' and exists (
    select from pg_class c where c.oid = t.typrelid and c.relkind = 'c')
  union all
  select 4, 'schema', format('%I', n.nspname), n.oid, 'pg_namespace'::regclass
  from pg_namespace n where n.nspname <> 'public'
) o (place, kind, name, oid, catalog)
where o.name !~ '^"?(pg_|information_schema)' and not exists (
  select from pg_depend d where d.classid = o.catalog and d.objid = o.oid and d.deptype = 'e')
order by place, oid"""
DROP = "drop {kind} if exists {name} cascade"


def empty(url: DatabaseURL, *, lock_timeout: float = 5.0) -> int:
    """Drop everything in a developer's database but extensions and `public`, in one transaction.

    Returns:
        How many objects were named.

    Raises:
        ConfigurationError: the database is shared.
        DatabaseUnavailableError: it cannot be reached, or somebody works on it.
    """
    require_development(url, "reset")
    with reaching(url), psycopg.connect(url.conninfo()) as connection:
        connection.execute(
            "select set_config('lock_timeout', %s, true)", (f"{int(lock_timeout * 1000)}ms",)
        )
        objects = connection.execute(OBJECTS).fetchall()
        for _, kind, name, _, catalog in objects:
            if kind == "schema" and _holds_an_extension(connection, name):
                continue
            del catalog
            with connection.transaction():
                # Quoted by `format('%I')` and `regprocedure` on the server.
                statement = DROP.format(kind=kind, name=name)
                connection.execute(sql.SQL(statement))
    return len(objects)


def _holds_an_extension(connection: psycopg.Connection[Any], schema: str) -> bool:
    row = connection.execute(
        "select exists (select from pg_extension where extnamespace = %s::regnamespace)", (schema,)
    ).fetchone()
    return bool(row and row[0])


def seed(url: DatabaseURL, name: str, *, paths: Sequence[str] = ()) -> None:
    """Call a function that fills the database, in one transaction.

    It is called with a SQLAlchemy `Connection` if it takes an argument. It may be asynchronous;
    then it opens connections of its own.

    Args:
        url: the database, also in `DATABASE_URL` while it runs.
        name: ``package.module:function``.
        paths: where it is looked for, besides the working directory and `src`.

    Raises:
        ConfigurationError: there is no such function.
        Exception: whatever the function raises; nothing is committed then.
    """
    from automigrate.workflow.models import search_path
    from automigrate.workflow.rehearsal import environment_variable

    function = import_object(name, paths=paths)
    engine = create_engine(url.sqlalchemy_url(), poolclass=pool.NullPool)
    takes_one = bool(inspect.signature(function).parameters)
    with (
        reaching(url),
        search_path(paths),
        environment_variable(url),
        engine.begin() as connection,
    ):
        result = function(connection) if takes_one else function()
        if inspect.isawaitable(result):
            asyncio.run(_awaited(result))


async def _awaited(result: Any) -> None:
    await result
