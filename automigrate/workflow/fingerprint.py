"""The schema of a database as a set of lines, to see whether two are the same.

From the catalogue, in milliseconds, where pg_dump takes longer and is not always there. The order
of columns does not count: a column that was dropped and added again is the same schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automigrate.database.session import OWN_TABLES

if TYPE_CHECKING:
    import psycopg

__all__ = ["changes", "fingerprint"]

LINES = """\
with schemas as (
  select oid, nspname from pg_namespace n
  where nspname !~ '^pg_' and nspname <> 'information_schema' and not exists (
    select from pg_depend d
    where d.classid = 'pg_namespace'::regclass and d.objid = n.oid and d.deptype = 'e')),
relations as (
  select c.*, format('%%I.%%I', s.nspname, c.relname) as name
  from pg_class c join schemas s on s.oid = c.relnamespace
  where c.relname <> all(%(ours)s) and not exists (
    select from pg_depend d
    where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'))
select format('schema %%I', nspname) from schemas
union all
select format('extension %%s', extname) from pg_extension
union all
select format('table %%s kind=%%s persistence=%%s rls=%%s options=%%s partition=%%s', name, relkind,
  relpersistence, relrowsecurity, reloptions, pg_get_expr(relpartbound, oid))
from relations where relkind in ('r', 'p', 'f')
union all
select format('column %%s.%%I %%s notnull=%%s default=%%s identity=%%s generated=%%s collation=%%s',
  r.name, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
  pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, a.attcollation::regcollation)
from relations r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = r.oid and d.adnum = a.attnum
where r.relkind in ('r', 'p', 'f', 'c')
union all
select format('constraint %%s %%I %%s', r.name, k.conname, pg_get_constraintdef(k.oid))
from relations r join pg_constraint k on k.conrelid = r.oid where k.contype <> 'n'
union all
select format('index %%s valid=%%s', pg_get_indexdef(i.indexrelid), i.indisvalid)
from relations r join pg_index i on i.indrelid = r.oid
  where r.relkind in ('r', 'p', 'm')
union all
select format('view %%s %%s', name, pg_get_viewdef(oid)) from relations where relkind in ('v', 'm')
union all
select format('sequence %%s %%s', r.name, to_jsonb(s) - 'seqrelid')
from relations r join pg_sequence s on s.seqrelid = r.oid
union all
select format('trigger %%s %%s enabled=%%s', r.name, pg_get_triggerdef(t.oid), t.tgenabled)
from relations r join pg_trigger t on t.tgrelid = r.oid where not t.tgisinternal
union all
select format('policy %%s %%I %%s %%s', r.name, p.polname, pg_get_expr(p.polqual, p.polrelid),
  pg_get_expr(p.polwithcheck, p.polrelid))
from relations r join pg_policy p on p.polrelid = r.oid
union all
select format('comment %%s %%s %%s', r.name, a.attname, d.description)
from relations r join pg_description d on d.objoid = r.oid and d.classoid = 'pg_class'::regclass
left join pg_attribute a on a.attrelid = r.oid and a.attnum = d.objsubid and d.objsubid > 0
union all
select format('enum %%I.%%I %%s', s.nspname, t.typname,
  array(select enumlabel from pg_enum where enumtypid = t.oid order by enumsortorder))
from pg_type t join schemas s on s.oid = t.typnamespace where t.typtype = 'e'
union all
select format('domain %%I.%%I %%s notnull=%%s default=%%s', s.nspname, t.typname,
  format_type(t.typbasetype, t.typtypmod), t.typnotnull, t.typdefault)
from pg_type t join schemas s on s.oid = t.typnamespace where t.typtype = 'd'
union all
select format('check of domain %%I.%%I %%I %%s', s.nspname, t.typname, k.conname,
  pg_get_constraintdef(k.oid))
from pg_type t join schemas s on s.oid = t.typnamespace
join pg_constraint k on k.contypid = t.oid and k.contype = 'c'
union all
select format('function %%s %%s', p.oid::regprocedure, md5(pg_get_functiondef(p.oid)))
from pg_proc p join schemas s on s.oid = p.pronamespace
where p.prokind in ('f', 'p') and not exists (
  select from pg_depend d
  where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e')"""


def fingerprint(connection: psycopg.Connection[Any], version_table: str) -> frozenset[str]:
    """Describe everything in the database that a revision may change, in lines.

    Args:
        connection: a session in it.
        version_table: which is left out.
    """
    ours = [version_table, f"{version_table}_pkc", *OWN_TABLES]
    rows = connection.execute(LINES, {"ours": ours}).fetchall()
    return frozenset(line for (line,) in rows)


def changes(before: frozenset[str], after: frozenset[str], *, limit: int = 3) -> str:
    """Say how two schemas differ: `+` is only in the second, `-` only in the first."""
    listed = [
        *(f"- {' '.join(line.split())}" for line in sorted(before - after)),
        *(f"+ {' '.join(line.split())}" for line in sorted(after - before)),
    ]
    more = f" … ({len(listed)} in all)" if len(listed) > limit else ""
    return "; ".join(line[:160] for line in listed[:limit]) + more
