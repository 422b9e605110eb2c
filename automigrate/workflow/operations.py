"""What we add to Alembic's operations: how they are written into a revision, and undone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import renderers
from alembic.autogenerate.render import render_op
from alembic.operations import ops
from sqlalchemy import types
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.sql.elements import conv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from alembic.autogenerate.api import AutogenContext

__all__ = [
    "COLUMNS_OF_TYPE",
    "DIALECT",
    "AddCheck",
    "Autocommit",
    "DomainCheck",
    "DropCheck",
    "Exclusion",
    "NotValidForeignKey",
    "Nothing",
    "Remark",
    "Sql",
    "UsingColumn",
    "columns_freed",
    "escaped",
    "expression_of",
    "leaves",
    "literal",
    "quoted_name",
]


DIALECT = PGDialect(paramstyle="named")  # type: ignore[no-untyped-call]
"""Renders SQL as it is, without the percent signs doubled for a driver."""
COLUMNS_OF_TYPE = """\
array(select case when cn.nspname = current_schema() then '' else cn.nspname || '.' end
      || c.relname || '.' || a.attname
    from pg_attribute a join pg_class c on c.oid = a.attrelid
    join pg_namespace cn on cn.oid = c.relnamespace
    where a.atttypid in (t.oid, t.typarray) and c.relkind in ('r', 'p') and not a.attisdropped)"""
"""SQL of the columns that have the type `t` of `pg_type`, named as `columns_freed` names them."""
_PARAMETER_LIKE = re.compile(r"(?<![:\\]):(?=\w)")


class Sql(ops.ExecuteSQLOp):
    """A statement, and the one that undoes it."""

    def __init__(self, statement: str, undo: str | None) -> None:
        super().__init__(escaped(statement))
        self.statement = statement
        self.undo = undo

    def reverse(self) -> ops.MigrateOperation:
        """Return the undoing statement, or a remark that there is none."""
        if self.undo is None:
            return Remark(f"Cannot be undone, and may stay: {self.statement}")
        return Sql(self.undo, self.statement)


class Remark(ops.MigrateOperation):
    """A comment for the person who reads the revision; several lines where they say so."""

    def __init__(self, text: str) -> None:
        self.text = text

    def reverse(self) -> Remark:
        """Say the same in the downgrade."""
        return self


class Nothing(ops.MigrateOperation):
    """What a function does that has remarks only."""


class Autocommit(ops.MigrateOperation):
    """Operations outside of a transaction."""

    def __init__(self, operations: Sequence[ops.MigrateOperation]) -> None:
        self.operations = list(operations)


class NotValidForeignKey(ops.CreateForeignKeyOp):
    """A foreign key that counts for new rows and has not looked at the old ones."""

    @classmethod
    def of(cls, plain: ops.CreateForeignKeyOp, name: str) -> NotValidForeignKey:
        """Make one of a plain foreign key."""
        return cls(
            name,
            plain.source_table,
            plain.referent_table,
            plain.local_cols,
            plain.remote_cols,
            **plain.kw,
        )


class AddCheck(ops.CreateCheckConstraintOp):
    """A check constraint on a table that exists."""

    @classmethod
    def of(cls, name: str, table: str, expression: str, schema: str | None = None) -> AddCheck:
        """Make one.

        Args:
            name: as it is; no naming convention shall be applied to it.
            table: which it is on.
            expression: in SQL.
            schema: of the table.
        """
        return cls(conv(name), table, escaped(expression), schema=schema)

    def not_valid(self) -> AddCheck:
        """Return it in the form that has not looked at the rows that exist."""
        return AddCheck(
            self.constraint_name,
            self.table_name,
            self.condition,
            schema=self.schema,
            postgresql_not_valid=True,
        )

    def reverse(self) -> DropCheck:
        """Return the operation that drops it."""
        return DropCheck(self)


class DropCheck(ops.DropConstraintOp):
    """Drops a check constraint, and knows how to bring it back."""

    def __init__(self, check: AddCheck) -> None:
        super().__init__(check.constraint_name, check.table_name, "check", schema=check.schema)
        self.check = check

    def reverse(self) -> AddCheck:
        """Return the operation that adds it again."""
        return self.check


class Exclusion(Sql):
    """Adds or drops an exclusion constraint; Alembic's own operation knows no operator class."""

    def __init__(
        self, name: str, table: str, definition: str, schema: str | None, *, adds: bool = True
    ) -> None:
        change = f"ALTER TABLE {quoted_name(table, schema)} {{}} CONSTRAINT {quoted_name(name)}"
        add = f"{change.format('ADD')} {definition}"
        drop = change.format("DROP")
        super().__init__(*((add, drop) if adds else (drop, add)))
        self.name = name
        self.table_name = table
        self.schema = schema
        self.definition = definition
        self.adds = adds

    def reverse(self) -> Exclusion:
        """Return the other one of adding and dropping."""
        return Exclusion(
            self.name, self.table_name, self.definition, self.schema, adds=not self.adds
        )


class DomainCheck(Sql):
    """Adds or drops a check of a domain, which Alembic has no operation for."""

    def __init__(self, domain: str, name: str, definition: str, *, adds: bool = True) -> None:
        add, drop = _domain_check(domain, name, definition)
        super().__init__(*((add, drop) if adds else (drop, add)))
        self.domain = domain
        self.name = name
        self.definition = definition
        self.adds = adds

    def reverse(self) -> DomainCheck:
        """Return the other one of adding and dropping."""
        return DomainCheck(self.domain, self.name, self.definition, adds=not self.adds)

    def not_valid(self) -> Sql:
        """Return the addition in the form that has not looked at the values that exist."""
        return Sql(*_domain_check(self.domain, self.name, f"{self.definition} NOT VALID"))


class UsingColumn(ops.AlterColumnOp):
    """A change of type that says how the values are converted."""

    using = ""

    @classmethod
    def of(cls, plain: ops.AlterColumnOp, using: str) -> UsingColumn:
        """Make one of a plain change."""
        made = cls(plain.table_name, plain.column_name)
        made.__dict__.update(plain.__dict__)
        made.using = using
        return made


def columns_freed(
    container: ops.OpContainer, default: str, by: Callable[[ops.AlterColumnOp], bool]
) -> set[str]:
    """Name the columns that no longer need what they needed.

    Args:
        container: the operations.
        default: schema that names are given without.
        by: which changes of a column free it, besides that it goes.
    """
    return {name.removeprefix(f"{default}.") for name in _columns_freed(container, by)}


def _columns_freed(
    container: ops.OpContainer, by: Callable[[ops.AlterColumnOp], bool]
) -> Iterator[str]:
    for operation in leaves(container):
        match operation:
            case ops.DropTableOp():
                for column in operation.to_table().columns:
                    yield _qualified(operation, column.name)
            case ops.DropColumnOp():
                yield _qualified(operation, operation.column_name)
            case ops.AlterColumnOp() if by(operation):
                yield _qualified(operation, operation.column_name)


def _domain_check(domain: str, name: str, definition: str) -> tuple[str, str]:
    change = f"ALTER DOMAIN {domain} {{}} CONSTRAINT {quoted_name(name)}"
    return f"{change.format('ADD')} {definition}", change.format("DROP")


def escaped(statement: str) -> str:
    """Keep colons from being taken for parameters by `text`."""
    return _PARAMETER_LIKE.sub(r"\:", statement)


def expression_of(condition: Any) -> str:
    """Write what a check demands as SQL."""
    compiler: Any = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
    text: str = compiler.sql_compiler.process(condition, include_table=False, literal_binds=True)
    return text


def leaves(container: ops.OpContainer) -> Iterator[ops.MigrateOperation]:
    """Walk the operations, those of a table one by one."""
    for operation in container.ops:
        if isinstance(operation, ops.OpContainer):
            yield from leaves(operation)
        else:
            yield operation


def literal(value: str) -> str:
    """Write a text as SQL."""
    processor: Any = types.String().literal_processor(DIALECT)  # type: ignore[no-untyped-call]
    return str(processor(value))


def quoted_name(name: str, schema: str | None = None) -> str:
    """Quote an identifier where PostgreSQL needs it."""
    quote = DIALECT.identifier_preparer.quote
    return f"{quote(schema)}.{quote(name)}" if schema else str(quote(name))


def _qualified(operation: ops.AlterTableOp | ops.DropTableOp, column: str) -> str:
    schema = f"{operation.schema}." if operation.schema else ""
    return f"{schema}{operation.table_name}.{column}"


def _prefix(context: AutogenContext) -> str:
    return str(context.opts["alembic_module_prefix"] or "")


@renderers.dispatch_for(Remark)
def _remark(_context: AutogenContext, operation: Remark) -> list[str]:
    return [f"# {line}" for line in operation.text.splitlines()]


@renderers.dispatch_for(Nothing)
def _nothing(_context: AutogenContext, _operation: Nothing) -> str:
    return "pass"


@renderers.dispatch_for(Autocommit)
def _autocommit(context: AutogenContext, operation: Autocommit) -> list[str]:
    lines = [f"with {_prefix(context)}get_context().autocommit_block():"]
    for child in operation.operations:
        lines += render_op(context, child)
    return [*lines, ""]  # Alembic's printer indents by the colon, and ends a block at this


@renderers.dispatch_for(ops.RenameTableOp)
def _rename_table(context: AutogenContext, operation: ops.RenameTableOp) -> str:
    schema = f", schema={str(operation.schema)!r}" if operation.schema else ""
    return (
        f"{_prefix(context)}rename_table({str(operation.table_name)!r}, "
        f"{str(operation.new_table_name)!r}{schema})"
    )


@renderers.dispatch_for(NotValidForeignKey)
def _not_valid(context: AutogenContext, operation: NotValidForeignKey) -> str:
    return _with(_parent(context, operation, ops.CreateForeignKeyOp), "postgresql_not_valid=True")


@renderers.dispatch_for(AddCheck)
def _check(context: AutogenContext, operation: AddCheck) -> str:
    arguments = [
        f"{_prefix(context)}f({str(operation.constraint_name)!r})",
        repr(str(operation.table_name)),
        repr(str(operation.condition)),
        *([f"schema={str(operation.schema)!r}"] if operation.schema else ()),
        *(f"{name}={value!r}" for name, value in operation.kw.items()),
    ]
    return f"{_prefix(context)}create_check_constraint({', '.join(arguments)})"


@renderers.dispatch_for(UsingColumn)
def _using(context: AutogenContext, operation: UsingColumn) -> str:
    text = _parent(context, operation, ops.AlterColumnOp)
    return _with(text, f"postgresql_using={operation.using!r}")


def _parent(context: AutogenContext, operation: Any, kind: type[ops.MigrateOperation]) -> str:
    """Write an operation as Alembic writes the kind that it is made of."""
    plain = kind.__new__(kind)
    plain.__dict__.update(operation.__dict__)
    return "\n".join(render_op(context, plain))


def _with(call: str, argument: str) -> str:
    return f"{call.removesuffix(')')}, {argument})"
