"""Whether a script's upgrade() or downgrade() may be called just to see its SQL.

It may delete files, call a service or open a database connection of its own. So it is run for its
SQL only when every name that it uses is known to do nothing but build SQL: Alembic's `op`,
SQLAlchemy's constructs and column types, plain values, and functions of the script for which the
same holds; and when what would be called is the function whose text was read, not one that a
decorator or an assignment has put in its place. Nor may it leave anything behind in the script:
afterwards it is called once more, or the other of the two is. So it uses nothing of the script's
that is used up by using it (an iterator) or keeps what is made with it (a `MetaData`), and where it
changes a list or a dict it uses none of the script's.
"""

from __future__ import annotations

import ast
import builtins
import collections
import datetime as dt
import decimal
import enum
import re
import types
import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy.schema import SchemaItem
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeEngine

from automigrate.alembic_bridge.changes import first_change, may_change

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BUILTINS",
    "NOT_TO_BE_CALLED",
    "Functions",
    "builds_sql",
    "irreversible",
    "obstacle",
]

_PACKAGES = {
    "alembic",
    "alembic_utils",
    "geoalchemy2",
    "pgvector",
    "sqlalchemy",
    "sqlalchemy_utils",
    "sqlmodel",
}
_STANDARD = {"collections", "datetime", "decimal", "enum", "itertools", "json", "re", "string"}
_STANDARD |= {"textwrap", "typing", "uuid"}
_OF_ALEMBIC = ("alembic.ddl", "alembic.op", "alembic.util")
"""Beginnings of the modules that only build SQL; others run environments and commands."""
_CONNECTING = {
    "async_engine_from_config",
    "create_async_engine",
    "create_database",
    "create_engine",
    "database_exists",
    "drop_database",
    "engine_from_config",
    "run_async",
}
BUILTINS = frozenset(
    """bool bytes dict enumerate False float frozenset int isinstance len list map max min None
    object property range repr reversed set slice sorted str sum super True tuple type zip
    Exception NotImplementedError RuntimeError TypeError ValueError""".split()  # noqa: SIM905
)
_OFFLINE = {"as_sql", "is_offline_mode"}
"""Who asks takes another way offline, and that is not the one to record."""
NOT_TO_BE_CALLED = _OFFLINE | _CONNECTING
_VALUES: tuple[type, ...] = (
    str,
    bytes,
    int,
    float,
    bool,
    type(None),
    dt.date,
    dt.time,
    dt.timedelta,
)
_VALUES += (decimal.Decimal, uuid.UUID, enum.Enum, re.Pattern)
_CONTAINERS = (tuple, list, set, frozenset, collections.deque)


class _ObstacleError(Exception):
    """The reason as its text."""


Functions = dict[str, ast.FunctionDef]
"""Those of a script, by name."""


def obstacle(
    module: types.ModuleType,
    functions: Functions,
    name: str,
    refused: Callable[[ast.AST], bool] = lambda _: False,
) -> str | None:
    """Say what keeps a script's function from being called for its SQL; `None`: nothing.

    Args:
        module: the imported script.
        functions: those of its text.
        name: `upgrade` or `downgrade`.
        refused: tells of each node of the function, and of those that it calls, whether it is an
            obstacle too.
    """
    if name not in functions:
        return f"it has no {name}()"
    check = _Check(module, functions, refused)
    try:
        check.function(name)
        check.ends()
    except _ObstacleError as found:
        return str(found)
    return None


def irreversible(functions: Functions) -> str | None:
    """Say why a script's downgrade() cannot succeed whatever the data are; `None`: it may."""
    function = functions.get("downgrade")
    if function is None:
        return "it has no downgrade()"
    for statement in function.body:
        if isinstance(statement, ast.Raise):
            raised = "" if statement.exc is None else ast.unparse(statement.exc)
            return f"its downgrade() raises {raised}".rstrip()
    return None


class _Check:
    """Every name that a function of a script uses, and every function that it calls."""

    def __init__(
        self, module: types.ModuleType, functions: Functions, refused: Callable[[ast.AST], bool]
    ) -> None:
        self._module = module
        self._functions = functions
        self._refused = refused
        self._seen: set[str] = set()
        self._changes: str | None = None
        self._changeable: str | None = None

    def function(self, name: str) -> None:
        """Check one, and those that it calls.

        Raises:
            _ObstacleError: it may do more than build SQL.
        """
        self._seen.add(name)
        function = self._functions[name]
        _check_definition(function, vars(self._module).get(name))
        self._note_changeable(name, _defaults(vars(self._module)[name]))
        nodes = _nodes(function)
        with_parameters = [*ast.walk(function.args), *nodes]
        local = _local_names(with_parameters)
        for node in nodes:
            self._node(node)
        self._changes = self._changes or first_change(with_parameters, self._module)
        for root, *attributes in _chains(nodes):
            if root in local:
                continue
            if root in self._functions and root in vars(self._module):
                if root not in self._seen:
                    self.function(root)
                continue
            found = _check_object(root, attributes, self._module)
            self._note_changeable(root, found)

    def ends(self) -> None:
        """Check what can be told when all is known.

        Raises:
            _ObstacleError: something of the script's may be another thing afterwards.
        """
        if self._changes is not None and self._changeable is not None:
            msg = f"it uses {self._changes}, which may change {self._changeable}"
            raise _ObstacleError(msg)

    def _node(self, node: ast.AST) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            _check_import(node)
        elif isinstance(node, ast.Await | ast.Global | ast.Nonlocal):
            raise _ObstacleError(f"it uses {type(node).__name__.lower()}")
        elif (isinstance(node, ast.Attribute) and node.attr in NOT_TO_BE_CALLED) or self._refused(
            node
        ):
            raise _ObstacleError(f"it uses {ast.unparse(node)}")

    def _note_changeable(self, name: str, found: object) -> None:
        if may_change(found):
            self._changeable = name


def _defaults(function: Any) -> tuple[object, ...]:
    """Return the values of a function's parameters, which live as long as the function."""
    return (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())


def _check_definition(function: ast.FunctionDef, defined: object) -> None:
    """Check that what the script's name stands for is what its text says."""
    for decorator in function.decorator_list:
        raise _ObstacleError(f"{function.name}() is decorated with {ast.unparse(decorator)}")
    if (
        not isinstance(defined, types.FunctionType)
        or defined.__code__.co_firstlineno != function.lineno
    ):
        raise _ObstacleError(f"{function.name} is another function than the one of that name")


def _nodes(function: ast.FunctionDef) -> list[ast.AST]:
    """List the nodes of a function's body, outer ones first; in half of `ast.walk`'s time."""
    nodes: list[ast.AST] = [*function.body]
    for node in nodes:  # which grows
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                nodes.extend(item for item in value if isinstance(item, ast.AST))
            elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
                nodes.append(value)
    return nodes


def _local_names(nodes: list[ast.AST]) -> set[str]:
    local: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Name):
            if not isinstance(node.ctx, ast.Load):
                local.add(node.id)
        elif isinstance(node, ast.arg):
            local.add(node.arg)
        elif isinstance(node, ast.alias):
            local.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            local.add(node.name)
        elif isinstance(node, ast.ExceptHandler):
            local.add(node.name or "")
    return local


def _chains(nodes: list[ast.AST]) -> list[tuple[str, ...]]:
    """List what is referred to, each as its name and the attributes behind it."""
    chains: list[tuple[str, ...]] = []
    within: set[int] = set()
    for node in nodes:
        if not isinstance(node, ast.Attribute | ast.Name) or id(node) in within:
            continue
        attributes: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            attributes.insert(0, inner.attr)
            inner = inner.value
            within.add(id(inner))
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
            chains.append((inner.id, *attributes))
    return chains


def _check_import(node: ast.Import | ast.ImportFrom) -> None:
    if isinstance(node, ast.ImportFrom):
        sources = [node.module or "."]
    else:
        sources = [alias.name for alias in node.names]
    if sources == ["alembic"] and isinstance(node, ast.ImportFrom):
        sources = [f"alembic.{alias.name}" for alias in node.names]
    for source in sources:
        if not _is_harmless(source):
            raise _ObstacleError(f"it imports {source}, which may do more than build SQL")
    for alias in node.names:
        if alias.name in _CONNECTING:
            raise _ObstacleError(f"it imports {alias.name}")


def _is_harmless(module: str) -> bool:
    package = module.partition(".")[0]
    if package == "alembic":
        return module == "alembic" or module.startswith(_OF_ALEMBIC)
    return package in _PACKAGES | _STANDARD


def _check_object(root: str, attributes: list[str], module: types.ModuleType) -> object:
    """Check what a global name and the attributes behind it stand for, and return that."""
    if root not in vars(module):
        if root in BUILTINS or not hasattr(builtins, root):
            return None  # a name that is nowhere raises NameError when it is run
        raise _ObstacleError(f"it uses {root}()")
    found: Any = vars(module)[root]
    name = root
    for attribute in attributes:
        if not isinstance(found, types.ModuleType):
            break
        name = f"{name}.{attribute}"
        found = getattr(found, attribute, None)
    if not builds_sql(found):
        raise _ObstacleError(f"it uses {name}, which may do more than build SQL")
    return found


def builds_sql(found: Any) -> bool:
    """Whether an object of a script's namespace is known to do nothing but build SQL.

    Nor is it used up by that, or keeps what was made with it.
    """
    if isinstance(found, SchemaItem) or hasattr(type(found), "__next__"):
        return False
    if isinstance(found, (*_VALUES, TypeEngine, ClauseElement)):
        return True
    if isinstance(found, dict):
        return all(map(builds_sql, found)) and all(map(builds_sql, found.values()))
    if isinstance(found, _CONTAINERS):
        return all(map(builds_sql, found))
    if isinstance(found, type) and issubclass(found, TypeEngine | ClauseElement | enum.Enum):
        return True
    if isinstance(found, types.ModuleType):
        source = found.__name__
    else:
        source = getattr(found, "__module__", None) or type(found).__module__
        if getattr(found, "__name__", "") in _CONNECTING:
            return False
    return _is_harmless(source)
