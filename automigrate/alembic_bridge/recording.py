"""The statements of a plain revision, noted before any of them is sent.

Most revisions only say what to do: `op.create_table`, `op.add_column`, `op.execute`. Nothing in
them looks at what the database answers, and calling their `upgrade()` has no effect but to build
SQL. Such a revision can be run while the database is still busy with the one before, and be sent
as one message. Whether it is plain is read from its text first (`harmless`: every name that it
uses is known to do nothing but build SQL) and seen when it is run: whatever asks the database for
an answer ends the recording, and the revision is run statement by statement in its turn. Running
it twice is nothing that anybody could notice, for the same reason.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Any

from psycopg import ClientCursor

from automigrate.alembic_bridge import harmless
from automigrate.alembic_bridge.conduct import ENDS_TRANSACTION, RESETS, RUNS_ALONE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import psycopg

    from automigrate.scripts.text import ScriptText

__all__ = ["NeedsAnswerError", "Recorder", "is_plain"]

# White space and comments; nested ones end twice.
_NOTHING = r"(?:\s|--[^\n]*(?:\n|\Z)|/\*(?:[^*]|\*(?!/))*\*/|\*/)*"

# Nobody can do without the answer to the others: what returns rows, copies, or ends transactions.
_WITHOUT_ANSWER = re.compile(
    rf"{_NOTHING}(?:alter|analyze|comment|create|delete|do|drop|grant|insert|reassign|refresh|revoke|"
    r"security|truncate|update)\b",
    re.IGNORECASE,
)

# Anywhere behind a semicolon: what ends a transaction, drops what is prepared, or ends a PL/pgSQL
# block, which is harmless and too much to tell apart here.
_MAY_END_TRANSACTION = re.compile(
    rf";{_NOTHING}(?:abort|begin|commit|deallocate|end|prepare|release|rollback|savepoint|start)\b",
    re.IGNORECASE,
)

# What leads to a connection or a result.
_ANSWERING = {
    "as_sql",
    "autocommit_block",
    "bind",
    "connection",
    "get_bind",
    "get_context",
    "impl",
    "migration_context",
    "run_async",
}


# What changes a list, a set or a dict, which may be the script's own and be there the second time.
_CHANGING = {
    "append",
    "clear",
    "discard",
    "extend",
    "insert",
    "pop",
    "popitem",
    "remove",
    "setdefault",
}


class NeedsAnswerError(Exception):
    """The revision cannot go on without an answer of the database, or it may not be recorded."""


class Recorder:
    """Takes statements in the place of a cursor."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.statements: list[str] = []
        """As they are to be sent."""

    def take(self, cursor: Any, statement: str, parameters: Any) -> None:
        """Note a statement.

        Raises:
            NeedsAnswerError: it has parameters, whose types the server would see, or returns rows,
                or cannot be one of several in a transaction.
        """
        if parameters or cursor.connection is not self._connection:
            raise NeedsAnswerError
        if (
            not _WITHOUT_ANSWER.match(statement)
            or RUNS_ALONE.match(statement)
            or ENDS_TRANSACTION.match(statement)
            or RESETS.search(statement)
            or _MAY_END_TRANSACTION.search(statement)
        ):
            raise NeedsAnswerError
        if "%" in statement and parameters is not None:  # doubled for the driver
            statement = ClientCursor(self._connection).mogrify(statement, parameters)
        self.statements.append(statement)

    def record(self, upgrade: Callable[..., object], arguments: dict[str, Any]) -> list[str] | None:
        """Run a script's function; `None` where it must be run statement by statement."""
        try:
            upgrade(**arguments)
        except (Exception, SystemExit):  # noqa: BLE001 - told when it is run in its turn
            return None
        return self.statements


def is_plain(module: ModuleType, text: ScriptText, function: str = "upgrade") -> bool:
    """Whether a script's function may be run just to see its statements."""
    return harmless.obstacle(module, text.functions, function, _asks) is None


def _asks(node: ast.AST) -> bool:
    """Whether a node may depend on an answer, an error being one, or leave something behind."""
    if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store):
        return True
    if isinstance(node, ast.Attribute):
        return node.attr in _ANSWERING or node.attr in _CHANGING
    return isinstance(node, ast.Try | ast.TryStar)
