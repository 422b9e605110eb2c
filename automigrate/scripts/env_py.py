"""What env.py says about the version table, read without running it.

A startup with nothing pending must know where to look, and must not run env.py for it. Names that
are written as literals, or as module constants, are understood; where they are computed, the
options `version_table` and `version_table_schema` say it. Where it configures in a loop, for each
schema of many, only running it tells which.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from automigrate.scripts.stamp import Remembered, stamp

if TYPE_CHECKING:
    import ast
    from collections.abc import Collection
    from pathlib import Path

__all__ = ["ConfiguredTables", "configured_tables"]


_OTHER_WAYS = (b"search_path", b"schema_translate_map", b"default_schema_name")
"""Where one of them occurs, the schema is not the one that our session would choose."""

_MAY_LOOP = re.compile(rb"^[^#\n]*\bfor\b[^#\n]*\bin\b|\bmap\(", re.MULTILINE)


class ConfiguredTables(NamedTuple):
    """Arguments of `context.configure` in env.py; `None`: not given there."""

    version_table: str | None = None
    schema: str | None = None
    literal: bool = True
    """Whether all of it could be read."""
    loops: bool = False
    """Whether it configures in a loop: once for each schema, and never where there is none yet."""


def configured_tables(env_file: Path) -> ConfiguredTables:
    """Read the arguments `version_table` and `version_table_schema` of `context.configure`.

    The first time costs one read of the file where neither they nor a loop occur in it; later ones
    of a process nothing, as long as it is the same.
    """
    path = str(env_file)
    known = _REMEMBERED.recall(path)
    if known is None:
        before = stamp((path,))
        known = _read(env_file)
        _REMEMBERED.keep(path, (path,), before, known)
    return known


_REMEMBERED: Remembered[ConfiguredTables] = Remembered()


def _read(env_file: Path) -> ConfiguredTables:
    source = env_file.read_bytes()
    elsewhere = any(word in source for word in _OTHER_WAYS) or b"configure(" not in source
    may_loop = _MAY_LOOP.search(source) is not None
    if b"version_table" not in source and not may_loop:
        return ConfiguredTables(literal=not elsewhere)
    import ast

    try:
        tree = ast.parse(source)
    except SyntaxError:
        return ConfiguredTables(literal=False)  # told with its line when env.py runs
    if may_loop and _loops(tree):
        return ConfiguredTables(literal=False, loops=True)
    return _said(tree, elsewhere=elsewhere)


def _said(tree: ast.Module, *, elsewhere: bool) -> ConfiguredTables:
    """Collect the arguments of all calls of `configure`."""
    import ast

    constants = _constants(tree)
    found: dict[str, set[str | None]] = {"version_table": set(), "version_table_schema": set()}
    literal = True
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and _name(call.func) == "configure"):
            continue
        for keyword in call.keywords:
            if keyword.arg in found:
                known, value = _value(keyword.value, constants)
                literal = literal and known
                found[keyword.arg].add(value)
            elif keyword.arg is None:
                literal = False
    if any(len(values) > 1 for values in found.values()):
        literal = False
    schema = _only(found["version_table_schema"])
    if schema is None and elsewhere:
        literal = False
    return ConfiguredTables(_only(found["version_table"]), schema, literal)


def _loops(tree: ast.Module) -> bool:
    """Whether `configure` is reached from a loop over something else than numbers of attempts.

    The multidb template, which names its tokens, has a loop over databases.
    """
    import ast

    reaching = {"configure"}
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    more = reaching
    while more:
        more = {found.name for found in functions if _mentions(found, reaching)} - reaching
        reaching |= more
    looping = [node for node in ast.walk(tree) if _is_loop(node) and _mentions(node, reaching)]
    tokens = any(isinstance(n, ast.keyword) and n.arg == "upgrade_token" for n in ast.walk(tree))
    return bool(looping) and not tokens


def _is_loop(node: ast.AST) -> bool:
    import ast

    match node:
        case ast.For() | ast.AsyncFor():
            return not (isinstance(node.iter, ast.Call) and _name(node.iter.func) == "range")
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            return True
        case ast.Call():
            return _name(node.func) == "map"
        case _:
            return False


def _mentions(node: ast.AST, names: Collection[str]) -> bool:
    import ast

    return any(_name(part) in names for part in ast.walk(node) if isinstance(part, ast.expr))


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    import ast

    constants: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                constants[_name(target)] = node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            constants[_name(node.target)] = node.value
    return constants


def _value(node: ast.expr, constants: dict[str, ast.expr]) -> tuple[bool, str | None]:
    import ast

    if isinstance(node, ast.Name) and node.id in constants:
        node = constants[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, str | None):
        return True, node.value
    return False, None


def _name(node: ast.expr) -> str:
    return getattr(node, "attr", "") or getattr(node, "id", "")


def _only(values: set[str | None]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None
