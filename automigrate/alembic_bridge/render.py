"""Render a script's downgrade() to SQL, without a database: the way back for an older release.

An image that does not contain a revision can undo it only if the SQL was kept. Alembic's offline
mode gives it for scripts that read nothing from the database; for all others, and for those that
may do more than build SQL, the reason is kept instead. Nothing is guessed: a statement that
returns rows, an inspection, a different way offline all end the rendering.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import alembic.op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from sqlalchemy import text as text_clause
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.mock import MockConnection
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.schema import DDLElement
from sqlalchemy.sql.expression import BindParameter, TextClause
from sqlalchemy.sql.visitors import iterate

from automigrate.alembic_bridge import harmless
from automigrate.scripts.text import ScriptText

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from alembic.runtime.migration import RevisionStep
    from alembic.script import Script, ScriptDirectory

__all__ = [
    "IN_TRANSACTION",
    "OUTSIDE",
    "Section",
    "WayBack",
    "render",
    "sections",
    "steps_down",
    "way_back_of",
]

OUTSIDE = "-- automigrate: outside of a transaction"
IN_TRANSACTION = "-- automigrate: in a transaction"
"""Lines of the rendered SQL that open a section; it begins in a transaction. A section outside of
one holds a single statement, because several sent together are a transaction again."""

_MARKER = re.compile(rf"^(?:{re.escape(OUTSIDE)}|{re.escape(IN_TRANSACTION)})$", re.MULTILINE)

_INSPECTS = "it inspects the database"

_ALONE = re.compile(
    r"\s*(?:begin|commit|end|abort|rollback|start\s+transaction|prepare\s+transaction|"
    r"(?:create\s+(?:unique\s+)?|drop\s+|re)index\s[^;]*\bconcurrently)\b",
    re.IGNORECASE,
)


class WayBack(NamedTuple):
    """What undoes a revision, or why that cannot be told."""

    sql: str | None = None
    obstacle: str = ""
    """Why there is no SQL."""
    irreversible: bool = False
    """Whether the downgrade cannot succeed at all."""


class Section(NamedTuple):
    """SQL to be run together."""

    sql: str
    outside: bool
    """Whether it must run outside of a transaction."""


class _NeedsDatabaseError(Exception):
    """The downgrade asked for something that only a database can answer."""


def render(
    module: ModuleType,
    path: str,
    options: Mapping[str, Any] | None = None,
    *,
    direction: str = "downgrade",
    text: ScriptText | None = None,
) -> WayBack:
    """Render a function of a script; nothing is executed and nothing of Alembic's state changes.

    Args:
        module: the imported script.
        path: where its source is.
        options: of the Alembic context that runs the upgrade, for its naming conventions.
        direction: which function.
        text: its source, where it was read already.
    """
    if not path.endswith(".py"):
        return WayBack(obstacle="its source is not there")
    functions = (text or ScriptText(path)).functions
    final = harmless.irreversible(functions) if direction == "downgrade" else None
    if final is not None:
        return WayBack(obstacle=final, irreversible=True)
    obstacle = harmless.obstacle(module, functions, direction)
    if obstacle is not None:
        return WayBack(obstacle=obstacle)
    statements: list[str] = []
    try:
        _run_offline(getattr(module, direction), statements, options or {})
    except _NeedsDatabaseError as error:
        return WayBack(obstacle=str(error))
    except NoInspectionAvailable:
        return WayBack(obstacle=_INSPECTS)
    except NotImplementedError as error:
        return WayBack(obstacle=f"its {direction}() raises {error!r}", irreversible=True)
    except Exception as error:  # noqa: BLE001 - whatever a script does without a database
        reason = str(error).strip().partition("\n")[0]
        return WayBack(obstacle=f"{type(error).__name__}: {reason}")
    return WayBack("\n\n".join(statements))


def way_back_of(
    script: Script, options: Mapping[str, Any], text: ScriptText | None = None
) -> WayBack:
    """Render what undoes a script, see `render`."""
    return render(script.module, str(script.path), options, text=text)


def steps_down(
    directory: ScriptDirectory, order: Sequence[str], recorded: Mapping[str, str]
) -> Iterator[RevisionStep]:
    """Yield the steps that undo revisions, in order, by their scripts or by recorded SQL."""
    for revision in order:
        script: Any = directory.get_revision(revision)
        if revision in recorded:
            script._loaded = _recorded_module(recorded[revision])  # noqa: SLF001 - no file to load
        yield MigrationStep.downgrade_from_script(directory.revision_map, script)


def sections(sql: str) -> Iterator[Section]:
    """Split rendered SQL into what runs together; each without its marker."""
    outside, start = False, 0
    for marker in _MARKER.finditer(sql):
        if sql[start : marker.start()].strip():
            yield Section(sql[start : marker.start()].strip(), outside)
        outside, start = marker[0] == OUTSIDE, marker.end()
    if sql[start:].strip():
        yield Section(sql[start:].strip(), outside)


def _recorded_module(sql: str) -> ModuleType:
    """Make a script that can only be undone."""

    def send(section: Section) -> None:
        # As one message without parameters: it may hold several statements, and percent signs.
        alembic.op.get_bind().exec_driver_sql(
            section.sql, execution_options={"no_parameters": True}
        )

    def downgrade(**_: Any) -> None:
        for section in sections(sql):
            if section.outside:
                with alembic.op.get_context().autocommit_block():
                    send(section)
            else:
                send(section)

    module = ModuleType("recorded")
    module.downgrade = downgrade  # type: ignore[attr-defined]
    return module


class _NoRows:
    """Stands for a result that nobody has; whoever looks at it needs a database."""

    def _refuse(self, *_: object) -> NoReturn:
        msg = "it reads from the database"
        raise _NeedsDatabaseError(msg)

    __bool__ = __iter__ = __len__ = __getitem__ = _refuse
    __eq__ = __ne__ = __lt__ = __gt__ = _refuse
    __hash__ = _refuse

    def __getattr__(self, name: str) -> NoReturn:
        self._refuse()


class _Recorder(MockConnection):
    """A connection that notes statements, and has no results."""

    def __init__(self, dialect: Any, note: Any) -> None:
        super().__init__(dialect, note)

    def execute(self, obj: Any, parameters: Any = None, execution_options: Any = None) -> Any:
        """Note a statement with its parameters."""
        del execution_options
        if parameters:
            if not isinstance(obj, TextClause) or not isinstance(parameters, dict):
                msg = "it executes with lists of parameters"
                raise _NeedsDatabaseError(msg)
            obj = obj.bindparams(**parameters)
        self._execute_impl(obj)
        return _NoRows()

    scalar = scalars = execute

    def in_transaction(self) -> bool:
        """Say that there is a transaction, so that Alembic begins none."""
        return True

    def __getattr__(self, name: str) -> NoReturn:
        # With its ORM loaded, SQLAlchemy looks for a state before it gives an inspection up.
        msg = _INSPECTS if name.startswith("_") else f"it uses the connection's {name}"
        raise _NeedsDatabaseError(msg)


def _run_offline(
    function: Callable[[], object], statements: list[str], options: Mapping[str, Any]
) -> None:
    kept = {"target_metadata", "user_module_prefix", "sqlalchemy_module_prefix"}
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    context = MigrationContext.configure(
        dialect=dialect,
        opts={
            **{name: value for name, value in options.items() if name in kept},
            "as_sql": True,
            "literal_binds": True,
        },
    )
    outside = False

    def note(construct: Any, *_: Any, **__: Any) -> None:
        # Not through the impl's own output, which turns tabs into spaces, in literals too.
        element = text_clause(construct) if isinstance(construct, str) else construct
        arguments = {} if isinstance(element, DDLElement) else {"literal_binds": True}
        if any(isinstance(part, BindParameter) and part.required for part in iterate(element)):
            msg = "it executes with parameters that have no value"
            raise _NeedsDatabaseError(msg)
        compiled = str(element.compile(dialect=dialect, compile_kwargs=arguments))
        statement = compiled.strip().rstrip(";").rstrip()
        if not outside and _ALONE.match(statement):
            msg = "it ends its transaction without an autocommit block"
            raise _NeedsDatabaseError(msg)
        # The last line may be a comment, which would swallow the end of the statement.
        statement += "\n;" if "--" in statement.rpartition("\n")[2] else ";"
        statements.append(f"{OUTSIDE}\n{statement}" if outside else statement)

    def leave_transaction() -> None:
        nonlocal outside
        outside = True

    def enter_transaction() -> None:
        nonlocal outside
        outside = False
        statements.append(IN_TRANSACTION)

    impl: Any = context.impl
    impl._exec = note  # noqa: SLF001 - the one place where Alembic turns a construct into text
    impl.static_output = lambda sql: note(text_clause(sql.replace(":", r"\:")))
    impl.emit_commit, impl.emit_begin = leave_transaction, enter_transaction
    impl.connection = context.connection = _Recorder(dialect, note)  # type: ignore[assignment]
    running: Any = getattr(alembic.op, "_proxy", None)
    try:
        with Operations.context(context):
            function()
    finally:
        if running is not None:
            running._install_proxy()  # noqa: SLF001 - that of the upgrade which is at work
