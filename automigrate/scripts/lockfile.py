"""`automigrate.lock`: the heads and a checksum per script, kept in the repository.

It lets a startup learn the wanted heads without opening every script, makes two branches that each
add a revision conflict in git (both change the lines of the heads), and shows edits of old scripts.

It is TOML. A startup reads the first section only, and believes it as long as it fits the files:
the names of all scripts, their sizes (up to `SIZED_SCRIPTS` scripts: beyond, asking for every size
would cost more than the rest of the look), and the content of the scripts of the heads. Otherwise
the scripts are read as if there were no lock. `compare` checks the content of all of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from automigrate.errors import ScriptError, ScriptImportError
from automigrate.scripts.files import content, list_names

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from automigrate.scripts.graph import ScriptGraph
    from automigrate.scripts.location import ScriptLocation

__all__ = [
    "LockDifferences",
    "LockFile",
    "LockedHeads",
    "LockedScript",
    "build",
    "compare",
    "load",
    "trusted",
    "write",
]

NAME = "automigrate.lock"
FORMAT = 1
SIZED_SCRIPTS = 100
HEADER = """\
# Written by `automigrate lock`; commit it. After a conflict in git: bring the revisions into one
# line (`alembic merge heads`), then run `automigrate lock` again.
"""
SCRIPTS_SECTION = "[scripts]"
SUMMARY_TYPES = {
    "heads": list,
    "real_heads": list,
    "head_files": list,
    "head_digest": str,
    "names_digest": str,
    "sizes_digest": str,
}
CONFLICT_MARKERS = ("<<<<<<<", "=======", ">>>>>>>")


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedHeads:
    """The first section: all that a startup needs.

    Attributes:
        heads: Alembic's heads.
        real_heads: what the version table holds at the end.
        head_files: the scripts of the heads, relative to the script directory.
        head_digest: SHA-256 over their content.
        names_digest: SHA-256 over the names of all scripts.
        sizes_digest: SHA-256 over their names and sizes; empty for very many scripts.
    """

    heads: tuple[str, ...]
    real_heads: tuple[str, ...]
    head_files: tuple[str, ...]
    head_digest: str
    names_digest: str
    sizes_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedScript:
    """One script as it was when the lock was written.

    Attributes:
        file: its path, relative to the script directory.
        revision: its id.
        size: its size in bytes.
        checksum: of its substance, see `automigrate.scripts.checksum`.
    """

    file: str
    revision: str
    size: int
    checksum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFile:
    """The whole lock.

    Attributes:
        summary: the first section.
        scripts: one entry per script, sorted by file.
    """

    summary: LockedHeads
    scripts: tuple[LockedScript, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockDifferences:
    """How the scripts differ from the lock; false when they do not.

    Attributes:
        edited: scripts whose substance changed.
        missing: scripts in the lock that are no more.
        extra: scripts that the lock does not know.
        heads_changed: the heads are others than those in the lock.
        outdated: the summary no longer fits the files, so that startups read the scripts.
    """

    edited: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    heads_changed: bool = False
    outdated: bool = False

    def __bool__(self) -> bool:
        return self != LockDifferences()


def trusted(location: ScriptLocation) -> LockedHeads | None:
    """Read the heads from the lock, if there is one and it fits the files.

    Raises:
        ScriptError: the lock is damaged, or git left conflict markers in it.
    """
    if location.sourceless:
        return None
    text = _read(location, whole=False)
    summary = None if text is None else _summary(_path(location), text)
    return summary if summary is not None and _fits(location, summary) else None


def _fits(location: ScriptLocation, summary: LockedHeads) -> bool:
    try:
        names = list_names(location)
        if summary.sizes_digest:
            if _sizes_digest(location, names) != summary.sizes_digest:
                return False
        elif _names_digest(names) != summary.names_digest:
            return False
        return _head_digest(location, summary.head_files) == summary.head_digest
    except (OSError, ScriptImportError):
        return False


def load(location: ScriptLocation) -> LockFile | None:
    """Read the whole lock; `None` when there is none, or a newer automigrate wrote it.

    Raises:
        ScriptError: the lock is damaged, or git left conflict markers in it.
    """
    import tomllib

    text = _read(location, whole=True)
    if text is None:
        return None
    path = _path(location)
    summary = _summary(path, text)
    if summary is None:
        return None
    try:
        entries = tomllib.loads(text)["scripts"].items()
        scripts = tuple(
            LockedScript(
                file=str(file), revision=str(revision), size=int(size), checksum=str(digest)
            )
            for file, (revision, size, digest) in entries
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path) from error
    return LockFile(summary=summary, scripts=scripts)


def build(location: ScriptLocation, graph: ScriptGraph) -> LockFile:
    """Describe the scripts as they are.

    Raises:
        ScriptImportError: a script cannot be read or has a syntax error.
    """
    head_files = tuple(
        sorted(
            relative_file(location, graph[head].file)
            for head in dict.fromkeys((*graph.heads, *graph.real_heads))
        )
    )
    names = list_names(location)
    summary = LockedHeads(
        heads=graph.heads,
        real_heads=graph.real_heads,
        head_files=head_files,
        head_digest=_head_digest(location, head_files),
        names_digest=_names_digest(names),
        sizes_digest=_sizes_digest(location, names) if len(names) <= SIZED_SCRIPTS else "",
    )
    scripts = (_locked(location, revision, graph[revision].file) for revision in graph)
    return LockFile(summary=summary, scripts=tuple(sorted(scripts, key=lambda item: item.file)))


def write(location: ScriptLocation, graph: ScriptGraph) -> LockFile:
    """Write the lock for the scripts as they are, in one step; returns what was written.

    Raises:
        ScriptImportError: a script cannot be read or has a syntax error.
        ScriptError: the lock cannot be written.
    """
    lock = build(location, graph)
    path = _path(location)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(render(lock), encoding="utf-8", newline="\n")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ScriptError(
            f"{path} cannot be written: {error.strerror}. Make the script directory writable, or "
            "run `automigrate lock` where it is."
        ) from error
    return lock


def render(lock: LockFile) -> str:
    """Write the lock as text, one line per script, so that differences are readable."""
    lines = [f"format = {FORMAT}"]
    lines += [f"{name} = {_toml(value)}" for name, value in asdict(lock.summary).items()]
    lines += ["", SCRIPTS_SECTION]
    lines += [
        f"{_toml(item.file)} = {_toml((item.revision, item.size, item.checksum))}"
        for item in lock.scripts
    ]
    return HEADER + "\n".join(lines) + "\n"


def compare(location: ScriptLocation, lock: LockFile, graph: ScriptGraph) -> LockDifferences:
    """Compare the lock with the content of all scripts.

    Raises:
        ScriptImportError: a script cannot be read or has a syntax error.
    """
    now = {item.file: item for item in build(location, graph).scripts}
    then = {item.file: item for item in lock.scripts}
    return LockDifferences(
        edited=tuple(
            file
            for file in sorted(now.keys() & then.keys())
            if now[file].checksum != then[file].checksum
        ),
        missing=tuple(sorted(then.keys() - now.keys())),
        extra=tuple(sorted(now.keys() - then.keys())),
        heads_changed=set(lock.summary.heads) != set(graph.heads)
        or set(lock.summary.real_heads) != set(graph.real_heads),
        outdated=not _fits(location, lock.summary),
    )


def relative_file(location: ScriptLocation, file: str) -> str:
    """Name a script relative to the script directory, the same on every system."""
    relative = os.path.relpath(os.path.realpath(file), os.path.realpath(location.directory))
    return relative.replace(os.sep, "/")


def _locked(location: ScriptLocation, revision: str, file: str) -> LockedScript:
    from automigrate.scripts.checksum import checksum  # a parser, not needed at startup

    source = content(file)
    return LockedScript(
        file=relative_file(location, file),
        revision=revision,
        size=len(source),
        checksum=checksum(source, file),
    )


def _path(location: ScriptLocation) -> Path:
    return location.directory / NAME


def _read(location: ScriptLocation, *, whole: bool) -> str | None:
    """Read the lock, by default just the part before the scripts."""
    path = _path(location)
    try:
        with path.open(encoding="utf-8") as lines:
            if whole:
                return lines.read()
            first: list[str] = []
            for line in lines:
                if line.startswith(SCRIPTS_SECTION):
                    break
                first.append(line)
            return "".join(first)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path) from error


def _summary(path: Path, text: str) -> LockedHeads | None:
    """Read the first section; `None` when its format is not known."""
    values: dict[str, Any] = {}
    for line in text.partition(SCRIPTS_SECTION)[0].splitlines():
        if line.startswith(CONFLICT_MARKERS):
            raise ScriptError(
                f"{path} has conflict markers of git: two branches each added a revision. Bring "
                "the revisions into one line (`alembic merge heads`), then run `automigrate lock`."
            )
        name, separator, value = line.partition(" = ")
        if separator and not line.startswith("#"):
            try:
                values[name] = json.loads(value)
            except ValueError as error:
                raise _damaged(path) from error
    if values.pop("format", None) != FORMAT:
        return None
    if {name: type(value) for name, value in values.items()} != SUMMARY_TYPES:
        raise _damaged(path)
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    return LockedHeads(**(values | lists))


def _damaged(path: Path) -> ScriptError:
    return ScriptError(f"{path} is damaged. Write it again with `automigrate lock`, or delete it.")


def _toml(value: object) -> str:
    """Write a value that is the same in TOML and in JSON."""
    return json.dumps(value, ensure_ascii=False)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _names_digest(names: list[str]) -> str:
    return _digest(sorted(names))


def _sizes_digest(location: ScriptLocation, names: list[str]) -> str:
    start = f"{location.directory}/"
    return _digest(
        f"{name} {os.stat(start + name).st_size}"  # noqa: PTH116  `Path` costs more than the call
        for name in sorted(names)
    )


def _head_digest(location: ScriptLocation, files: Iterable[str]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(hashlib.sha256(content(f"{location.directory}/{file}")).digest())
    return total.hexdigest()
