"""The history as the lock file tells it, for a start with something pending.

Alembic opens every script to know the history, and so does `reader.read`. With a lock that fits the
names, the sizes of all scripts and the content of the heads, the lines of the lock are the history;
the scripts that are about to run are opened before, and compared with their lines.
"""

# `os` throughout, for the sake of a thousand scripts.
# ruff: noqa: PTH116

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from automigrate.errors import AutomigrateError
from automigrate.scripts import lockfile
from automigrate.scripts.files import content, digest_of, list_names
from automigrate.scripts.graph import Revision, ScriptGraph
from automigrate.scripts.identifiers import identify
from automigrate.scripts.locked import Seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from automigrate.scripts.location import ScriptLocation

__all__ = ["agrees", "read_locked"]


def read_locked(location: ScriptLocation) -> ScriptGraph | None:
    """Read the history from the lock; `None` where it does not fit, or is of an older format.

    Several version locations, directories below them and links are left to `reader.read`: the
    order in which Alembic takes the scripts is more than that of their names there.

    Raises:
        ScriptError: the lock is damaged, or git left conflict markers in it.
    """
    if location.recursive or len(location.version_locations) != 1:
        return None
    summary = lockfile.trusted(location)
    lines = None if summary is None else lockfile.lines(location)
    if summary is None or lines is None:
        return None
    start = os.path.realpath(location.directory) + os.sep
    try:
        if [line[0] for line in lines] != sorted(list_names(location)):
            return None
        if any(os.stat(start + line[0]).st_size != line[2] for line in lines):
            return None
        seals = {line[1]: Seal(digest=line[7], checksum=line[3]) for line in lines}
        graph = ScriptGraph((_revision(start, line) for line in lines), seals)
    except (OSError, TypeError, LookupError, ValueError, AutomigrateError):
        return None  # whatever it is, the scripts themselves tell
    return graph if set(graph.heads) == set(summary.heads) else None


def agrees(graph: ScriptGraph, revisions: Iterable[str]) -> bool:
    """Whether the scripts of these revisions say what the graph says of them.

    Raises:
        ScriptImportError: one cannot be read.
    """
    for name in revisions:
        known = graph[name]
        source = content(known.file)
        seal = graph.seals.get(name)
        if seal is not None and seal.digest == digest_of(source):
            continue
        found = identify(source, known.file)
        if found is None or found._replace(doc="") != known._replace(doc=""):
            return False
    return True


def _revision(start: str, line: Sequence[Any]) -> Revision:
    file, revision, _size, _checksum, down_revisions, depends_on, branch_labels, _digest = line
    path = start + file
    return Revision(
        revision,
        tuple(down_revisions),
        tuple(depends_on),
        tuple(branch_labels),
        os.path.normpath(path) if ".." in file else path,
    )
