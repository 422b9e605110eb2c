"""Check and exclusion constraints of tables that exist, which Alembic does not compare.

Both sides are compared in the server's own spelling. A name that the models leave to the server,
or to the type of a column, does not count: such a constraint is found by its definition.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain, count
from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy import CheckConstraint, Constraint, MetaData, Table, text
from sqlalchemy.dialects.postgresql import ExcludeConstraint

from automigrate.workflow.comparison import quiet_reflection
from automigrate.workflow.operations import (
    DIALECT,
    AddCheck,
    Exclusion,
    Sql,
    escaped,
    expression_of,
    leaves,
    quoted_name,
)
from automigrate.workflow.spelling import normalised, original, spell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Connection

    from automigrate.workflow.filters import Filters
    from automigrate.workflow.spelling import Spelled

__all__ = ["ConstraintChanges", "constraint_changes"]

CHECK, EXCLUSION = "check_constraint", "exclude_constraint"
"""As Alembic's filters, `include_name` and `include_object`, are told."""
Key = tuple["str | None", str]

TABLES = text("""\
select case when n.nspname = current_schema() then null else n.nspname end, c.relname
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind in ('r', 'p')""")

IN_DATABASE = text("""\
select case when n.nspname = current_schema() then null else n.nspname end, c.relname, k.conname,
  case k.contype when 'c' then 'check_constraint' else 'exclude_constraint' end,
  pg_get_constraintdef(k.oid),
  k.coninhcount > 0 or k.conparentid <> 0
from pg_constraint k
join pg_class c on c.oid = k.conrelid and c.relkind in ('r', 'p')
join pg_namespace n on n.oid = c.relnamespace
where k.contype in ('c', 'x') and not exists (
  select from pg_depend d
  where d.classid = 'pg_constraint'::regclass and d.objid = k.oid and d.deptype = 'e')
order by k.conname""")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstraintChanges:
    """What is to be done about check and exclusion constraints."""

    dropped: list[ops.MigrateOperation] = field(default_factory=list)
    """Before anything else: their columns may go, or change their types."""
    renamed: list[Sql] = field(default_factory=list)
    added: list[ops.MigrateOperation] = field(default_factory=list)
    """In the end: their columns may be new."""
    undeclared: list[str] = field(default_factory=list)
    """Said of each that is dropped because the models lack it: somebody may have meant it."""
    warnings: list[str] = field(default_factory=list)
    """Why something could not be compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A constraint of the database."""

    name: str
    kind: str
    definition: str
    inherited: bool
    """From a table that this one is a partition or a child of, where it is changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A constraint of the models."""

    constraint: Constraint
    kind: str
    name: str | None
    """`None` where its definition alone counts."""
    spelled: Spelled


def constraint_changes(
    connection: Connection, filters: Filters, metadata: Sequence[MetaData], script: ops.UpgradeOps
) -> ConstraintChanges:
    """Compare the models' check and exclusion constraints with the database's.

    Args:
        connection: to the database.
        filters: of the project.
        metadata: the models.
        script: what else will be done; tables that it makes or drops are left to it.
    """
    schema: Any = connection.scalar(text("select current_schema()"))
    existing = {(found, name) for found, name in connection.execute(TABLES)}
    found: dict[Key, list[_Found]] = {}
    for place, table, name, kind, definition, inherited in connection.execute(IN_DATABASE):
        found.setdefault((place, table), []).append(
            _Found(
                name=name,
                kind=kind,
                definition=normalised(definition),
                inherited=inherited,
            )
        )
    left_out = set(_made_or_dropped(script, schema))
    made_with_types = set(_columns_with_new_types(script, schema))
    changes = ConstraintChanges()
    for table in chain.from_iterable(models.sorted_tables for models in metadata):
        key = _key(table, schema)
        if key in existing and key not in left_out:
            one = _Comparison(connection, filters, table, key, changes)
            one.compare(found.get(key, []), made_with_types)
    return changes


class _Comparison:
    """Of the constraints of one table."""

    def __init__(
        self,
        connection: Connection,
        filters: Filters,
        table: Table,
        key: Key,
        changes: ConstraintChanges,
    ) -> None:
        self._connection = connection
        self._filters = filters
        self._table = table
        self._key = key
        self._changes = changes

    def compare(self, found: list[_Found], made_with_types: set[tuple[Key, str]]) -> None:
        left = {one.name: one for one in found if self._looked_at(one)}
        wanted = self._wanted(made_with_types) if self._is_included(bool(left)) else None
        if wanted is None:
            return
        named = [one for one in wanted if one.name in left]
        others = [one for one in wanted if one.name not in left]
        for one in named:
            self._same_name(one, left.pop(str(one.name)))
        missing = [one for one in others if not self._same_definition(one, left)]
        unknown = [one for one in missing if one.name is None and not one.spelled.definitions]
        if unknown:  # any of those that are left may be it
            self._warn("without a name", unknown[0])
            return
        taken = {one.name for one in found if one.name not in left}
        replaced = {one.name or one.spelled.name for one in missing}
        for gone in left.values():
            if not gone.inherited and self._allowed(None, gone):
                self._changes.dropped.append(self._drop(gone))
                if gone.name not in replaced:
                    self._changes.undeclared.append(
                        f"constraint {gone.name} on {self._table.key} is dropped, because the "
                        "models do not declare it."
                    )
        for one in missing:
            if self._allowed(one, None):
                self._changes.added.append(self._add(one, taken))

    def _same_name(self, wanted: _Wanted, found: _Found) -> None:
        if found.definition in wanted.spelled.definitions or found.inherited:
            return
        if not wanted.spelled.definitions:
            self._warn(found.name, wanted)
        elif self._allowed(wanted, found):
            self._changes.dropped.append(self._drop(found))
            self._changes.added.append(self._add(wanted, set()))

    def _warn(self, name: str, wanted: _Wanted) -> None:
        self._changes.warnings.append(
            f"constraint {name} on {self._table.key} cannot be compared, because the server "
            f"refuses what the models say: {wanted.spelled.refusal}."
        )

    def _same_definition(self, wanted: _Wanted, left: dict[str, _Found]) -> bool:
        """Find it under another name; a name that the models give is given to it."""
        for found in left.values():
            if found.kind == wanted.kind and found.definition in wanted.spelled.definitions:
                break
        else:
            return False
        del left[found.name]
        if wanted.name is not None and not found.inherited and self._allowed(wanted, found):
            statement = f"ALTER TABLE {self._quoted} RENAME CONSTRAINT {{}} TO {{}}"
            old, new = quoted_name(found.name), quoted_name(wanted.name)
            self._changes.renamed.append(
                Sql(statement.format(old, new), statement.format(new, old))
            )
        return True

    def _wanted(self, made_with_types: set[tuple[Key, str]]) -> list[_Wanted]:
        compiler: Any = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
        constraints = [
            constraint
            for constraint in _constraints_of(self._table)
            if constraint._should_create_for_compiler(compiler)  # noqa: SLF001 - as for CREATE TABLE
            and not (
                constraint._type_bound  # noqa: SLF001 - made by Alembic with its column
                and any((self._key, c.name) in made_with_types for c in constraint.columns)
            )
        ]
        if not constraints:
            return []
        return [
            _Wanted(
                constraint=constraint,
                kind=CHECK if isinstance(constraint, CheckConstraint) else EXCLUSION,
                name=_name_of(constraint),
                spelled=spelled,
            )
            for constraint, spelled in zip(
                constraints, spell(self._connection, self._table, constraints), strict=True
            )
        ]

    def _add(self, wanted: _Wanted, taken: set[str]) -> ops.MigrateOperation:
        name = wanted.name
        if name is None:
            base = wanted.spelled.name or f"{self._table.name}_check"
            name = next(
                name
                for name in chain([base], (f"{base}{number}" for number in count(1)))
                if name not in taken
            )
        taken.add(name)
        table, schema = self._table.name, self._table.schema
        if isinstance(wanted.constraint, CheckConstraint):
            return AddCheck.of(name, table, expression_of(wanted.constraint.sqltext), schema)
        return Exclusion(name, table, _definition(wanted.constraint), schema)

    def _drop(self, found: _Found) -> ops.MigrateOperation:
        table, schema = self._table.name, self._table.schema
        definition = original(self._connection, self._table, found.definition)
        if found.kind == CHECK:
            demanded = definition.removeprefix("CHECK (").removesuffix(")")
            return AddCheck.of(found.name, table, demanded, schema).reverse()
        return Exclusion(found.name, table, definition, schema, adds=False)

    def _looked_at(self, found: _Found) -> bool:
        schema, table = self._key
        return self._filters.look_at(found.name, found.kind, schema, table)

    def _is_included(self, some_found: bool) -> bool:  # noqa: FBT001 - spares a reflection
        """Whether the project's filters leave the table in."""
        if not some_found and not list(_constraints_of(self._table)):
            return False
        schema, name = self._key
        if not self._filters.look_at(name, "table", schema):
            return False
        with quiet_reflection():
            reflected = Table(
                name, MetaData(), schema=schema, autoload_with=self._connection, resolve_fks=False
            )
        return self._filters.include_wanted(self._table, name, "table", reflected)

    def _allowed(self, wanted: _Wanted | None, found: _Found | None) -> bool:
        """Ask the project's filter, with what Alembic would call it with."""
        reflected = None if found is None else self._reflected(found)
        if wanted is not None:
            name = wanted.name or wanted.spelled.name
            return self._filters.include_wanted(wanted.constraint, name, wanted.kind, reflected)
        assert found is not None
        return self._filters.include_gone(reflected, found.name, found.kind)

    def _reflected(self, found: _Found) -> Constraint:
        constraint: Constraint = Constraint(name=found.name)
        if found.kind == CHECK:
            constraint = CheckConstraint(
                escaped(found.definition.removeprefix("CHECK ")), name=found.name
            )
        schema, name = self._key
        Table(name, MetaData(), schema=schema).append_constraint(constraint)
        return constraint

    @property
    def _quoted(self) -> str:
        return quoted_name(self._table.name, self._table.schema)


def _constraints_of(table: Table) -> Iterator[Any]:
    for one in chain(table.constraints, *(column.constraints for column in table.columns)):
        if isinstance(one, CheckConstraint | ExcludeConstraint):
            yield one


def _name_of(constraint: Any) -> str | None:
    """Return the name that the models give; what comes with a type may bear any."""
    if constraint.name is None or constraint._type_bound:  # noqa: SLF001 - as above
        return None
    name = DIALECT.identifier_preparer.format_constraint(constraint, _alembic_quote=False)
    return None if name is None else str(name)


def _definition(constraint: Constraint) -> str:
    compiler: Any = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
    text: str = compiler.process(constraint)
    return text[text.index("EXCLUDE") :]


def _made_or_dropped(script: ops.UpgradeOps, schema: str) -> Iterator[Key]:
    for operation in leaves(script):
        if isinstance(operation, ops.CreateTableOp | ops.DropTableOp):
            yield _key(operation, schema)


def _columns_with_new_types(script: ops.UpgradeOps, schema: str) -> Iterator[tuple[Key, str]]:
    """Columns that Alembic gives a type, and with it the check that the type brings along."""
    for operation in leaves(script):
        if isinstance(operation, ops.AddColumnOp):
            yield _key(operation, schema), operation.column.name
        elif isinstance(operation, ops.AlterColumnOp) and operation.modify_type is not None:
            yield _key(operation, schema), operation.column_name


def _key(of: Any, schema: str) -> Key:
    """Name a table as the catalogue's queries do: without the schema that is the default."""
    name = of.name if isinstance(of, Table) else of.table_name
    return (None if of.schema == schema else of.schema), name
