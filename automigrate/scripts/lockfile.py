"""`automigrate.lock`: the heads and a checksum per script, kept in the repository.

It lets a startup learn the wanted heads without opening every script, makes two branches that each
add a revision conflict in git (both change the lines of the heads), and shows edits of old scripts.

It is TOML. A startup reads the first section only, and believes it as long as it fits the files:
the names of all scripts, their sizes (up to `SIZED_SCRIPTS` scripts: beyond, asking for every size
would cost more than the rest of the look), and the content of the scripts of the heads. Otherwise
the scripts are read as if there were no lock. `compare` checks the content of all of them.

The second section has a line per script, from which `locked_graph` knows the history when something
is pending, and the checksums of the scripts whose bytes are still the same, which spares parsing
them. Format 1 had no identifiers there, and format 2 no digests: their first section serves as
ever, the history is read from the scripts.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, astuple
from typing import TYPE_CHECKING, Any

from automigrate.errors import ScriptError, ScriptImportError
from automigrate.scripts.files import content, digest_of, list_directories, list_names
from automigrate.scripts.locked import LockDifferences, LockedHeads, LockedScript, LockFile
from automigrate.scripts.stamp import Remembered, stamp

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from automigrate.scripts.graph import Revision, ScriptGraph
    from automigrate.scripts.location import ScriptLocation

__all__ = [
    "LockDifferences",
    "LockFile",
    "LockedHeads",
    "LockedScript",
    "build",
    "compare",
    "lines",
    "load",
    "trusted",
    "write",
]

NAME = "automigrate.lock"
FORMAT = 3
"""To be raised with every change of what a checksum is taken over, too: see `Seal`."""
FORMATS = (1, 2, FORMAT)
SIZED_SCRIPTS = 20
HEADER = """\
# Written by `automigrate lock`; commit it. After a conflict in git, `automigrate merge` brings the
# revisions into one line and writes this file anew.
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


def trusted(location: ScriptLocation) -> LockedHeads | None:
    """Read the heads from the lock, if there is one and it fits the files.

    Raises:
        ScriptError: the lock is damaged, or git left conflict markers in it.
    """
    if location.sourceless:
        return None
    known = _REMEMBERED.recall(location)
    if known is not None:
        return known
    text = _read(location, whole=False)
    summary = None if text is None else _summary(_path(location), text)
    if summary is None:
        return None
    paths = _witnesses(location, summary)
    before = stamp(paths)
    if not _fits(location, summary):
        return None
    _REMEMBERED.keep(location, paths, before, summary)
    return summary


_REMEMBERED: Remembered[LockedHeads] = Remembered()


def _witnesses(location: ScriptLocation, summary: LockedHeads) -> tuple[str, ...]:
    """Name what would change if the answer did: lock, directories, heads, and sized scripts."""
    directory = str(location.directory)
    files = list_names(location) if summary.sizes_digest else summary.head_files
    return (
        f"{directory}/{NAME}",
        *list_directories(location),
        *(f"{directory}/{file}" for file in files),
    )


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
        listed = tomllib.loads(text)["scripts"].items()
        scripts = tuple(_entry(file, *values) for file, values in listed)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path) from error
    return LockFile(summary=summary, scripts=scripts)


def lines(location: ScriptLocation) -> list[list[Any]] | None:
    """Read the second section alone and fast: file, revision, size and so on of each script.

    Returns:
        What is written there, unchecked (see `locked_graph`); `None` in an earlier format.
    """
    text = _read(location, whole=True)
    head, _, section = (text or "").partition(f"\n{SCRIPTS_SECTION}\n")
    if f"\nformat = {FORMAT}\n" not in head:
        return None
    # A line is a key, " = " and an array that is JSON too; whatever is not so fails to parse.
    arrays = [f"[{line}" for line in section.replace('" = [', '",').splitlines() if line]
    try:
        return list(json.loads(f"[{','.join(arrays)}]"))
    except ValueError:
        return None


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
    scripts = (_locked(location, graph[revision]) for revision in graph)
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
        f"{_toml(item.file)} = {_toml([value for value in astuple(item)[1:] if value is not None])}"
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


def _locked(location: ScriptLocation, script: Revision) -> LockedScript:
    from automigrate.scripts.text import ScriptText  # a parser, not needed at startup

    text = ScriptText(script.file)
    return LockedScript(
        file=relative_file(location, script.file),
        revision=script.revision,
        size=len(text.source),
        checksum=text.checksum,
        down_revisions=script.down_revisions,
        depends_on=script.depends_on,
        branch_labels=script.branch_labels,
        digest=digest_of(text.source),
    )


def _entry(
    file: str,
    revision: str,
    size: int,
    checksum: str,
    *identifiers_and_digest: Any,
) -> LockedScript:
    """Make the value of a line: format 1 ends here, format 2 has identifiers, 3 a digest, too.

    Raises:
        TypeError, ValueError: it is something else.
    """
    identifiers, digest = identifiers_and_digest[:3], identifiers_and_digest[3:]
    down, depends_on, labels = map(tuple, identifiers) if identifiers else (None, None, None)
    return LockedScript(
        file=str(file),
        revision=str(revision),
        size=int(size),
        checksum=str(checksum),
        down_revisions=down,
        depends_on=depends_on,
        branch_labels=labels,
        digest=str(*digest) if digest else None,
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
                f"{path} has conflict markers of git: two branches each added a revision. "
                "`automigrate merge` brings them into one line and writes it anew; if they are in "
                "one line already, `automigrate lock` does."
            )
        name, separator, value = line.partition(" = ")
        if separator and not line.startswith("#"):
            try:
                values[name] = json.loads(value)
            except ValueError as error:
                raise _damaged(path) from error
    if values.pop("format", None) not in FORMATS:
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
    names.sort()
    return _digest(names)


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
