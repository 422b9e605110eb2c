"""Domain types: created before the columns that use them, dropped after the last one.

Alembic creates one together with a table only. What a domain that exists demands is not compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text, types
from sqlalchemy.dialects.postgresql import DOMAIN, CreateDomainType

from automigrate.workflow.operations import (
    COLUMNS_OF_TYPE,
    DIALECT,
    Sql,
    columns_freed,
    literal,
    quoted_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from alembic.operations import ops
    from sqlalchemy import MetaData, Table
    from sqlalchemy.engine import Connection

__all__ = ["DomainChanges", "created_where_missing", "domain_changes"]

Key = tuple["str | None", str]

IN_DATABASE = text(f"""\
select case when n.nspname = current_schema() then null else n.nspname end, t.typname,
  concat_ws(' ', format_type(t.typbasetype, t.typtypmod), 'DEFAULT ' || t.typdefault,
    case when t.typnotnull then 'NOT NULL' end,
    (select string_agg(format('CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), ' '
      order by k.conname) from pg_constraint k where k.contypid = t.oid and k.contype = 'c')),
  {COLUMNS_OF_TYPE}
from pg_type t join pg_namespace n on n.oid = t.typnamespace
where t.typtype = 'd' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (select from pg_depend d
    where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')""")  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainChanges:
    """What is to be done about domains."""

    created: list[Sql] = field(default_factory=list)
    dropped: list[Sql] = field(default_factory=list)


def domain_changes(
    connection: Connection, metadata: Iterable[MetaData], script: ops.UpgradeOps
) -> DomainChanges:
    """Find the domains that the models have and the database has not, and those that go."""
    default: Any = connection.scalar(text("select current_schema()"))
    changes = DomainChanges()
    wanted = {
        (None if domain.schema == default else domain.schema, str(domain.name)): domain
        for models in metadata
        for table in models.tables.values()
        for domain in _of_table(table)
    }
    found: dict[Key, tuple[str, set[str]]] = {
        (schema, name): (definition, set(columns))
        for schema, name, definition, columns in connection.execute(IN_DATABASE)
    }
    for key, domain in wanted.items():
        if key not in found:
            changes.created.append(Sql(_create(domain), f"DROP DOMAIN {_name(domain)}"))
    gone = columns_freed(script, default, lambda changed: changed.modify_type is not None)
    for (schema, name), (definition, columns) in found.items():
        if (schema, name) not in wanted and columns and columns <= gone:
            quoted = quoted_name(name, schema)
            changes.dropped.append(
                Sql(f"DROP DOMAIN {quoted}", f"CREATE DOMAIN {quoted} AS {definition}")
            )
    return changes


def created_where_missing(table: Table) -> Iterator[str]:
    """Yield statements that make a table's domains where they do not exist, for a probe."""
    for domain in _of_table(table):
        if domain.schema:
            yield f"CREATE SCHEMA IF NOT EXISTS {quoted_name(domain.schema)}"
        name = literal(_name(domain))
        yield (
            f"DO $do$ BEGIN IF to_regtype({name}) IS NULL THEN {_create(domain)}; END IF; END $do$"
        )


def _of_table(table: Table) -> Iterator[DOMAIN]:
    for column in table.columns:
        kind: Any = column.type
        while isinstance(kind, types.ARRAY | types.TypeDecorator):
            kind = kind.item_type if isinstance(kind, types.ARRAY) else kind.impl
        if isinstance(kind, DOMAIN):
            yield kind


def _create(domain: DOMAIN) -> str:
    return str(CreateDomainType(domain).compile(dialect=DIALECT))


def _name(domain: DOMAIN) -> str:
    return quoted_name(str(domain.name), domain.schema)
