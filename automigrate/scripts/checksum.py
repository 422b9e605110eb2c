"""A checksum of what a migration script does, which reformatting it does not change.

Whoever asks for the checksum of a file asks `ScriptText`, which knows the SQL files of it too.

Comments, layout, quoting, docstrings, type annotations, `pass`, and the order of imports and
imports that nothing uses do not count, so that formatters and import sorters may run over old
scripts. Everything else does: every name, number and string of the code.

The digest is stable across Python versions: it is taken over a serialisation of our own, because
`ast.dump` and `ast.unparse` change between them. Empty fields are left out (Python 3.12 added
`type_params`), and the pieces of f-strings are merged (Python 3.12 splits them differently).
"""

from __future__ import annotations

import ast
import hashlib
from typing import TYPE_CHECKING, Any

from automigrate.scripts.identifiers import syntax_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["checksum", "checksum_of_tree"]

LEFT_OUT = {
    "annotation",
    "conversion",
    "ctx",
    "kind",
    "returns",
    "simple",
    "type_comment",
    "type_ignores",
}
WITH_DOCSTRING = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

SPECIAL = {ast.JoinedStr, ast.FormattedValue, ast.AnnAssign}

_COUNTED: dict[type[ast.AST], tuple[str, ...]] = {}


def checksum(source: str | bytes, file: str = "<script>") -> str:
    """Hash the substance of a script: SHA-256, in hexadecimal.

    Raises:
        ScriptImportError: the script has a syntax error; `file` is named.
    """
    return checksum_of_tree(syntax_tree(source, file))


def checksum_of_tree(module: ast.Module) -> str:
    """Hash the substance of a script that is parsed already."""
    names: set[str] = set()
    tokens = _tokens(module, names)
    return hashlib.sha256(
        "\n".join([*_imports(module, names), *tokens]).encode("ascii")
    ).hexdigest()


def _imports(module: ast.Module, used: set[str]) -> list[str]:
    """List what the module imports for its own use, sorted."""
    found = set()
    for statement in module.body:
        if not isinstance(statement, ast.Import | ast.ImportFrom):
            continue
        for alias in statement.names:
            bound = alias.asname or alias.name.partition(".")[0]
            if bound in used or bound == "*":
                origin = ""
                if isinstance(statement, ast.ImportFrom):
                    origin = f"{'.' * statement.level}{statement.module or ''}:"
                found.add(ascii(f"{origin}{alias.name} as {alias.asname or ''}"))
    return sorted(found)


def _tokens(module: ast.Module, names: set[str]) -> list[str]:
    """Serialise, and collect the names used; annotations do not count.

    Without recursion, because an expression may be nested deeper than the stack; in one loop,
    because every script that is applied passes here.
    """
    tokens: list[str] = []
    todo: list[tuple[str, Any]] = [("", module)]
    while todo:
        label, item = todo.pop()
        kind = item.__class__
        if item is None:
            tokens.append(label)
        elif kind is ast.Constant:
            name, text = _constant(item.value)
            tokens += (f"{label}(Constant", f"{name}={text!a}", ")")
        elif kind is ast.Name:
            names.add(item.id)
            tokens += (f"{label}(Name", f"id={item.id!a}", ")")
        elif kind is list:
            tokens.append(f"{label}[")
            todo.append(("]", None))
            todo.extend([("", entry) for entry in reversed(item)])
        elif issubclass(kind, ast.AST):
            tokens.append(f"{label}({_kind(item)}")
            todo.append((")", None))
            if kind in SPECIAL:
                todo.extend(reversed(list(_fields(item))))
            else:
                _push_fields(item, todo)
        else:
            tokens.append(f"{label}={item!a}")
    return tokens


def _kind(node: ast.AST) -> str:
    if isinstance(node, ast.AnnAssign) and node.value is not None:
        return "Assign"  # `x: int = 1` does what `x = 1` does
    return type(node).__name__


def _constant(value: object) -> tuple[str, str]:
    """Name the type of a constant, and write its value, the same in every Python version."""
    return type(value).__name__, hex(value) if type(value) is int else ascii(value)


def _fields(node: ast.AST) -> Iterator[tuple[str, Any]]:
    """Say what counts of a node that is written another way than it is."""
    match node:
        case ast.JoinedStr(values=pieces):
            yield "values", _merged(pieces)
        case ast.FormattedValue(value=expression, conversion=conversion, format_spec=spec):
            yield "value", expression
            if conversion != -1:
                yield "conversion", conversion
            if isinstance(spec, ast.JoinedStr) and _merged(spec.values):
                yield "format_spec", spec
        case ast.AnnAssign(target=target, value=value) if value is not None:
            yield "targets", [target]
            yield "value", value
        case _:
            todo: list[tuple[str, Any]] = []
            _push_fields(node, todo)
            yield from reversed(todo)


def _push_fields(node: ast.AST, todo: list[tuple[str, Any]]) -> None:
    """Push the fields that say something, the last one first."""
    for name in _counted(type(node)):
        value = getattr(node, name, None)
        if value is None or value == []:
            continue
        if name == "body" and isinstance(value, list):
            value = _substance(node, value)
        todo.append((name, value))


def _counted(kind: type[ast.AST]) -> tuple[str, ...]:
    """Return the names of the fields that count, sorted, the last one first."""
    names = _COUNTED.get(kind)
    if names is None:
        names = _COUNTED[kind] = tuple(sorted(set(kind._fields) - LEFT_OUT, reverse=True))
    return names


def _substance(node: ast.AST, body: Sequence[ast.AST]) -> list[ast.AST]:
    """Drop docstring, `pass`, and at the top the imports, which `_imports` lists."""
    left = list(body)
    if isinstance(node, WITH_DOCSTRING):
        match left:
            case [ast.Expr(value=ast.Constant(value=str())), *rest]:
                left = rest
    dropped: tuple[type[ast.AST], ...] = (ast.Pass,)
    if isinstance(node, ast.Module):
        dropped = (ast.Pass, ast.Import, ast.ImportFrom)
    return [statement for statement in left if not isinstance(statement, dropped)]


def _merged(pieces: Sequence[ast.expr]) -> list[ast.AST]:
    """Join neighbouring texts of an f-string and drop empty ones."""
    merged: list[ast.AST] = []
    for piece in pieces:
        text = piece.value if isinstance(piece, ast.Constant) else None
        last = merged[-1] if merged else None
        if not isinstance(text, str):
            merged.append(piece)
        elif isinstance(last, ast.Constant) and isinstance(last.value, str):
            merged[-1] = ast.Constant(value=last.value + text)
        elif text:
            merged.append(ast.Constant(value=text))
    return merged
