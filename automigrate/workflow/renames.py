"""Renames: what looks like one, and how it is carried out.

To a comparison a renamed column is one that is gone and another that is new, and following it
would lose the data. Nothing is guessed: `Answers` says which are renames.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import renderers
from alembic.operations import ops

from automigrate.workflow.operations import Sql, literal, quoted_name

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext

__all__ = [
    "Candidate",
    "Rename",
    "ValueRename",
    "place",
    "similar_columns",
    "similar_tables",
]

ALIKE = 0.5
"""Share of its columns that the smaller of two tables must have in common with the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Something new that may be something old under another name."""

    kind: str
    """`table`, `column` or `value`."""
    new: str
    """Qualified: `table`, `schema.table`, `table.column`, `type.value`."""
    old: tuple[str, ...]
    """What it may have been called, qualified, the most similar first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename:
    """A decided rename."""

    schema: str | None
    table: str
    new: str
    column: str | None = None
    """`None` for a table."""

    def operation(self) -> ops.MigrateOperation:
        """Return Alembic's operation for it."""
        if self.column is None:
            return _ReversibleRename(self.table, self.new, schema=self.schema)
        return _ReversibleColumnRename(
            self.table, self.column, schema=self.schema, modify_name=self.new
        )

    @property
    def statement(self) -> str:
        """Its SQL."""
        table = quoted_name(self.table, self.schema)
        column = "" if self.column is None else f"COLUMN {quoted_name(self.column)} "
        return f"ALTER TABLE {table} RENAME {column}TO {quoted_name(self.new)}"

    def __str__(self) -> str:
        place = f"{self.schema}.{self.table}" if self.schema else self.table
        if self.column is None:
            return f"rename table {place} to {self.new}"
        return f"rename column {place}.{self.column} to {self.new}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRename:
    """A decided rename of a value of an enum type."""

    of: str
    """The type, as SQL."""
    old: str
    new: str

    def operation(self) -> ops.MigrateOperation:
        """Return the operation for it."""
        return Sql(self.statement, self._statement(self.new, self.old))

    @property
    def statement(self) -> str:
        """Its SQL."""
        return self._statement(self.old, self.new)

    def _statement(self, old: str, new: str) -> str:
        return f"ALTER TYPE {self.of} RENAME VALUE {literal(old)} TO {literal(new)}"

    def __str__(self) -> str:
        return f"rename value {self.of}.{self.old} to {self.new}"


class _ReversibleRename(ops.RenameTableOp):
    def reverse(self) -> ops.MigrateOperation:
        return _ReversibleRename(self.new_table_name, self.table_name, schema=self.schema)


class _ReversibleColumnRename(ops.AlterColumnOp):
    def reverse(self) -> ops.AlterColumnOp:
        assert self.modify_name is not None
        return _ReversibleColumnRename(
            self.table_name, self.modify_name, schema=self.schema, modify_name=self.column_name
        )


@renderers.dispatch_for(_ReversibleColumnRename)
def _render(context: AutogenContext, operation: _ReversibleColumnRename) -> str:
    """Write it as a call; older releases of Alembic leave the new name out."""
    schema = f", schema={str(operation.schema)!r}" if operation.schema else ""
    return (
        f"{context.opts['alembic_module_prefix'] or ''}alter_column("
        f"{str(operation.table_name)!r}, {str(operation.column_name)!r}, "
        f"new_column_name={str(operation.modify_name)!r}{schema})"
    )


def similar_tables(gone: dict[str, Any], made: dict[str, Any]) -> dict[str, list[str]]:
    """Find for each new table those that it may have been, the most similar first."""
    found: dict[str, list[str]] = {}
    for new, created in made.items():
        shares = {
            old: _share(_column_names(dropped.to_table()), _column_names(created.to_table()))
            for old, dropped in gone.items()
            if dropped.schema == created.schema
        }
        similar = [old for old, share in shares.items() if share >= ALIKE]
        if similar:
            found[new] = sorted(similar, key=lambda old: (-shares[old], -_likeness(old, new), old))
    return found


def similar_columns(gone: dict[str, Any], made: dict[str, Any]) -> dict[str, list[str]]:
    """Find for each new column those of its table that it may have been, the most similar first."""
    found: dict[str, list[str]] = {}
    for new, added in made.items():
        similar = [
            old
            for old, dropped in gone.items()
            if place(dropped) == place(added)
            and _sort_of(dropped.to_column()) == _sort_of(added.column)
        ]
        if similar:
            found[new] = sorted(similar, key=lambda old: (-_likeness(old, new), old))
    return found


def _likeness(old: str, new: str) -> float:
    return SequenceMatcher(None, old, new).ratio()


def _sort_of(column: Any) -> object:
    return column.type._type_affinity  # noqa: SLF001 - what SQLAlchemy itself compares types by


def _column_names(table: Any) -> set[str]:
    return {column.name for column in table.columns if not column.primary_key}


def _share(first: set[str], second: set[str]) -> float:
    return len(first & second) / max(min(len(first), len(second)), 1)


def place(operation: Any) -> str:
    """Name the table of an operation, with its schema where that is not the default one."""
    table = str(operation.table_name)
    return f"{operation.schema}.{table}" if operation.schema else table
