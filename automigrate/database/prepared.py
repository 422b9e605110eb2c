"""Statements that come with every revision, parsed and planned once (manual, PREPARE).

Fence, version row and journal row are small to carry out and large to plan: on PostgreSQL 18 they
took a quarter of a small revision's time. `PREPARE` is used in its SQL form, because that can be
one of several statements in a message.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import pq

from automigrate.database.wire import encoding_of

if TYPE_CHECKING:
    import psycopg

__all__ = ["Argument", "Prepared", "Repeated"]

Argument = str | int | bool | tuple[str, ...] | None
"""What a parameter can be; a tuple is an array of text."""


class Repeated(NamedTuple):
    """One call of a statement that comes again and again."""

    definition: str
    """Its text, with `$1` and so on; the same every time."""
    types: str
    """Of its parameters, as SQL."""
    arguments: tuple[Argument, ...]
    """This time's."""


class Prepared:
    """What is prepared on one session.

    A script may drop prepared statements (`DISCARD ALL`, `DEALLOCATE ALL`). So whoever has run
    anything that may have done so calls `forget`; then they are prepared anew, by new names.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._escape = pq.Escaping(connection.pgconn).escape_literal
        self._names: dict[str, str] = {}
        self._made = 0
        # A pooler may lend us a session on which an earlier run has left its own.
        self._prefix = f"automigrate_{os.urandom(4).hex()}"

    def call(self, repeated: Repeated) -> list[str]:
        """Return the statements that carry it out: one, or two at the first time."""
        statements = []
        name = self._names.get(repeated.definition)
        if name is None:
            self._made += 1
            name = self._names[repeated.definition] = f"{self._prefix}_{self._made}"
            statements.append(f"prepare {name} ({repeated.types}) as {repeated.definition}")
        encoding = encoding_of(self._connection)
        arguments = ", ".join(self._literal(value, encoding) for value in repeated.arguments)
        return [*statements, f"execute {name} ({arguments})"]

    def forget(self) -> None:
        """Prepare anew what is asked for next."""
        self._names.clear()

    def _literal(self, value: Argument, encoding: str) -> str:
        """Write a value as SQL; a twentieth of what adapting it by its type takes."""
        match value:
            case None:
                return "null"
            case str():
                return bytes(self._escape(value.encode(encoding))).decode(encoding)
            case bool() | int():
                return str(value)
            case _:
                items = ", ".join(self._literal(item, encoding) for item in value)
                return f"array[{items}]::text[]"
