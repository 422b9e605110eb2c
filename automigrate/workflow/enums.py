"""Enum types: created before the columns that use them, extended, dropped after the last one.

Alembic leaves all of this to the person who writes the revision; the package
`alembic-postgresql-enum` does more (values removed) and takes over where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import text, types

from automigrate.workflow import comparison
from automigrate.workflow.operations import (
    COLUMNS_OF_TYPE,
    Sql,
    columns_freed,
    literal,
    quoted_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alembic.operations import ops
    from sqlalchemy import MetaData, Table
    from sqlalchemy.engine import Connection

__all__ = ["EnumChanges", "created_anew", "enum_changes", "enums_of", "values_moved"]

Key = tuple["str | None", str]

DEFAULT_SCHEMA = text("select current_schema()")
IN_DATABASE = text(f"""\
select case when n.nspname = current_schema() then null else n.nspname end, t.typname,
  array(select enumlabel::text from pg_enum where enumtypid = t.oid order by enumsortorder),
  {COLUMNS_OF_TYPE}
from pg_type t join pg_namespace n on n.oid = t.typnamespace
where t.typtype = 'e'
  and not exists (select from pg_depend d where d.objid = t.oid and d.deptype = 'e')""")  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumChanges:
    """What is to be done about enum types."""

    added_values: list[Sql] = field(default_factory=list)
    """First, and committed before anything uses the values (manual, ALTER TYPE)."""
    created: list[Sql] = field(default_factory=list)
    dropped: list[Sql] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.added_values or self.created or self.dropped)


def enum_changes(
    connection: Connection, metadata: Sequence[MetaData], script: ops.UpgradeOps
) -> EnumChanges:
    """Compare the models' enum types with the database's."""
    changes = EnumChanges()
    if comparison.has_enum_package():
        return changes
    default: Any = connection.scalar(DEFAULT_SCHEMA)
    wanted = dict(enums_of(metadata, default))
    found: dict[Key, tuple[tuple[str, ...], set[str]]] = {
        (schema, name): (tuple(values), set(columns))
        for schema, name, values, columns in connection.execute(IN_DATABASE)
    }
    for key, values in wanted.items():
        if key not in found:
            changes.created.append(Sql(_create(key, values), f"DROP TYPE {_name(key)}"))
        else:
            _compare(key, found[key][0], values, changes)
    gone = columns_freed(script, default, lambda changed: changed.modify_type is not None)
    for key, (values, columns) in found.items():
        if key not in wanted and columns and columns <= gone:
            changes.dropped.append(Sql(f"DROP TYPE {_name(key)}", _create(key, values)))
    return changes


def values_moved(
    connection: Connection, metadata: Sequence[MetaData]
) -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    """Name the values that the models lack, and those that only they have: name → type, value."""
    gone: dict[str, tuple[str, str]] = {}
    made: dict[str, tuple[str, str]] = {}
    if comparison.has_enum_package():
        return gone, made
    wanted = dict(enums_of(metadata, connection.scalar(DEFAULT_SCHEMA)))
    for schema, name, found, _ in connection.execute(IN_DATABASE):
        values = wanted.get((schema, name), found)
        of, place = _name((schema, name)), f"{schema}.{name}" if schema else name
        gone |= {f"{place}.{value}": (of, value) for value in found if value not in values}
        made |= {f"{place}.{value}": (of, value) for value in values if value not in found}
    return gone, made


def created_anew(table: Table) -> Iterator[str]:
    """Yield statements that make a table's enum types with all their values, for a probe.

    One that exists is renamed: values added to it cannot be used in the same transaction.
    """
    for key, values in dict(_of_table(table)).items():
        if key[0]:
            yield f"CREATE SCHEMA IF NOT EXISTS {quoted_name(key[0])}"
        name = _name(key)
        rename = f"ALTER TYPE {name} RENAME TO {quoted_name(f'{key[1][:40]}_before_probe')}"
        yield (
            f"DO $do$ BEGIN IF to_regtype({literal(name)}) IS NOT NULL THEN {rename}; END IF; "
            "END $do$"
        )
        yield _create(key, values)


def _compare(
    key: Key, found: tuple[str, ...], wanted: tuple[str, ...], changes: EnumChanges
) -> None:
    left = [value for value in found if value not in wanted]
    if left:
        changes.warnings.append(
            f"enum {_name(key)} has values that the models lack: {', '.join(left)}. PostgreSQL "
            "cannot take them out; `pip install alembic-postgresql-enum` to have the type replaced."
        )
    if [value for value in wanted if value in found] != [v for v in found if v in wanted]:
        changes.warnings.append(f"enum {_name(key)} has its values in another order.")
    for index, value in enumerate(wanted):
        if value not in found:
            place = f"AFTER {literal(wanted[index - 1])}" if index else ""
            if not index and len(wanted) > 1:
                place = f"BEFORE {literal(next(v for v in wanted if v in found or v != value))}"
            changes.added_values.append(
                Sql(
                    f"ALTER TYPE {_name(key)} ADD VALUE IF NOT EXISTS {literal(value)} "
                    f"{place}".rstrip(),
                    None,
                )
            )


def enums_of(
    metadata: Sequence[MetaData], default: str | None
) -> Iterator[tuple[Key, tuple[str, ...]]]:
    """Yield the enum types that columns have, with their values; `default` is the own schema."""
    for found in metadata:
        for table in found.tables.values():
            for (schema, name), values in _of_table(table):
                yield (None if schema == default else schema, name), values


def _of_table(table: Table) -> Iterator[tuple[Key, tuple[str, ...]]]:
    for column in table.columns:
        kind: Any = column.type
        while isinstance(kind, types.ARRAY | types.TypeDecorator):
            kind = kind.item_type if isinstance(kind, types.ARRAY) else kind.impl
        if isinstance(kind, types.Enum) and kind.native_enum and kind.name:
            yield (kind.schema, str(kind.name)), tuple(kind.enums)


def _create(key: Key, values: Sequence[str]) -> str:
    return f"CREATE TYPE {_name(key)} AS ENUM ({', '.join(map(literal, values))})"


def _name(key: Key) -> str:
    return quoted_name(key[1], key[0])
