"""What a function of a script may change of what was there before it was called.

Told from the syntax tree, and only where it matters: a list that the function has made itself is
its own affair.
"""

from __future__ import annotations

import ast
import types
from collections.abc import MutableMapping, MutableSequence, MutableSet
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CHANGING", "first_change", "may_change"]

CHANGING = frozenset(
    """add append appendleft clear difference_update discard extend extendleft insert
    intersection_update move_to_end pop popitem popleft remove reverse rotate setdefault sort
    subtract symmetric_difference_update update""".split()  # noqa: SIM905
)
"""What changes a list, a set, a dict or one of `collections`."""

_MAKING = {"dict", "float", "int", "list", "set", "sorted", "str", "tuple"}
"""Built-in functions that return an object of their own."""

_NEW = (
    *(ast.BinOp, ast.Constant, ast.Dict, ast.DictComp, ast.JoinedStr),
    *(ast.List, ast.ListComp, ast.Set, ast.SetComp, ast.Tuple),
)


def first_change(nodes: list[ast.AST], module: types.ModuleType) -> str | None:
    """Return the text of what may change an object that is not the function's own; `None`: nothing.

    Args:
        nodes: those of the function's parameters and body.
        module: the script.
    """
    own = _own_names(nodes, module)
    for node in nodes:
        for changed in _changed(node):
            if not _is_own(changed, own, module):
                return ast.unparse(node)
    return None


def may_change(found: Any) -> bool:
    """Whether an object could hold something else after it was used."""
    if isinstance(found, tuple | frozenset):
        return any(map(may_change, found))
    return isinstance(found, MutableSequence | MutableMapping | MutableSet)


def _changed(node: ast.AST) -> Iterator[ast.expr]:
    """Yield what a node may change in place."""
    match node:
        case ast.AugAssign(target=target):
            yield target
        case ast.Attribute(attr=name, value=value) if name in CHANGING or name.startswith("__"):
            yield value
        case ast.Attribute(value=value) | ast.Subscript(value=value):
            if not isinstance(node.ctx, ast.Load):
                yield value


def _own_names(nodes: list[ast.AST], module: types.ModuleType) -> set[str]:
    """List the names that stand for nothing but what the function has made."""
    bound: dict[str, int] = {}
    made: dict[str, int] = {}
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                bound[name] = bound.get(name, 0) + 1
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ) if _is_own(value, set(), module):
                made[name] = made.get(name, 0) + 1
            case ast.AugAssign(target=ast.Name(id=name)):
                made[name] = made.get(name, 0) + 1
    return {name for name, count in bound.items() if made.get(name) == count}


def _is_own(value: ast.expr, own: set[str], module: types.ModuleType) -> bool:
    """Whether an expression is an object that nobody else has."""
    match value:
        case ast.Name(id=name):
            return name in own
        case ast.Call(func=ast.Name(id=name)):
            return name in _MAKING and name not in vars(module)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name))):
            return isinstance(vars(module).get(name), types.ModuleType)
    return isinstance(value, _NEW)
