"""Domain types: those of the models, and what the server says of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import types
from sqlalchemy.dialects.postgresql import DOMAIN, CreateDomainType

from automigrate.workflow.operations import DIALECT, literal, quoted_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import MetaData, Table

__all__ = ["DEMANDS", "Demands", "create", "created_where_missing", "domains_of", "name_of"]

DEMANDS = """\
format_type(t.typbasetype, t.typtypmod)
    || coalesce((select ' COLLATE ' || t.typcollation::regcollation from pg_type b
      where b.oid = t.typbasetype and b.typcollation <> t.typcollation), ''),
  t.typdefault, t.typnotnull,
  array(select k.conname::text from pg_constraint k
    where k.contypid = t.oid and k.contype = 'c' order by k.conname),
  array(select regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', '') from pg_constraint k
    where k.contypid = t.oid and k.contype = 'c' order by k.conname)"""
"""SQL of what the domain `t` of `pg_type` demands. Whether old rows were looked at is a matter of
the revisions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """Of a domain, in the server's own spelling."""

    kind: str
    """The base type, and its collation where that is not the type's own."""
    default: str | None
    not_null: bool
    checks: Mapping[str, str]
    """Name → definition."""

    @classmethod
    def of(cls, row: Sequence[Any]) -> Demands:
        """Read the columns of `DEMANDS`."""
        kind, default, not_null, names, definitions = row
        checks = dict(zip(names, definitions, strict=True))
        return cls(kind=kind, default=default, not_null=not_null, checks=checks)


def domains_of(metadata: Iterable[MetaData]) -> Iterator[DOMAIN]:
    """Yield the domains that columns have, each after those that it is made of."""
    for models in metadata:
        for table in models.tables.values():
            yield from _of_table(table)


def create(domain: DOMAIN, name: str | None = None) -> str:
    """Return the statement that makes a domain, if need be under another name."""
    statement = str(CreateDomainType(domain).compile(dialect=DIALECT))
    made = f"CREATE DOMAIN {name_of(domain)} AS"
    return f"CREATE DOMAIN {name or name_of(domain)} AS{statement.removeprefix(made)}"


def name_of(domain: DOMAIN) -> str:
    """Return its name as SQL."""
    return quoted_name(str(domain.name), domain.schema)


def created_where_missing(table: Table) -> Iterator[str]:
    """Yield statements that make a table's domains where they do not exist, for a probe."""
    for domain in _of_table(table):
        if domain.schema:
            yield f"CREATE SCHEMA IF NOT EXISTS {quoted_name(domain.schema)}"
        name = literal(name_of(domain))
        yield f"DO $do$ BEGIN IF to_regtype({name}) IS NULL THEN {create(domain)}; END IF; END $do$"


def _of_table(table: Table) -> Iterator[DOMAIN]:
    for column in table.columns:
        yield from _of_type(column.type)


def _of_type(kind: Any) -> Iterator[DOMAIN]:
    match kind:
        case types.ARRAY():
            yield from _of_type(kind.item_type)
        case types.TypeDecorator():
            yield from _of_type(kind.impl)
        case DOMAIN():
            yield from _of_type(kind.data_type)
            yield kind
