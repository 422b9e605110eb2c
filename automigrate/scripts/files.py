"""Which files of a script directory are migration scripts: Alembic's selection and order."""

# `os` throughout: this runs at every start for every script, and `Path` costs more than the calls.
# ruff: noqa: PTH112, PTH117, PTH118, PTH119, PTH123, PTH208

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, NamedTuple

from automigrate.errors import ScriptError, ScriptImportError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automigrate.scripts.location import ScriptLocation

__all__ = [
    "ScriptFiles",
    "content",
    "digest_of",
    "list_directories",
    "list_names",
    "list_scripts",
]

IGNORED_BEGINNINGS = (".#", "__init__")  # Alembic: (?!\.\#|__init__)(.*\.py)(c|o)?$
COMPILED_ENDINGS = (".pyc", ".pyo")


class ScriptFiles(NamedTuple):
    """The scripts of a directory.

    Attributes:
        paths: the source files, in the order in which Alembic loads them.
        compiled: a script exists only in compiled form, which Alembic alone can read.
    """

    paths: tuple[str, ...]
    compiled: bool


def list_scripts(location: ScriptLocation) -> ScriptFiles:
    """List the scripts that Alembic would load, without opening one.

    A version location that does not exist is skipped, a link is followed to its file, and a file
    that is reached twice counts once, as in Alembic.

    Raises:
        ScriptError: a directory cannot be read.
    """
    paths: dict[str, None] = {}
    compiled = False
    for root, names in _directories(location):
        for name in names:
            paths[name if os.path.isabs(name) else f"{root}{os.sep}{name}"] = None
        compiled = compiled or (location.sourceless and _has_compiled(root))
    return ScriptFiles(tuple(paths), compiled)


def list_names(location: ScriptLocation) -> list[str]:
    """List the names of the scripts relative to the script directory, unsorted and fast.

    Links are named, not followed: enough to see that a script came or went.
    """
    names: list[str] = []
    for root in list_directories(location):
        start = os.path.relpath(root, location.directory).replace(os.sep, "/")
        found = os.listdir(root)
        if "__pycache__" in found:
            found.remove("__pycache__")
        # All at once where nothing else lies here: ten thousand calls take longer than the look.
        text = f"\n{start}/".join(["", *found])
        if text.count("\n") == len(found) == _endings(text) and not _ignored(text):
            names += text[1:].split("\n")
        else:
            names += [
                f"{start}/{name}"
                for name in found
                if name.endswith(".py") and not name.startswith(IGNORED_BEGINNINGS)
            ]
    return names


def list_directories(location: ScriptLocation) -> list[str]:
    """List the directories in which scripts may lie."""
    return [
        root
        for top in location.version_locations
        for root in _roots(top, recursive=location.recursive)
    ]


def _endings(text: str) -> int:
    return text.count(".py\n") + text.endswith(".py")


def _ignored(text: str) -> bool:
    return any(f"/{beginning}" in text for beginning in IGNORED_BEGINNINGS)


def _roots(top: Path, *, recursive: bool) -> Iterator[str]:
    if not recursive:
        if top.is_dir():
            yield str(top)
        return
    for root, _, _ in os.walk(top):
        if not root.endswith("__pycache__"):
            yield root


def content(path: str) -> bytes:
    """Read a script.

    Raises:
        ScriptImportError: it cannot be read.
    """
    try:
        with open(path, "rb", buffering=0) as script:
            return script.read()
    except OSError as error:
        reason = f"{type(error).__name__}: {error.strerror}"
        raise ScriptImportError(file=path, reason=reason) from error


def digest_of(content: bytes) -> str:
    """Hash the bytes of a script: SHA-256, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _directories(location: ScriptLocation) -> Iterator[tuple[str, list[str]]]:
    for top in location.version_locations:
        todo = [os.path.realpath(top)]
        while todo:
            root = todo.pop()
            names, below = _entries(root)
            if not os.path.basename(root).endswith("__pycache__"):
                yield root, names
            if location.recursive:
                todo.extend(f"{root}{os.sep}{name}" for name in reversed(below))


def _entries(root: str) -> tuple[list[str], list[str]]:
    """List the scripts of one directory (a link as an absolute path) and its directories."""
    names: list[tuple[str, str]] = []
    below: list[str] = []
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                name = entry.name
                if entry.is_symlink():
                    if not entry.is_dir():
                        names.append((name, os.path.realpath(entry.path)))
                elif entry.is_dir():
                    below.append(name)
                elif name.endswith(".py"):
                    names.append((name, name))
    except FileNotFoundError:
        return [], []
    except OSError as error:
        raise ScriptError(
            f"{root} cannot be read: {type(error).__name__}. Make it readable for this process."
        ) from error
    return [target for _, target in sorted(names) if is_script(target)], sorted(below)


def is_script(path: str) -> bool:
    """Say whether Alembic takes a file of this name for a script."""
    name = os.path.basename(path)
    return name.endswith(".py") and not name.startswith(IGNORED_BEGINNINGS)


def _has_compiled(root: str) -> bool:
    """Say whether a compiled script lies here, or in the cache, that has no source beside it."""
    here = os.listdir(root) if os.path.isdir(root) else []
    cached = os.path.join(root, "__pycache__")
    stems = {name.partition(".")[0] for name in here}
    left = [name for name in here if name.endswith(COMPILED_ENDINGS) and name[:-1] not in here]
    if os.path.isdir(cached):
        left += [name for name in os.listdir(cached) if name.partition(".")[0] not in stems]
    return any(
        name.endswith(COMPILED_ENDINGS) and not name.startswith(IGNORED_BEGINNINGS) for name in left
    )
