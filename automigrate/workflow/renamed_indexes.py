"""Indexes and unique constraints that merely have another name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from automigrate.workflow.operations import Sql, quoted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["index_renames"]


def index_renames(script: ops.UpgradeOps) -> list[ops.MigrateOperation]:
    """Take out indexes and unique constraints that merely have another name; return the renames.

    Their names follow those of tables and columns where a naming convention is used.
    """
    return [
        *_pairs(script, ops.DropIndexOp, ops.CreateIndexOp, _index_signature, _rename_index),
        *_pairs(
            script,
            ops.DropConstraintOp,
            ops.CreateUniqueConstraintOp,
            _unique_signature,
            _rename_constraint,
        ),
    ]


def _pairs(
    container: ops.OpContainer,
    dropping: type[ops.MigrateOperation],
    creating: type[ops.MigrateOperation],
    signature: Callable[[Any], object],
    rename: Callable[[Any, Any], Sql],
) -> Iterator[Sql]:
    for child in list(container.ops):
        if isinstance(child, ops.OpContainer):
            yield from _pairs(child, dropping, creating, signature, rename)
    created = {signature(op): op for op in container.ops if isinstance(op, creating)}
    for gone in [op for op in container.ops if isinstance(op, dropping)]:
        known = signature(gone)
        made = created.pop(known, None) if known is not None else None
        if made is not None:
            container.ops.remove(gone)
            container.ops.remove(made)
            yield rename(gone, made)


def _index_signature(operation: ops.CreateIndexOp | ops.DropIndexOp) -> object:
    try:
        index: Any = operation.to_index()
        index.name = "same"
        text = str(CreateIndex(index).compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    except Exception:  # noqa: BLE001 - reflected too sparsely to be compared
        return None
    return text


def _unique_signature(operation: Any) -> object:
    try:
        constraint = operation.to_constraint()
    except Exception:  # noqa: BLE001 - what it was is not known
        return None
    if not hasattr(constraint, "columns") or constraint.__visit_name__ != "unique_constraint":
        return None
    options = (constraint.deferrable, constraint.initially, *constraint.dialect_kwargs.items())
    return (operation.table_name, tuple(c.name for c in constraint.columns), options)


def _rename_index(gone: ops.DropIndexOp, made: ops.CreateIndexOp) -> Sql:
    old, new = str(gone.index_name), str(made.index_name)
    statement = "ALTER INDEX {} RENAME TO {}"
    return Sql(
        statement.format(quoted_name(old, gone.schema), quoted_name(new)),
        statement.format(quoted_name(new, gone.schema), quoted_name(old)),
    )


def _rename_constraint(gone: ops.DropConstraintOp, made: ops.CreateUniqueConstraintOp) -> Sql:
    table = quoted_name(gone.table_name, gone.schema)
    old, new = quoted_name(str(gone.constraint_name)), quoted_name(str(made.constraint_name))
    statement = f"ALTER TABLE {table} RENAME CONSTRAINT {{}} TO {{}}"
    return Sql(statement.format(old, new), statement.format(new, old))
