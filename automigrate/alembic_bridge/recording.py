"""The statements of a plain revision, noted before any of them is sent.

Most revisions only say what to do: `op.create_table`, `op.add_column`, `op.execute`. Nothing in
them looks at what the database answers, and calling their `upgrade()` has no effect but to build
SQL. Such a revision can be run while the database is still busy with the one before, and be sent
as a whole. Whether it is plain is told from its compiled function or its text first (`bytecode`,
`harmless`: every name that it uses is known to do nothing but build SQL) and seen when it is run:
whatever asks the database for an answer ends the recording, and the revision is run statement by
statement in its turn. Running it twice is nothing that anybody could notice, for the same reason.
"""

from __future__ import annotations

import ast
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from alembic.ddl.impl import DefaultImpl
from psycopg import ClientCursor
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.elements import TextClause

from automigrate.alembic_bridge import harmless
from automigrate.alembic_bridge.bytecode import only_builds_sql
from automigrate.alembic_bridge.conduct import ENDS_TRANSACTION, RESETS, RUNS_ALONE, SPACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    import psycopg

    from automigrate.scripts.text import ScriptText

__all__ = ["NeedsAnswerError", "Recorder", "is_plain"]

# Nobody can do without the answer to the others: what returns rows, copies, or ends transactions.
_WITHOUT_ANSWER = re.compile(
    rf"{SPACE}(?:alter|analyze|comment|create|delete|do|drop|grant|insert|reassign|refresh|revoke|"
    r"security|truncate|update)\b",
    re.IGNORECASE,
)

# Anywhere behind a semicolon: what ends a transaction, drops what is prepared, waits for data, or
# ends a PL/pgSQL block, which is harmless and too much to tell apart here.
_MAY_END_TRANSACTION = re.compile(
    rf";{SPACE}(?:abort|begin|commit|copy|deallocate|end|prepare|release|rollback|savepoint|"
    r"start)\b",
    re.IGNORECASE,
)

# Two colons are a cast.
_STANDING_FOR_OTHERS = re.compile(r"%|\\|(?<!:):(?:::)*(?!:)")

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


class NeedsAnswerError(Exception):
    """The revision cannot go on without an answer of the database, or it may not be recorded."""


class Recorder:
    """Takes statements in the place of a cursor."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.statements: list[str] = []
        """As they are to be sent."""
        self._refused = False

    def refuse(self) -> NoReturn:
        """End the recording, whatever is made of the exception.

        Raises:
            NeedsAnswerError: always.
        """
        self._refused = True
        raise NeedsAnswerError

    def take(self, cursor: Any, statement: str, parameters: Any) -> None:
        """Note a statement.

        Raises:
            NeedsAnswerError: it has parameters, whose types the server would see, or returns rows,
                or cannot be one of several in a transaction.
        """
        if parameters or cursor.connection is not self._connection:
            self.refuse()
        if "%" in statement and parameters is not None:  # doubled for the driver
            statement = ClientCursor(self._connection).mogrify(statement, parameters)
        self._note(statement)

    def _note(self, statement: str) -> None:
        if (
            not _WITHOUT_ANSWER.match(statement)
            or RUNS_ALONE.match(statement)
            or ENDS_TRANSACTION.match(statement)
            or RESETS.search(statement)
            or _MAY_END_TRANSACTION.search(statement)
        ):
            self.refuse()
        self.statements.append(statement)

    def record(
        self, upgrade: Callable[..., object], arguments: dict[str, Any], impl: DefaultImpl
    ) -> list[str] | None:
        """Run a script's function; `None` where it must be run statement by statement.

        Args:
            upgrade: the function.
            arguments: its own.
            impl: where Alembic's operations execute what they make.
        """
        try:
            with self._taking_directly(impl):
                upgrade(**arguments)
        except (Exception, SystemExit):  # noqa: BLE001 - told when it is run in its turn
            return None
        return None if self._refused else self.statements

    @contextmanager
    def _taking_directly(self, impl: DefaultImpl) -> Iterator[None]:
        """Spare an operation what SQLAlchemy prepares for an answer, which nobody is to get.

        Compiling is a third of what it does for a statement; cursor, execution context, events and
        result are the rest.
        """
        if type(impl)._exec is not DefaultImpl._exec:  # noqa: SLF001 - the one way of all operations
            yield
            return
        original = impl._exec  # noqa: SLF001

        def execute(construct: Any, options: Any = None, *others: Any, **named: Any) -> Any:
            text = None if options or others or named else _text_of(construct, impl)
            if text is None:
                return original(construct, options, *others, **named)
            return self._note(text)

        setattr(impl, "_exec", execute)  # noqa: B010 - mypy sees a method
        try:
            yield
        finally:
            del impl._exec  # noqa: SLF001


def _text_of(construct: Any, impl: DefaultImpl) -> str | None:
    """Return what SQLAlchemy would give to the driver, where that is easily told.

    That is DDL without options of its own, and text in which nothing stands for something else: a
    name after a colon, an escaped colon, a percent sign, which the driver wants doubled.
    """
    if isinstance(construct, ExecutableDDLElement):
        connection = impl.connection
        own = type(construct)._execute_on_connection  # noqa: SLF001
        if (
            connection is None
            or own is not ExecutableDDLElement._execute_on_connection  # noqa: SLF001
            or construct.get_execution_options()
            or connection.get_execution_options().get("schema_translate_map")
        ):
            return None
        text = str(construct.compile(dialect=connection.dialect))
        return None if "%" in text else text
    if type(construct) is TextClause and not construct.get_execution_options():
        construct = None if construct._bindparams else construct.text  # noqa: SLF001
    if not isinstance(construct, str) or _STANDING_FOR_OTHERS.search(construct):
        return None
    return construct


def is_plain(module: ModuleType, text: ScriptText, function: str = "upgrade") -> bool:
    """Whether a script's function may be run just to see its statements."""
    called = getattr(module, function, None)
    told = None if called is None else only_builds_sql(called, module, _ANSWERING)
    if told is not None:
        return told
    return harmless.obstacle(module, text.functions, function, _asks) is None


def _asks(node: ast.AST) -> bool:
    """Whether a node may depend on an answer, an error being one, or leave something behind."""
    if isinstance(node, ast.Attribute):
        return node.attr in _ANSWERING or not isinstance(node.ctx, ast.Load)
    return isinstance(node, ast.Try | ast.TryStar)
