"""What would be lost: rows that are dropped, values that no longer fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy import types
from sqlalchemy.dialects import postgresql

from automigrate.workflow.operations import leaves

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.types import TypeEngine

__all__ = ["losses", "narrowing"]


def losses(container: ops.OpContainer) -> Iterator[str]:
    """Say of each operation what data it loses, a sentence each."""
    for operation in leaves(container):
        match operation:
            case ops.DropTableOp():
                yield f"drops table {_name(operation)} with all its rows"
            case ops.DropColumnOp():
                yield f"drops column {_name(operation)}.{operation.column_name} with its values"
            case ops.AlterColumnOp():
                old, new = operation.existing_type, operation.modify_type
                why = narrowing(old, new) if old is not None and new is not None else None
                if why:
                    yield (
                        f"changes column {_name(operation)}.{operation.column_name} from "
                        f"{_type(old)} to {_type(new)}: {why}"
                    )


def narrowing(  # noqa: C901, PLR0912 - a row for each pair of types
    old: TypeEngine[Any], new: TypeEngine[Any]
) -> str | None:
    """Say what becomes of values of the old type that do not fit the new one; `None`: all fit."""
    match old, new:
        case types.String(), types.String():
            return _shorter(old.length, new.length)
        case _, types.String():
            return _shorter(None, new.length) if new.length is not None else None
        case types.String(), _:
            return f"texts that are no {_type(new)} fail"
        case types.Integer(), types.Integer():
            return "numbers out of range fail" if _size(new) < _size(old) else None
        case types.Numeric(), types.Integer():
            return "fractions are rounded, numbers out of range fail"
        case types.Float(), types.Float():
            return None if _bits(new) >= _bits(old) else "digits are lost"
        case types.Float(), types.Numeric():
            return "digits are lost" if new.scale is not None else None
        case types.Integer(), types.Numeric():
            whole = None if new.precision is None else new.precision - (new.scale or 0)
            return "numbers out of range fail" if whole and whole < _digits(old) else None
        case types.Numeric(), types.Float():
            return "digits are lost"
        case types.Numeric(), types.Numeric():
            return _less_precise(old, new)
        case types.DateTime(), types.Date():
            return "the time of day is lost"
        case types.DateTime(), types.DateTime():
            return "the time zone is lost" if old.timezone and not new.timezone else None
        case (types.DateTime(), types.Time()) | (types.Date(), types.Time()):
            return "the date is lost"
        case postgresql.JSON() | types.JSON(), types.JSON():
            return None
    if old._type_affinity is new._type_affinity:  # noqa: SLF001 - SQLAlchemy's own comparison
        return None
    return f"values that are no {_type(new)} fail or are lost"


def _shorter(old: int | None, new: int | None) -> str | None:
    if new is None or (old is not None and old <= new):
        return None
    return f"texts longer than {new} fail"


def _less_precise(old: types.Numeric[Any], new: types.Numeric[Any]) -> str | None:
    if new.precision is None:
        return None
    old_scale, new_scale = old.scale or 0, new.scale or 0
    if old.precision is None:
        return "digits are lost, numbers out of range fail"
    if new.precision - new_scale < old.precision - old_scale:
        return "numbers out of range fail"
    return "digits are lost" if new_scale < old_scale else None


def _size(kind: types.Integer) -> int:
    if isinstance(kind, types.SmallInteger):
        return 2
    return 8 if isinstance(kind, types.BigInteger) else 4


def _digits(kind: types.Integer) -> int:
    return {2: 5, 4: 10, 8: 19}[_size(kind)]


def _bits(kind: types.Float[Any]) -> int:
    if isinstance(kind, postgresql.REAL):
        return 24
    return kind.precision or 53


def _name(operation: ops.AlterTableOp | ops.DropTableOp) -> str:
    return (
        f"{operation.schema}.{operation.table_name}" if operation.schema else (operation.table_name)
    )


def _type(kind: object) -> str:
    compile_type = getattr(kind, "compile", None)
    if compile_type is None:
        return str(kind)
    return str(compile_type(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
