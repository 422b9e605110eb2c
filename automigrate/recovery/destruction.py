"""What SQL destroys: tables, columns and rows, by the names that they have before it runs. Pure.

A statement that is not understood is never taken for harmless: it is listed as one whose loss is
not known.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from automigrate.recovery.statements import masked, parts, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Destruction", "Kind", "destructions", "touched"]


class Kind(enum.StrEnum):
    """How a statement destroys data."""

    DROP_TABLE = "drops table"
    DROP_COLUMN = "drops column"
    DROP_SCHEMA = "drops schema"
    TRUNCATE = "empties table"
    DELETE = "deletes rows of"
    OVERWRITE = "overwrites rows of"
    CONVERT = "changes the type of column"
    UNKNOWN = "may destroy data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Destruction:
    """What one statement destroys."""

    kind: Kind
    statement: str
    table: str = ""
    """As quoted SQL, `"public"."account"`; the schema for `DROP_SCHEMA`."""
    column: str = ""
    """As quoted SQL."""
    condition: str = ""
    """SQL that chooses the rows; all of them when empty."""
    optional: bool = False
    """Whether the statement accepts that the object is missing."""


def destructions(scripts: Iterable[str]) -> tuple[tuple[Destruction, ...], ...]:
    """List what several scripts destroy that run one after another, for each of them.

    Tables and columns that a script itself makes hold nothing yet and are left out. What one
    renames is listed under its name of today.
    """
    reading = _Reading()
    return tuple(
        tuple(found for statement in split(script) for found in reading.of(statement))
        for script in scripts
    )


def touched(scripts: Iterable[str]) -> frozenset[str] | None:
    """Collect the tables of today that scripts change or destroy, as quoted SQL.

    Returns:
        `None` where that cannot be told from the text.
    """
    reading = _Reading()
    tables: set[str] = set()
    for script in scripts:
        for statement in split(script):
            tables.update(reading.changed(statement))
            for found in reading.of(statement):
                if found.kind in {Kind.UNKNOWN, Kind.DROP_SCHEMA}:
                    return None
                tables.add(found.table)
    return frozenset(tables)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE | re.DOTALL)


_ID = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_NAME = rf"{_ID}(?:\s*\.\s*{_ID})?"
_IF_EXISTS = r"(?P<optional>if\s+exists\s+)?"
_END = r"(?:\s+(?P<how>cascade|restrict))?\s*$"

_HARMLESS = _pattern(
    r"""(?x)
    create\b | comment\s+on\b | grant\b | revoke\b | set\b | reset\b | lock\b | refresh\b
    | analyze\b | vacuum\b | reindex\b | cluster\b | insert\s+into\b(?!.*\bdo\s+update\b)
    | select\s+(?:pg_catalog\.)?(?:set_config|setval|nextval)\s*\([^()]*\)\s*$
    | drop\s+(?:index|trigger|view|materialized\s+view|function|procedure|routine|aggregate|rule
        |policy|sequence|cast|operator|collation|statistics|publication|subscription|event\s+trigger
        |text\s+search|foreign\s+table|server|user\s+mapping)\b
    | drop\s+(?:type|domain|extension|role|user)\b(?!.*\bcascade\b)
    | alter\s+(?:index|view|materialized\s+view|sequence|function|procedure|routine|type|domain
        |schema|extension|trigger|policy|role|default\s+privileges|publication|foreign\s+table)\b
    """
)
_CREATE_TABLE = _pattern(
    r"create\s+(?:(?:global\s+|local\s+)?temp(?:orary)?\s+|unlogged\s+)?table\s+"
    rf"(?:if\s+not\s+exists\s+)?(?P<table>{_NAME})"
)
_DROP_TABLE = _pattern(rf"drop\s+table\s+{_IF_EXISTS}(?P<names>{_NAME}(?:\s*,\s*{_NAME})*){_END}")
_DROP_SCHEMA = _pattern(rf"drop\s+schema\s+{_IF_EXISTS}(?P<names>{_ID}(?:\s*,\s*{_ID})*){_END}")
_TRUNCATE = _pattern(
    rf"truncate\s+(?:table\s+)?(?:only\s+)?(?P<names>{_NAME}(?:\s*\*)?(?:\s*,\s*{_NAME})*)"
    rf"(?:\s+(?:restart|continue)\s+identity)?{_END}"
)
_DELETE = _pattern(rf"delete\s+from\s+(?:only\s+)?(?P<table>{_NAME})(?:\s*\*)?(?P<rest>\s.*)?$")
_UPDATE = _pattern(rf"update\s+(?:only\s+)?(?P<table>{_NAME})(?:\s*\*)?\s+set\s(?P<rest>.*)$")
_CONDITION = _pattern(r"\s+where\s(?P<condition>.*)$")
_RETURNING = _pattern(r"\sreturning\s.*$")
_ALTER_TABLE = _pattern(
    rf"alter\s+table\s+{_IF_EXISTS}(?:only\s+)?(?P<table>{_NAME})(?:\s*\*)?\s+(?P<actions>.*)$"
)
_INSERT = _pattern(rf"insert\s+into\s+(?P<table>{_NAME})")
_RENAME_TABLE = _pattern(rf"rename\s+to\s+(?P<new>{_ID})\s*$")
_RENAME_COLUMN = _pattern(
    rf"rename\s+(?:column\s+)?(?!constraint\s)(?P<column>{_ID})\s+to\s+(?P<new>{_ID})\s*$"
)
_SET_SCHEMA = _pattern(rf"set\s+schema\s+(?P<new>{_ID})\s*$")
_ADD_COLUMN = _pattern(
    r"add\s+(?:column\s+)?(?:if\s+not\s+exists\s+)?"
    rf"(?!(?:constraint|primary|unique|check|foreign|exclude)\b)(?P<column>{_ID})\s"
)
_DROP_COLUMN = _pattern(
    rf"drop\s+(?:column\s+)?{_IF_EXISTS}(?!constraint\s)(?P<column>{_ID}){_END}"
)
_ALTER_TYPE = _pattern(
    rf"alter\s+(?:column\s+)?(?P<column>{_ID})\s+(?:set\s+data\s+)?type\s+(?P<type>.*)$"
)
# Into text everything fits, or it is refused: nothing is rounded or cut off.
_LOSSLESS_TYPE = _pattern(r"(?:text|varchar|character\s+varying)\b(?!.*\busing\b)")


class _Reading:
    """Follows names through statements that rename, add and create."""

    def __init__(self) -> None:
        self._tables: dict[str, str] = {}
        """By the name of the moment: the name of today."""
        self._columns: dict[tuple[str, str], str] = {}
        self._created: set[str] = set()
        self._added: set[tuple[str, str]] = set()

    def of(self, statement: str) -> Iterator[Destruction]:
        """Yield what a statement destroys."""
        made = _CREATE_TABLE.match(statement)
        if made is not None:
            self._created.add(_folded(made["table"]))
        altered = _ALTER_TABLE.match(statement)
        if altered is not None:
            yield from self._alter(statement, altered)
        elif (found := _DROP_TABLE.match(statement)) is not None:
            yield from self._each(Kind.DROP_TABLE, statement, found)
        elif (found := _TRUNCATE.match(statement)) is not None and found["how"] is None:
            yield from self._each(Kind.TRUNCATE, statement, found)
        elif (found := _DROP_SCHEMA.match(statement)) is not None:
            for name in parts(found["names"]):
                optional = found["optional"] is not None
                yield Destruction(
                    kind=Kind.DROP_SCHEMA,
                    statement=statement,
                    table=_folded(name),
                    optional=optional,
                )
        elif (found := _DELETE.match(statement)) is not None:
            yield from self._delete(statement, found)
        elif (found := _UPDATE.match(statement)) is not None:
            yield from self._update(statement, found)
        elif _HARMLESS.match(statement) is None:
            yield Destruction(kind=Kind.UNKNOWN, statement=statement)

    def changed(self, statement: str) -> Iterator[str]:
        """Yield the table of today that a statement changes without destroying anything."""
        found = _ALTER_TABLE.match(statement) or _INSERT.match(statement)
        if found is not None and _folded(found["table"]) not in self._created:
            yield self._now(_folded(found["table"]))

    def _each(self, kind: Kind, statement: str, found: re.Match[str]) -> Iterator[Destruction]:
        for name in parts(found["names"]):
            table = _folded(name.rstrip(" *"))
            if table in self._created:
                continue
            optional = kind is Kind.DROP_TABLE and found["optional"] is not None
            yield Destruction(
                kind=kind, statement=statement, table=self._now(table), optional=optional
            )

    def _delete(self, statement: str, found: re.Match[str]) -> Iterator[Destruction]:
        table, rest = _folded(found["table"]), found["rest"] or ""
        if table in self._created:
            return
        plain = not rest.strip() or masked(rest).split(maxsplit=1)[0].lower() == "where"
        yield (
            self._rows(Kind.DELETE, statement, table, rest)
            if plain
            else Destruction(kind=Kind.UNKNOWN, statement=statement)
        )

    def _update(self, statement: str, found: re.Match[str]) -> Iterator[Destruction]:
        table, rest = _folded(found["table"]), found["rest"]
        blank = masked(rest)
        where = _CONDITION.search(blank)
        assignments = rest[: where.start()] if where is not None else rest
        columns = {
            _folded(match[1])
            for item in parts(assignments)
            if (match := re.match(rf"({_ID})\s*=", item)) is not None
        }
        ours = {(table, column) in self._added for column in columns}
        if table in self._created or ours == {True}:
            return
        if re.search(r"\sfrom\s", blank[: len(assignments)], re.IGNORECASE):
            yield Destruction(kind=Kind.UNKNOWN, statement=statement)
        else:
            yield self._rows(Kind.OVERWRITE, statement, table, rest[len(assignments) :])

    def _rows(self, kind: Kind, statement: str, table: str, rest: str) -> Destruction:
        returning = _RETURNING.search(masked(rest))
        text = rest if returning is None else rest[: returning.start()]
        where = _CONDITION.search(masked(f" {text} ".replace("\n", " ")))
        condition = "" if where is None else f" {text} "[where.start("condition") :].strip()
        return Destruction(
            kind=kind, statement=statement, table=self._now(table), condition=condition
        )

    def _alter(self, statement: str, found: re.Match[str]) -> Iterator[Destruction]:
        table = _folded(found["table"])
        for action in parts(found["actions"]):
            if (renamed := _RENAME_TABLE.match(action)) is not None:
                schema = table.rpartition(".")[0]
                new = _folded(renamed["new"])
                self._rename(table, f"{schema}.{new}" if schema else new)
            elif (moved := _SET_SCHEMA.match(action)) is not None:
                self._rename(table, f"{_folded(moved['new'])}.{table.rpartition('.')[2]}")
            elif (renamed := _RENAME_COLUMN.match(action)) is not None:
                old = _folded(renamed["column"])
                today = self._columns.pop((table, old), old)
                self._columns[table, _folded(renamed["new"])] = today
            elif (added := _ADD_COLUMN.match(action)) is not None:
                self._added.add((table, _folded(added["column"])))
            else:
                yield from self._column(statement, table, action, found["optional"] is not None)

    def _column(
        self,
        statement: str,
        table: str,
        action: str,
        optional: bool,  # noqa: FBT001 - IF EXISTS
    ) -> Iterator[Destruction]:
        kind, found = Kind.DROP_COLUMN, _DROP_COLUMN.match(action)
        if found is None:
            kind, found = Kind.CONVERT, _ALTER_TYPE.match(action)
            if found is None or _LOSSLESS_TYPE.match(found["type"]) is not None:
                return
        else:
            optional = optional or found["optional"] is not None
        column = _folded(found["column"])
        if table in self._created or (table, column) in self._added:
            return
        yield Destruction(
            kind=kind,
            statement=statement,
            table=self._now(table),
            column=self._columns.get((table, column), column),
            optional=optional,
        )

    def _now(self, table: str) -> str:
        return self._tables.get(table, table)

    def _rename(self, old: str, new: str) -> None:
        self._tables[new] = self._tables.pop(old, old)
        if old in self._created:
            self._created.remove(old)
            self._created.add(new)
        for table, column in [key for key in self._columns if key[0] == old]:
            self._columns[new, column] = self._columns.pop((table, column))
        self._added |= {(new, column) for table, column in self._added if table == old}


def _folded(name: str) -> str:
    """Quote a name as PostgreSQL reads it: unquoted parts in lower case (manual, 4.1.1)."""
    return ".".join(
        part if part.startswith('"') else f'"{part.lower()}"' for part in re.findall(_ID, name)
    )
