"""Who says whether something is renamed: `--rename` and `--drop`, a person at a terminal, nobody.

What `--rename` and `--drop` say is held against the comparison before anybody is asked anything, so
that a slip of the keyboard does not cost the answers given so far.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from alembic.operations import ops

from automigrate.errors import ConfigurationError
from automigrate.workflow.operations import leaves
from automigrate.workflow.renames import (
    Candidate,
    Rename,
    ValueRename,
    place,
    similar_columns,
    similar_tables,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

__all__ = ["Answers", "undecided"]

LISTED = 10
"""Names that a refusal lists at most, the most similar ones."""

LOST = "following it as a drop would lose the data"
FOLLOWED = {
    "table": LOST,
    "column": LOST,
    "value": "following it as an addition would leave the old value in the rows",
}
"""What goes wrong when a rename is not seen."""

Values = dict[str, tuple[str, str]]
"""Of enum types: qualified name → type and value."""


class Answers:
    """What is known beforehand, and whom to ask for the rest.

    Args:
        renames: `old:new`; names as in `Candidate`, the new one also without its table.
        drops: names of what is really gone.
        ask: called with a candidate when nothing else decides; returns the old name, or `None`
            when it is new. Without it the work is refused.

    Raises:
        ConfigurationError: they contradict each other, or cannot be read.
    """

    def __init__(
        self,
        renames: Iterable[str] = (),
        drops: Iterable[str] = (),
        ask: Callable[[Candidate], str | None] | None = None,
    ) -> None:
        self._drops = set(drops)
        self._renames = _renames(renames, self._drops)
        self._ask = ask
        self._used: set[str] = set()

    def require_possible(self, script: ops.UpgradeOps, gone: Values, made: Values) -> None:
        """Refuse what the comparison does not bear out; to be called before the first question.

        Args:
            script: what a comparison proposes.
            gone: values of enum types that the models lack.
            made: values of enum types that only the models have.

        Raises:
            ConfigurationError: a name is not gone or not new; it says which names are.
        """
        possible = self._possible(script, gone, made)
        faults: list[str] = []
        taken: dict[str, str] = {}
        for old, new in self._renames.items():
            full = _full(old, new, possible.get(old, ()))
            if old not in possible:
                faults.append(f"--rename {old}:{new} names {old}, {_not('gone', old, possible)}")
            elif full not in possible[old]:
                if _moves_schema(script, old, full):
                    faults.append(_other_schema(old, new))
                else:
                    missing = _not("new", full, possible[old])
                    faults.append(f"--rename {old}:{new} names {full}, {missing}")
            elif full in taken:
                faults.append(f"--rename gives the name {full} to {taken[full]} and to {old}.")
            taken[full] = old
        faults += (
            f"--drop {old} names {old}, {_not('gone', old, possible)}"
            for old in sorted(self._drops - possible.keys())
        )
        if faults:
            raise ConfigurationError(faults)

    def tables(self, script: ops.UpgradeOps) -> list[Rename]:
        """Decide on the tables.

        Raises:
            ConfigurationError: something is undecided and nobody can be asked.
        """
        gone, made = _tables(script)
        return [
            Rename(schema=gone[old].schema, table=gone[old].table_name, new=made[new].table_name)
            for new, old in self._decide("table", similar_tables(gone, made), gone, made)
        ]

    def columns(self, script: ops.UpgradeOps) -> list[Rename]:
        """Decide on the columns.

        Raises:
            ConfigurationError: something is undecided and nobody can be asked.
        """
        gone, made = _columns(script)
        return [
            Rename(
                schema=gone[old].schema,
                table=gone[old].table_name,
                column=gone[old].column_name,
                new=made[new].column.name,
            )
            for new, old in self._decide("column", similar_columns(gone, made), gone, made)
        ]

    def values(self, gone: Values, made: Values) -> list[ValueRename]:
        """Decide on the values of enum types.

        Raises:
            ConfigurationError: something is undecided and nobody can be asked.
        """
        likely = {new: [old for old in gone if gone[old][0] == made[new][0]] for new in made}
        return [
            ValueRename(of=made[new][0], old=gone[old][1], new=made[new][1])
            for new, old in self._decide("value", likely, gone, made)
        ]

    def require_all_used(self) -> None:
        """Refuse an answer to a question that nobody had in the end.

        That of a column of a table that a person says is none of the renamed ones.

        Raises:
            ConfigurationError: a name is not among what is gone.
        """
        unused = (self._renames.keys() | self._drops) - self._used
        if unused:
            raise ConfigurationError(
                [f"--rename or --drop names {name}, which is not gone." for name in sorted(unused)]
            )

    def _possible(
        self, script: ops.UpgradeOps, values_gone: Values, values_made: Values
    ) -> dict[str, set[str]]:
        """Name what is gone, each with the new names that it may have."""
        tables_gone, tables_made = _tables(script)
        columns_gone, columns_made = _columns(script)
        possible: dict[str, set[str]] = {}

        def add(old: str, new: Iterable[str]) -> None:
            possible.setdefault(old, set()).update(new)

        for old, dropped in tables_gone.items():
            add(old, (n for n, op in tables_made.items() if op.schema == dropped.schema))
        for old, dropped in columns_gone.items():
            add(old, (n for n, op in columns_made.items() if place(op) == place(dropped)))
        for old, (of, _) in values_gone.items():
            add(old, (new for new, (of_new, _) in values_made.items() if of_new == of))
        for old, new in self._renamed_tables(tables_gone, tables_made):
            before, after = _names(tables_gone[old]), _names(tables_made[new])
            for name in before - after:
                add(f"{new}.{name}", (f"{new}.{other}" for other in after - before))
        return possible

    def _renamed_tables(
        self, gone: dict[str, Any], made: dict[str, Any]
    ) -> Iterator[tuple[str, str]]:
        """Pair the tables that are, or may turn out to be, the same under another name."""
        named = {old: _full(old, new, made) for old, new in self._renames.items() if old in gone}
        for old, new in named.items():
            if new in made:
                yield old, new
        for new, similar in similar_tables(gone, made).items():
            if new not in named.values():
                yield from ((old, new) for old in similar if old not in named)

    def _decide(
        self, kind: str, likely: dict[str, list[str]], gone: dict[str, Any], made: dict[str, Any]
    ) -> Iterator[tuple[str, str]]:
        taken: set[str] = set()
        answered: set[str] = set()
        for old, new in self._renames.items():
            full = _full(old, new, made)
            if old not in gone or full not in made:
                continue
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


def _renames(given: Iterable[str], drops: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    faults: list[str] = []
    for text in given:
        old, new = (part.strip() for part in (*text.split(":", 1), "")[:2])
        if not old or not new:
            faults.append(f"--rename {text!r}: write it as old:new.")
        elif found.get(old, new) != new:
            faults.append(f"--rename gives {old} two names, {found[old]} and {new}.")
        elif old in drops:
            faults.append(f"{old} is named by --rename and by --drop: say one of them.")
        else:
            found[old] = new
    if faults:
        raise ConfigurationError(faults)
    return found


def _full(old: str, new: str, made: Collection[str]) -> str:
    """Complete a new name that is given without its table or type."""
    return new if new in made else f"{old.rpartition('.')[0]}.{new}".lstrip(".")


def _not(state: str, name: str, names: Iterable[str]) -> str:
    """Say that a name is not gone, or not new, and which names are."""
    near = sorted(names, key=lambda one: (-SequenceMatcher(None, name, one).ratio(), one))
    where = " in the models" if state == "new" else ""
    if not near:
        return f"which is not {state}{where}; nothing is."
    more = f" and {len(near) - LISTED} more" if len(near) > LISTED else ""
    return f"which is not {state}{where}. What is {state}: {', '.join(near[:LISTED])}{more}."


def _moves_schema(script: ops.UpgradeOps, old: str, new: str) -> bool:
    gone, made = _tables(script)
    return old in gone and new in made


def _other_schema(old: str, new: str) -> str:
    return (
        f"--rename {old}:{new} would move the table to another schema. Write that revision "
        "yourself: `automigrate new`, with `ALTER TABLE … SET SCHEMA`."
    )


def _tables(script: ops.UpgradeOps) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tables that are gone and those that are new."""
    listed = list(leaves(script))
    return (
        {place(op): op for op in listed if isinstance(op, ops.DropTableOp)},
        {place(op): op for op in listed if isinstance(op, ops.CreateTableOp)},
    )


def _columns(script: ops.UpgradeOps) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns that are gone and those that are new, of tables that stay."""
    listed = list(leaves(script))
    return (
        {f"{place(op)}.{op.column_name}": op for op in listed if isinstance(op, ops.DropColumnOp)},
        {f"{place(op)}.{op.column.name}": op for op in listed if isinstance(op, ops.AddColumnOp)},
    )


def _names(operation: Any) -> set[str]:
    return {column.name for column in operation.to_table().columns}
