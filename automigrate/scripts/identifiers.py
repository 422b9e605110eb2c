"""Reading the identifiers of a migration script from its text, without running it.

Three steps, each for what the one before does not understand: a scanner for the form that
``alembic revision`` writes (about ten times as fast as parsing), Python's parser for anything
written as literals, and `None` for the rest, which only running the script can tell.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from typing import TYPE_CHECKING

from automigrate.errors import ScriptImportError
from automigrate.scripts.lineage import Revision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["identify", "syntax_tree"]

IDENTIFIERS = ("revision", "down_revision", "branch_labels", "depends_on")
LEGACY_FILE_NAME = re.compile(r"([a-f0-9]+)\.py$")  # Alembic 0.1 kept the id in the name only

_ANY = rb"\b(?:revision|down_revision|branch_labels|depends_on)\b"
_STRING = rb"""(?:"[^"\\\r\n]*"|'[^'\\\r\n]*')"""
_MORE = rb"(?:\s*,\s*%s)" % _STRING
_LINE_END = rb"[ \t]*(?:\#[^\r\n]*)?(?:\r?\n|\Z)"
_IMPORTED = rb"[\w.]+(?:[ ]as[ ]\w+)?"
_STATEMENT = re.compile(
    rb"""
    [ \t]*(?:\#[^\r\n]*)?(?:\r?\n)+
    | (?P<name>revision|down_revision|branch_labels|depends_on)
        (?:[ ]*:[ ]*[\w\[\], .|]+?)? [ ]*=[ ]*
        (?P<value>None|%(string)s
            |[(]\s*%(string)s\s*,\s*[)]|[(]\s*%(string)s%(more)s+\s*,?\s*[)]
            |\[\s*%(string)s%(more)s*\s*,?\s*\])
        %(line_end)s
    | (?:from[ ][\w.]+[ ])?import[ ](?![^\r\n]*%(any)s)%(imported)s(?:,[ ]%(imported)s)*%(line_end)s
    | from[ ][\w.]+[ ]import[ ][(](?![^)]*%(any)s)\s*
        %(imported)s(?:\s*,\s*%(imported)s)*\s*,?\s*[)]%(line_end)s
    | (?P<end>(?:def|class|async)[ ]|@|\Z)
    """
    % {
        b"string": _STRING,
        b"more": _MORE,
        b"line_end": _LINE_END,
        b"imported": _IMPORTED,
        b"any": _ANY,
    },
    re.VERBOSE,
)
_DOCSTRING = re.compile(
    rb'(?:[ \t]*(?:\#[^\r\n]*)?\r?\n)*"""((?:[^"\\]++|"(?!""))*+)"""[ \t]*(?:\r?\n|\Z)'
)
_OTHER_ENCODING = re.compile(rb"\#.*?coding[:=](?![ \t]*utf-?8\b)")
_EACH_STRING = re.compile(_STRING)
_FIRST_DEFINITION = re.compile(rb"[\r\n](?:def|class|async|@)")
# A line that is neither part of a function nor the end of its signature or of a long string.
_OTHER_STATEMENT = re.compile(
    rb'''^(?!def[ ]|async[ ]def[ ]|[ \t\r\n#]|[)\]}][^=;\r\n]*\r?$|"""[)\]},]*[ \t]*\r?$|\Z).'''
    rb"|\r(?!\n)",  # ends a line for Python
    re.MULTILINE,
)
_STAR_IMPORT = re.compile(rb"import\s*\\?\s*\*")

_NAMESPACE_ACCESS = {"delattr", "eval", "exec", "globals", "locals", "setattr", "vars"}


def identify(source: bytes, file: str) -> Revision | None:
    """Read the identifiers of a script; `None` when only running it can tell them.

    Raises:
        ScriptImportError: the part that was read has a syntax error, or the script declares no
            `revision` or no `down_revision`.
    """
    return _scan(source, file) or _parse(source, file)


def _scan(source: bytes, file: str) -> Revision | None:
    """Read the usual form; `None` for anything unusual."""
    docstring = _DOCSTRING.match(source)
    place = docstring.end() if docstring else 0
    found: dict[str, tuple[str, ...]] = {}
    try:
        while statement := _STATEMENT.match(source, place):
            place = statement.end()
            name, value, end = statement.group("name", "value", "end")
            if name:
                if name == b"revision" and value[:1] not in b"\"'":
                    return None
                found[name.decode()] = tuple(
                    text[1:-1].decode() for text in _EACH_STRING.findall(value)
                )
            elif end is not None:
                place = statement.start()
                break
        else:
            return None
        doc = docstring[1].decode() if docstring else ""
    except UnicodeDecodeError:
        return None
    if "revision" not in found or "down_revision" not in found:
        return None
    if source.find(b"coding", 0, place) >= 0 and _OTHER_ENCODING.search(source, 0, place):
        return None
    return None if _may_change(source, place) else _revision(found, file, doc)


def _may_change(source: bytes, place: int) -> bool:
    """Say whether the rest of the script may bind an identifier, so that it must be read too.

    Functions alone cannot, whatever they mention; their docstrings like to speak of revisions.

    Args:
        source: the script.
        place: the beginning of the line with which the rest begins.
    """
    if _OTHER_STATEMENT.search(source, place) is None:
        return False
    return (
        source.find(b"revision", place) >= 0
        or source.find(b"branch_labels", place) >= 0
        or source.find(b"depends_on", place) >= 0
        or _STAR_IMPORT.search(source, place) is not None
    )


def _revision(found: Mapping[str, tuple[str, ...]], file: str, doc: str) -> Revision:
    return Revision(
        found["revision"][0],
        found["down_revision"],
        found.get("depends_on", ()),
        found.get("branch_labels", ()),
        file,
        doc.strip().replace("\r\n", "\n").partition("\n\n")[0],
    )


def _parse(source: bytes, file: str) -> Revision | None:
    """Read any script that assigns literals; `None` when it does something else."""
    module = _head_tree(source, file) or syntax_tree(source, file)
    values: dict[str, tuple[str, ...]] = {}
    for name, value in _assigned(module).items():
        if value is None:
            return None
        values[name] = value
    _require(values, file)
    match module.body:
        case [ast.Expr(value=ast.Constant(value=str() as doc)), *_]:
            return _revision(values, file, doc)
    return _revision(values, file, "")


def _require(values: dict[str, tuple[str, ...]], file: str) -> None:
    legacy = LEGACY_FILE_NAME.match(file.replace(os.sep, "/").rpartition("/")[2])
    if "revision" not in values and legacy:
        values["revision"] = (legacy[1],)
    for name in ("revision", "down_revision"):
        if name not in values:
            raise ScriptImportError(
                file=file,
                reason=f"it declares no `{name}`; a file that is no migration script must not be "
                "in the versions directory",
            )


def _head_tree(source: bytes, file: str) -> ast.Module | None:
    """Parse what comes before the first function, if that is all that matters."""
    cut = _FIRST_DEFINITION.search(source)
    if cut is None or _may_change(source, cut.start()):
        return None
    try:
        return syntax_tree(source[: cut.start()], file)
    except ScriptImportError:
        return None  # the cut may be inside a string: the whole script will tell


def syntax_tree(source: str | bytes, file: str) -> ast.Module:
    """Parse a script.

    Raises:
        ScriptImportError: it has a syntax error.
    """
    try:
        with warnings.catch_warnings():  # a bad escape warns here as it does at import
            warnings.simplefilter("ignore")
            return ast.parse(source, file)
    except SyntaxError as error:
        reason = f"SyntaxError: {error.msg} (line {error.lineno})"
        raise ScriptImportError(file=file, reason=reason) from error
    except ValueError as error:  # pragma: no cover  (a null byte, before Python 3.11.4)
        raise ScriptImportError(file=file, reason=f"ValueError: {error}") from error


def _assigned(module: ast.Module) -> dict[str, tuple[str, ...] | None]:
    """Follow the module's statements: the last value of each identifier, `None` if not literal."""
    found: dict[str, tuple[str, ...] | None] = {}
    for statement in module.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(), value=None):
                continue  # `revision: str` binds nothing
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                names = [name]
            case ast.Assign(targets=targets, value=value) if all(
                isinstance(target, ast.Name) for target in targets
            ):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            case _:
                found.update(dict.fromkeys(_touched(statement)))
                continue
        found.update(dict.fromkeys(_touched(value)))
        found.update({name: _literal(name, value) for name in names if name in IDENTIFIERS})
    return found


def _literal(name: str, node: ast.expr) -> tuple[str, ...] | None:
    match node:
        case ast.Constant(value=str() as text):
            return (text,)
        case ast.Constant(value=None) if name != "revision":
            return ()
        case ast.Tuple(elts=items) | ast.List(elts=items) | ast.Set(elts=items):
            constants = [item.value for item in items if isinstance(item, ast.Constant)]
            strings = tuple(value for value in constants if isinstance(value, str))
            if name != "revision" and len(strings) == len(items):
                return strings
    return None


def _touched(node: ast.AST) -> Iterator[str]:
    """Name each identifier that the statement may bind or delete, by any means."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        inside = (item for item in ast.walk(node) if isinstance(item, ast.Global))
        bound = {node.name, *(name for item in inside for name in item.names)}
        yield from bound.intersection(IDENTIFIERS)
        return
    for inner in ast.walk(node):
        match inner:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if name in IDENTIFIERS:
                yield name
            case ast.Name(id=name) if name in _NAMESPACE_ACCESS:
                yield from IDENTIFIERS
            case ast.Attribute(attr="__dict__") | ast.alias(name="*"):
                yield from IDENTIFIERS
            case ast.alias() if (inner.asname or inner.name) in IDENTIFIERS:
                yield inner.asname or inner.name
