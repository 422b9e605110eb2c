"""What domains demand of their values: base type, default, NOT NULL, checks.

Both sides are compared in the server's own spelling: the models' domain is made in the temporary
schema and rolled back. Domains come before the columns that use them, and go after the last one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import DOMAIN

from automigrate.workflow.domains import DEMANDS, Demands, create, domains_of, name_of
from automigrate.workflow.operations import (
    COLUMNS_OF_TYPE,
    DomainCheck,
    Sql,
    columns_freed,
    expression_of,
    quoted_name,
)
from automigrate.workflow.spelling import original_of_domain, spell_domain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from alembic.operations import ops
    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection

    from automigrate.workflow.filters import Filters

__all__ = ["DomainChanges", "domain_changes"]

KIND = "domain"
"""As the filter, `include_object`, is told."""
Key = tuple["str | None", str]

IN_DATABASE = text(f"""\
select case when n.nspname = current_schema() then null else n.nspname end, t.typname,
  {COLUMNS_OF_TYPE},
  array(select case when dn.nspname = current_schema() then '' else dn.nspname || '.' end
      || d.typname
    from pg_type d join pg_namespace dn on dn.oid = d.typnamespace
    where d.typtype = 'd' and d.typbasetype in (t.oid, t.typarray)),
  exists (select from pg_attribute a join pg_class c on c.oid = a.attrelid
    where not a.attisdropped and (a.atttypid = t.typarray and c.relkind in ('r', 'p', 'm', 'c')
      or a.atttypid = t.oid and c.relkind = 'c')),
  {DEMANDS}
from pg_type t join pg_namespace n on n.oid = t.typnamespace
where t.typtype = 'd' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (select from pg_depend d
    where d.classid = 'pg_type'::regclass and d.objid = t.oid and d.deptype = 'e')""")  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainChanges:
    """What is to be done about domains."""

    created: list[Sql] = field(default_factory=list)
    altered: list[Sql] = field(default_factory=list)
    """What takes demands away, gives defaults and names."""
    demanded: list[Sql] = field(default_factory=list)
    """What all values have to meet, after everything else."""
    dropped: list[Sql] = field(default_factory=list)
    freed: set[str] = field(default_factory=set)
    """Names of the domains that no longer need what their default needs."""
    undeclared: list[str] = field(default_factory=list)
    """Said of each check that is dropped because the models lack it."""
    notes: list[str] = field(default_factory=list)
    """What the person at work has to know about a change."""
    beyond: list[str] = field(default_factory=list)
    """Differences that no statement of PostgreSQL mends."""
    warnings: list[str] = field(default_factory=list)
    """Why something could not be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A domain of the database."""

    columns: frozenset[str]
    derived: frozenset[str]
    """Domains that are made of it."""
    contained: bool
    """In an array or a composite type, into which the server does not look when it proves."""
    demands: Demands


def domain_changes(
    connection: Connection, filters: Filters, metadata: Iterable[MetaData], script: ops.UpgradeOps
) -> DomainChanges:
    """Compare the models' domains with the database's.

    Args:
        connection: to the database.
        filters: of the project.
        metadata: the models.
        script: what else will be done; the last column of a domain may go with it.
    """
    default: Any = connection.scalar(text("select current_schema()"))
    changes = DomainChanges()
    wanted = {
        (None if domain.schema == default else domain.schema, str(domain.name)): domain
        for domain in domains_of(metadata)
    }
    found: dict[Key, _Found] = {
        (schema, name): _Found(
            columns=frozenset(columns),
            derived=frozenset(derived),
            contained=contained,
            demands=Demands.of(demands),
        )
        for schema, name, columns, derived, contained, *demands in connection.execute(IN_DATABASE)
    }
    for key, domain in wanted.items():
        if key not in found:
            changes.created.append(Sql(create(domain), f"DROP DOMAIN {name_of(domain)}"))
        elif filters.include_wanted(domain, key[1], KIND, DOMAIN(key[1], domain.data_type)):
            _Comparison(connection, domain, key, found[key], changes).compare()
    gone = columns_freed(script, default, lambda changed: changed.modify_type is not None)
    left = {key: one for key, one in found.items() if key not in wanted}
    for key in _unused(left, gone):
        changes.dropped.append(_drop(connection, key, found[key].demands))
        changes.freed.add(_place(key))
    return changes


def _unused(left: dict[Key, _Found], gone: set[str]) -> Iterator[Key]:
    """Yield the domains that lose their last column, each before those that it is made of."""
    done: set[str] = set()
    while True:
        unused = [
            key
            for key, one in left.items()
            if (one.columns or one.derived) and one.columns <= gone and one.derived <= done
            if _place(key) not in done
        ]
        if not unused:
            return
        yield from unused
        done.update(map(_place, unused))


def _place(key: Key) -> str:
    """Name a domain as the catalogue's queries do."""
    schema, name = key
    return f"{schema}.{name}" if schema else name


def _drop(connection: Connection, key: Key, demands: Demands) -> Sql:
    name = quoted_name(key[1], key[0])
    parts = [demands.kind]
    parts += [] if demands.default is None else [f"DEFAULT {demands.default}"]
    parts += ["NOT NULL"] if demands.not_null else []
    parts += (
        f"CONSTRAINT {quoted_name(check)} {original_of_domain(connection, demands.kind, written)}"
        for check, written in demands.checks.items()
    )
    return Sql(f"DROP DOMAIN {name}", f"CREATE DOMAIN {name} AS {' '.join(parts)}")


class _Comparison:
    """Of one domain."""

    def __init__(
        self,
        connection: Connection,
        domain: DOMAIN,
        key: Key,
        found: _Found,
        changes: DomainChanges,
    ) -> None:
        self._connection = connection
        self._domain = domain
        self._key = key
        self._contained = found.contained
        self._found = found.demands
        self._changes = changes
        self._name = name_of(domain)
        self._alter = f"ALTER DOMAIN {self._name}"

    def compare(self) -> None:
        spelled = spell_domain(self._connection, self._domain)
        if spelled.demands is None:
            self._changes.warnings.append(
                f"domain {self._name} cannot be compared, because the server refuses what the "
                f"models say: {spelled.refusal}."
            )
        elif spelled.demands.kind != self._found.kind:
            self._changes.beyond.append(
                f"domain {self._name} is {self._found.kind} in the database and "
                f"{spelled.demands.kind} in the models. PostgreSQL cannot change the type of a "
                "domain: give the models' domain a new name, and its columns change over to it"
            )
        else:
            self._default(spelled.demands.default)
            self._not_null(wanted=spelled.demands.not_null)
            self._checks(spelled.spellings)

    def _default(self, wanted: str | None) -> None:
        found = self._found.default
        if wanted != found:
            self._changes.altered.append(Sql(self._set(wanted), self._set(found)))
            self._changes.freed.add(_place(self._key))

    def _set(self, default: str | None) -> str:
        change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
        return f"{self._alter} {change}"

    def _not_null(self, *, wanted: bool) -> None:
        if wanted == self._found.not_null:
            return
        forth, back = f"{self._alter} SET NOT NULL", f"{self._alter} DROP NOT NULL"
        if not wanted:
            self._changes.altered.append(Sql(back, forth))
        elif self._contained:
            self._changes.beyond.append(
                f"domain {self._name} is NOT NULL in the models only. PostgreSQL cannot set that "
                "while an array or a composite type contains the domain"
            )
        else:
            self._changes.demanded.append(Sql(forth, back))
            self._changes.notes.append(
                f"NOT NULL of domain {self._name} reads all tables that use it in one step, which "
                "blocks writes to them meanwhile; PostgreSQL has no other way."
            )

    def _checks(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        left = dict(self._found.checks)
        for name, spellings in wanted.items():
            alike = sorted(left, key=lambda other: other != name)
            same = next((other for other in alike if left[other] in spellings), None)
            if same is None:
                self._demand(name)
            else:
                del left[same]
                self._rename(same, name)
        for name, definition in left.items():
            written = original_of_domain(self._connection, self._found.kind, definition)
            self._changes.altered.append(DomainCheck(self._name, name, written).reverse())
            if name not in wanted:
                self._changes.undeclared.append(
                    f"check {name} of domain {self._name} is dropped, because the models do not "
                    "declare it."
                )

    def _demand(self, name: str) -> None:
        check = DomainCheck(self._name, name, f"CHECK ({expression_of(self._domain.check)})")
        if not self._contained:
            self._changes.demanded.append(check)
            return
        self._changes.demanded.append(check.not_valid())
        self._changes.notes.append(
            f"check {name} of domain {self._name} counts for new values only: PostgreSQL cannot "
            "look at the old ones while an array or a composite type contains the domain."
        )

    def _rename(self, found: str, wanted: str) -> None:
        """Give a check the name that the models give; one that the server gives does not count."""
        if found != wanted and wanted == self._domain.constraint_name:
            change = f"ALTER DOMAIN {self._name} RENAME CONSTRAINT {{}} TO {{}}"
            old, new = quoted_name(found), quoted_name(wanted)
            self._changes.altered.append(Sql(change.format(old, new), change.format(new, old)))
