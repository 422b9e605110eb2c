"""Renames: what looks like one, who says whether it is, and how it is carried out.

To a comparison a renamed column is one that is gone and another that is new, and following it
would lose the data. Nothing is guessed here: a person answers, or `--rename` and `--drop` do, or
the work is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import renderers
from alembic.operations import ops

from automigrate.errors import ConfigurationError
from automigrate.workflow.operations import Sql, leaves, literal, quoted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from alembic.autogenerate.api import AutogenContext

__all__ = ["Answers", "Candidate", "Rename", "ValueRename", "undecided"]

ALIKE = 0.5
"""Share of its columns that the smaller of two tables must have in common with the other."""

LOST = "following it as a drop would lose the data"
FOLLOWED = {
    "table": LOST,
    "column": LOST,
    "value": "following it as an addition would leave the old value in the rows",
}
"""What goes wrong when a rename is not seen."""


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


class Answers:
    """What is known beforehand, and whom to ask for the rest.

    Args:
        renames: `old:new`; names as in `Candidate`, the new one also without its table.
        drops: names of what is really gone.
        ask: called with a candidate when nothing else decides; returns the old name, or `None`
            when it is new. Without it the work is refused.
    """

    def __init__(
        self,
        renames: Iterable[str] = (),
        drops: Iterable[str] = (),
        ask: Callable[[Candidate], str | None] | None = None,
    ) -> None:
        self._renames = dict(_pair(text) for text in renames)
        self._drops = set(drops)
        self._ask = ask
        self._used: set[str] = set()

    def tables(self, script: ops.UpgradeOps) -> list[Rename]:
        """Decide on the tables.

        Raises:
            ConfigurationError: something is undecided and nobody can be asked.
        """
        gone = {_place(op): op for op in leaves(script) if isinstance(op, ops.DropTableOp)}
        made = {_place(op): op for op in leaves(script) if isinstance(op, ops.CreateTableOp)}
        decided = []
        for new, old in self._decide("table", _similar_tables(gone, made), gone, made):
            dropped = gone[old]
            if dropped.schema != made[new].schema:
                raise ConfigurationError(
                    f"--rename {old}:{new} would move the table to another schema. Write that "
                    "revision yourself: `automigrate new`, with `ALTER TABLE … SET SCHEMA`."
                )
            decided.append(
                Rename(schema=dropped.schema, table=dropped.table_name, new=made[new].table_name)
            )
        return decided

    def columns(self, script: ops.UpgradeOps) -> list[Rename]:
        """Decide on the columns.

        Raises:
            ConfigurationError: something is undecided and nobody can be asked.
        """
        gone = {
            f"{_place(op)}.{op.column_name}": op
            for op in leaves(script)
            if isinstance(op, ops.DropColumnOp)
        }
        made = {
            f"{_place(op)}.{op.column.name}": op
            for op in leaves(script)
            if isinstance(op, ops.AddColumnOp)
        }
        return [
            Rename(
                schema=gone[old].schema,
                table=gone[old].table_name,
                column=gone[old].column_name,
                new=made[new].column.name,
            )
            for new, old in self._decide("column", _similar_columns(gone, made), gone, made)
        ]

    def values(
        self, gone: dict[str, tuple[str, str]], made: dict[str, tuple[str, str]]
    ) -> list[ValueRename]:
        """Decide on the values of enum types, given as name → type and value.

        Raises:
            ConfigurationError: something is undecided and nobody can be asked.
        """
        likely = {
            new: [old for old, (of_old, _) in gone.items() if of_old == of]
            for new, (of, _) in made.items()
        }
        return [
            ValueRename(of=made[new][0], old=gone[old][1], new=made[new][1])
            for new, old in self._decide("value", likely, gone, made)
        ]

    def require_all_used(self) -> None:
        """Refuse an answer to a question that nobody had.

        Raises:
            ConfigurationError: a name is not among what is gone.
        """
        unused = (self._renames.keys() | self._drops) - self._used
        if unused:
            raise ConfigurationError(
                [f"--rename or --drop names {name}, which is not gone." for name in sorted(unused)]
            )

    def _decide(
        self, kind: str, likely: dict[str, list[str]], gone: dict[str, Any], made: dict[str, Any]
    ) -> Iterator[tuple[str, str]]:
        taken: set[str] = set()
        answered: set[str] = set()
        for old, new in self._renames.items():
            if old not in gone:
                continue
            full = new if new in made else f"{old.rpartition('.')[0]}.{new}".lstrip(".")
            if full not in made:
                raise ConfigurationError(
                    f"--rename {old}:{new} names {full}, which is not new in the models."
                )
            self._used.add(old)
            taken.add(old)
            answered.add(full)
            yield full, old
        self._used |= self._drops & gone.keys()
        open_questions = []
        for new, similar in likely.items():
            old_names = [old for old in similar if old not in taken and old not in self._drops]
            if new in answered or not old_names:
                continue
            candidate = Candidate(kind=kind, new=new, old=tuple(old_names))
            if self._ask is None:
                open_questions.append(candidate)
                continue
            chosen = self._ask(candidate)
            if chosen is not None:
                taken.add(chosen)
                yield new, chosen
        if open_questions:
            raise ConfigurationError(undecided(open_questions))


def undecided(candidates: Sequence[Candidate]) -> list[str]:
    """Say what has to be answered, and how."""
    return [
        f"{candidate.kind} {candidate.new} is new and {' or '.join(candidate.old)} is gone: that "
        f"may be a rename, and {FOLLOWED[candidate.kind]}. Say "
        f"`--rename {candidate.old[0]}:{candidate.new}`, or `--drop {candidate.old[0]}`."
        for candidate in candidates
    ]


def _similar_tables(gone: dict[str, Any], made: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for new, created in made.items():
        shares = {
            old: _share(_column_names(dropped.to_table()), _column_names(created.to_table()))
            for old, dropped in gone.items()
            if dropped.schema == created.schema
        }
        similar = [old for old, share in shares.items() if share >= ALIKE]
        if similar:
            found[new] = sorted(similar, key=lambda old: -shares[old])
    return found


def _similar_columns(gone: dict[str, Any], made: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for new, added in made.items():
        place = _place(added)
        similar = [
            old
            for old, dropped in gone.items()
            if _place(dropped) == place and _sort_of(dropped.to_column()) == _sort_of(added.column)
        ]
        if similar:
            found[new] = similar
    return found


def _sort_of(column: Any) -> object:
    return column.type._type_affinity  # noqa: SLF001 - what SQLAlchemy itself compares types by


def _column_names(table: Any) -> set[str]:
    return {column.name for column in table.columns if not column.primary_key}


def _share(first: set[str], second: set[str]) -> float:
    return len(first & second) / max(min(len(first), len(second)), 1)


def _place(operation: Any) -> str:
    return (
        f"{operation.schema}.{operation.table_name}"
        if operation.schema
        else (str(operation.table_name))
    )


def _pair(text: str) -> tuple[str, str]:
    old, separator, new = text.partition(":")
    if not separator or not old.strip() or not new.strip():
        raise ConfigurationError(f"--rename {text!r}: write it as old:new.")
    return old.strip(), new.strip()
