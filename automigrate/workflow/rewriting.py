"""Put operations into the form that keeps traffic flowing, in as many revisions as that takes.

What the new tables of a revision get is left alone: nobody uses them yet. On existing tables
- an index is built (or dropped) CONCURRENTLY, in an autocommit block, in a revision of its own;
- a unique constraint is made of such an index;
- a foreign key or a check, also one of a domain, is added NOT VALID and validated by the next
  revision, which blocks no writes (of a domain: no reads);
- NOT NULL is proved by a check constraint, validated by the next revision, and then set, which
  finds the proof and does not scan under its lock (manual, ALTER TABLE, Notes).
A revision is a transaction, so the parts of two steps have to be two revisions.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy import DefaultClause, text, types

from automigrate.workflow.draft import Draft, Phase
from automigrate.workflow.naming import fitting
from automigrate.workflow.operations import (
    DIALECT,
    AddCheck,
    DomainCheck,
    Exclusion,
    NotValidForeignKey,
    Remark,
    Sql,
    leaves,
    quoted_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

__all__ = ["rewrite"]


def rewrite(
    script: ops.UpgradeOps, *, partitioned: Collection[str] = (), safe: bool = True
) -> Draft:
    """Distribute the operations of a comparison over revisions.

    Args:
        script: the operations.
        partitioned: tables, qualified where not in the default schema, for which PostgreSQL knows
            no concurrent index and, before version 18, no foreign key NOT VALID.
        safe: `False` leaves everything as Alembic proposes it, in one revision.
    """
    draft = Draft()
    listed = list(leaves(script))
    writer = _Writer(draft, listed, set(partitioned))
    for operation in listed:
        if not safe or not writer.took(operation):
            draft.add(Phase.MAIN, operation, operation.reverse())
    writer.finish()
    return draft


class _Writer:
    """Knows which tables are new, and finds the safe form of an operation."""

    def __init__(
        self, draft: Draft, listed: list[ops.MigrateOperation], partitioned: set[str]
    ) -> None:
        self._draft = draft
        self._partitioned = partitioned
        self._absent = {
            _table(op) for op in listed if isinstance(op, ops.CreateTableOp | ops.DropTableOp)
        }
        self._columns_gone = {
            (_table(op), op.column_name) for op in listed if isinstance(op, ops.DropColumnOp)
        }
        self._referred = _referred(listed)
        self._proved: list[tuple[ops.MigrateOperation, ops.MigrateOperation]] = []

    def took(self, operation: ops.MigrateOperation) -> bool:
        """Write the safe form of an operation; `False`: it is safe as it is."""
        form = _FORMS.get(type(operation))
        if form is None or _table(operation) in self._absent:
            return False
        return form(self, operation)

    def finish(self) -> None:
        """Set NOT NULL after all scans, so that no lock is held during one."""
        for upgrade, downgrade in self._proved:
            self._draft.add(Phase.VALIDATE, upgrade, downgrade)

    def create_index(self, operation: Any) -> bool:
        if self._refused_for_partitions(operation, f"index {operation.index_name}"):
            return False
        made = _copied(operation)
        made.if_not_exists = True
        made.kw["postgresql_concurrently"] = True
        self._draft.concurrent.append((made, _dropping(operation.reverse())))
        return True

    def drop_index(self, operation: Any) -> bool:
        index, table = operation.to_index(), _table(operation)
        columns = {column.name for column in index.columns}
        gone = any((table, name) in self._columns_gone for name in columns)
        # What an expression is made of is not known; it may be one of the columns that go.
        unknown = any(getattr(part, "is_literal", True) for part in index.expressions)
        if (
            gone
            or (unknown and any(of == table for of, _ in self._columns_gone))
            or table in self._partitioned
        ):
            return False
        back = _copied(operation.reverse())
        back.if_not_exists = True
        back.kw["postgresql_concurrently"] = True
        self._draft.concurrent.append((_dropping(operation), back))
        return True

    def unique(self, operation: Any) -> bool:
        name, constraint = operation.constraint_name, operation.to_constraint()
        if (
            constraint.deferrable is not None
            or _table(operation) in self._referred
            or self._refused_for_partitions(operation, f"unique constraint {name}")
        ):
            return False
        options = {
            key: value
            for key, value in operation.kw.items()
            if key in ("postgresql_nulls_not_distinct", "postgresql_include")
        }
        index = ops.CreateIndexOp(
            name,
            operation.table_name,
            list(operation.columns),
            schema=operation.schema,
            unique=True,
            if_not_exists=True,
            postgresql_concurrently=True,
            **options,
        )
        attach = (
            f"ALTER TABLE {quoted_name(operation.table_name, operation.schema)} ADD CONSTRAINT "
            f"{quoted_name(str(name))} UNIQUE USING INDEX {quoted_name(str(name))}"
        )
        self._draft.concurrent.append((index, Remark("The constraint takes its index along.")))
        self._draft.attached.append((Sql(attach, None), operation.reverse()))
        return True

    def foreign_key(self, operation: Any) -> bool:
        name = operation.constraint_name
        if self._refused_for_partitions(operation, f"foreign key {name}"):
            return False
        self._in_two_steps(
            NotValidForeignKey.of(operation, name),
            ops.DropConstraintOp(
                name, operation.source_table, "foreignkey", schema=_schema(operation)
            ),
            _validating(operation, name),
        )
        return True

    def check(self, operation: Any) -> bool:
        added = operation.not_valid()
        name = str(operation.constraint_name)
        self._in_two_steps(added, added.reverse(), _validating(operation, name))
        return True

    def domain_check(self, operation: Any) -> bool:
        if not operation.adds:
            return False
        validate = f"ALTER DOMAIN {operation.domain} VALIDATE CONSTRAINT "
        self._in_two_steps(
            operation.not_valid(),
            operation.reverse(),
            Sql(f"{validate}{quoted_name(operation.name)}", ""),
        )
        return True

    def exclusion(self, operation: Any) -> bool:
        """Warn of the only way that there is (manual, ALTER TABLE: no NOT VALID, no index)."""
        if operation.adds:
            self._draft.warnings.append(
                f"exclusion constraint {operation.name} on {_table(operation)} is built in one "
                "step, which blocks reads and writes meanwhile; PostgreSQL has no other way."
            )
        return False

    def _in_two_steps(
        self, added: ops.MigrateOperation, drop: ops.MigrateOperation, validate: Sql
    ) -> None:
        """Add a constraint for new rows, and prove the old ones in the next revision."""
        self._draft.add(Phase.MAIN, added, drop)
        # There is no way back to NOT VALID but to add it anew.
        self._draft.add(Phase.VALIDATE, validate, added)
        self._draft.downgrade[Phase.VALIDATE].append(drop)

    def alter_column(self, operation: Any) -> bool:
        if operation.modify_nullable is not False:
            return False
        rest = copy(operation)
        rest.modify_nullable = None
        if rest.has_changes():
            rest.existing_nullable = operation.existing_nullable
            self._draft.add(Phase.MAIN, rest, rest.reverse())
        self._not_null(operation, operation.column_name, operation.modify_type)
        return True

    def add_column(self, operation: Any) -> bool:
        column = operation.column
        if column.nullable or column.primary_key or _filled_by_server(column):
            return False
        added = copy(operation)
        added.column = column._copy()  # noqa: SLF001 - as Alembic copies columns
        table, name = quoted_name(operation.table_name, operation.schema), quoted_name(column.name)
        value = _scalar_default(column)
        if value is not None:
            self._with_constant(operation, added, value)
            return True
        place = f"{operation.table_name}.{column.name}"
        added.column.nullable = True
        self._draft.add(Phase.MAIN, added, operation.reverse())
        remark = Remark(
            f"Rows that exist need a value in {place}, for example:\n"  # noqa: S608 - a comment
            f'op.execute("UPDATE {table} SET {name} = … WHERE {name} IS NULL")'
        )
        self._draft.add(Phase.BACKFILL, remark, None)
        self._draft.warnings.append(
            f"rows that exist need a value in {place}, which is NOT NULL: write it into the "
            "revision where its remark stands, or give the column a server_default."
        )
        self._not_null(operation, column.name, column.type)
        return True

    def _with_constant(self, operation: Any, added: Any, value: str) -> None:
        """Let the server fill in a constant, which costs no more than the catalogue entry.

        The default goes again at once: the models have none in the server.
        """
        added.column.server_default = DefaultClause(text(value))
        self._draft.add(Phase.MAIN, added, operation.reverse())
        self._draft.add(
            Phase.MAIN,
            ops.AlterColumnOp(
                operation.table_name,
                operation.column.name,
                schema=operation.schema,
                existing_type=operation.column.type,
                existing_nullable=False,
                modify_server_default=None,
            ),
            None,
        )

    def _not_null(self, operation: Any, column: str, kind: Any) -> None:
        """Add the proof, validate it, set NOT NULL, and take the proof away."""
        table = quoted_name(operation.table_name, operation.schema)
        proof = quoted_name(fitting(f"{operation.table_name}_{column}", "is_not_null"))
        add = (
            f"ALTER TABLE {table} ADD CONSTRAINT {proof} "
            f"CHECK ({quoted_name(column)} IS NOT NULL) NOT VALID"
        )
        drop = f"ALTER TABLE {table} DROP CONSTRAINT {proof}"
        self._draft.add(Phase.MAIN, Sql(add, drop), Sql(drop, add))
        validate = Sql(f"ALTER TABLE {table} VALIDATE CONSTRAINT {proof}", "")
        self._draft.upgrade[Phase.VALIDATE].append(validate)
        existing = kind if kind is not None else getattr(operation, "existing_type", None)
        change: dict[str, Any] = {"schema": operation.schema, "existing_type": existing}
        self._proved.append(
            (
                ops.AlterColumnOp(operation.table_name, column, modify_nullable=False, **change),
                ops.AlterColumnOp(operation.table_name, column, modify_nullable=True, **change),
            )
        )
        self._proved.append((Sql(drop, add), Sql(add, drop)))

    def _refused_for_partitions(self, operation: ops.MigrateOperation, what: str) -> bool:
        if _table(operation) not in self._partitioned:
            return False
        self._draft.warnings.append(
            f"{_table(operation)} is partitioned: {what} is made in one step, which blocks "
            "writes. On large tables make it on each partition first."
        )
        return True


_FORMS: dict[type[ops.MigrateOperation], Callable[[_Writer, Any], bool]] = {
    ops.CreateIndexOp: _Writer.create_index,
    ops.DropIndexOp: _Writer.drop_index,
    ops.CreateUniqueConstraintOp: _Writer.unique,
    ops.CreateForeignKeyOp: _Writer.foreign_key,
    ops.AlterColumnOp: _Writer.alter_column,
    ops.AddColumnOp: _Writer.add_column,
    AddCheck: _Writer.check,
    DomainCheck: _Writer.domain_check,
    Exclusion: _Writer.exclusion,
}


def _validating(operation: Any, name: str) -> Sql:
    """Prove a constraint of a table; it has been added NOT VALID."""
    table = getattr(operation, "table_name", None) or operation.source_table
    quoted = quoted_name(table, _schema(operation))
    return Sql(f"ALTER TABLE {quoted} VALIDATE CONSTRAINT {quoted_name(name)}", "")


def _table(operation: Any) -> str:
    name = getattr(operation, "table_name", None) or getattr(operation, "source_table", "")
    schema = _schema(operation)
    return f"{schema}.{name}" if schema else str(name)


def _schema(operation: Any) -> str | None:
    found = getattr(operation, "schema", None)
    return found or getattr(operation, "kw", {}).get("source_schema")


def _referred(listed: list[ops.MigrateOperation]) -> set[str]:
    """Tables that foreign keys of this change lead to; they need their unique constraint first."""
    found = set()
    for operation in listed:
        if isinstance(operation, ops.CreateForeignKeyOp):
            schema = operation.kw.get("referent_schema")
            table = operation.referent_table
            found.add(f"{schema}.{table}" if schema else table)
        elif isinstance(operation, ops.CreateTableOp):
            for key in operation.to_table().foreign_keys:
                found.add(key.target_fullname.rpartition(".")[0])
    return found


def _copied(operation: Any) -> Any:
    made = copy(operation)
    made.kw = dict(operation.kw)
    return made


def _dropping(operation: Any) -> Any:
    made = _copied(operation)
    made.if_exists = True
    made.kw["postgresql_concurrently"] = True
    return made


def _filled_by_server(column: Any) -> bool:
    return (
        column.server_default is not None
        or column.identity is not None
        or column.computed is not None
    )


def _scalar_default(column: Any) -> str | None:
    """Render a default that Python would fill in, when it is a plain value."""
    default = column.default
    if default is None or not default.is_scalar or isinstance(default.arg, bytes | dict | list):
        return None
    value = default.arg
    kind = column.type
    if isinstance(kind, types.Enum):
        lookup: Any = kind
        value = lookup._db_value_for_lookup(value)  # noqa: SLF001 - name or value, as configured
        kind = types.String()
    processor = kind.dialect_impl(DIALECT).literal_processor(DIALECT)
    try:
        return None if processor is None else str(processor(value))
    except (TypeError, ValueError, NotImplementedError):
        return None
