"""Operations in words, for people and for JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from alembic.operations import ops

from automigrate.workflow.losses import _type
from automigrate.workflow.operations import Autocommit, Nothing, Remark, Sql, leaves

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["described"]


def described(container: ops.OpContainer) -> Iterator[str]:
    """Say of each operation what it does, in a line."""
    for operation in leaves(container):
        text = describe(operation)
        if text:
            yield text


def describe(operation: ops.MigrateOperation) -> str:  # noqa: C901, PLR0912 - a row for each kind
    """Say what an operation does."""
    match operation:
        case ops.CreateTableOp():
            columns = [column.name for column in operation.to_table().columns]
            return f"create table {_table(operation)} ({', '.join(map(str, columns))})"
        case ops.DropTableOp():
            return f"drop table {_table(operation)}"
        case ops.RenameTableOp():
            return f"rename table {_table(operation)} to {operation.new_table_name}"
        case ops.AddColumnOp():
            column = operation.column
            return f"add column {_table(operation)}.{column.name} {_type(column.type)}"
        case ops.DropColumnOp():
            return f"drop column {_table(operation)}.{operation.column_name}"
        case ops.AlterColumnOp():
            changes = ", ".join(_changes(operation))
            return f"alter column {_table(operation)}.{operation.column_name}: {changes}"
        case ops.CreateIndexOp():
            kind = "unique index" if operation.unique else "index"
            return f"create {kind} {operation.index_name} on {_table(operation)}"
        case ops.DropIndexOp():
            return f"drop index {operation.index_name} on {_table(operation)}"
        case ops.CreateForeignKeyOp():
            return (
                f"add foreign key {operation.constraint_name or ''} on {operation.source_table} "
                f"to {operation.referent_table}"
            )
        case ops.AddConstraintOp():
            kind = operation.constraint_type
            name = getattr(operation, "constraint_name", None) or ""
            return f"add {kind} constraint {name} on {getattr(operation, 'table_name', '')}"
        case ops.DropConstraintOp():
            return f"drop constraint {operation.constraint_name} on {_table(operation)}"
        case ops.CreateTableCommentOp() | ops.DropTableCommentOp():
            return f"change comment of table {_table(operation)}"
        case Sql():
            return operation.statement
        case ops.ExecuteSQLOp():
            return str(operation.sqltext)
        case Autocommit() | Nothing() | Remark():
            return ""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(operation).__name__.removesuffix("Op"))
    entity = getattr(operation, "target", None)
    if entity is not None:  # of alembic_utils: `PGView: public.names`
        name = str(getattr(entity, "identity", entity)).rpartition(": ")[2]
        return f"{kind.lower()} {getattr(entity, 'type_', '')} {name}"
    return f"{kind.lower()} {getattr(operation, 'name', '')}".rstrip()


def _changes(operation: ops.AlterColumnOp) -> Iterator[str]:
    if operation.modify_name is not None:
        yield f"name {operation.modify_name}"
    if operation.modify_type is not None:
        yield f"type {_type(operation.existing_type)} → {_type(operation.modify_type)}"
    if operation.modify_nullable is not None:
        yield "nullable" if operation.modify_nullable else "not null"
    if operation.modify_server_default is not False:
        yield "server default"
    if operation.modify_comment is not False:
        yield "comment"


def _table(operation: ops.MigrateOperation) -> str:
    schema = getattr(operation, "schema", None)
    name = getattr(operation, "table_name", "")
    return f"{schema}.{name}" if schema else str(name)
