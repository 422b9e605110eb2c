"""What the code wants, read from its migration scripts without importing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automigrate.errors import ConfigurationError, ScriptError
from automigrate.scripts import lockfile
from automigrate.scripts.files import content, list_scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from automigrate.scripts.graph import ScriptGraph
    from automigrate.scripts.lineage import Revision
    from automigrate.scripts.location import ScriptLocation

__all__ = ["heads_at", "read", "wanted_heads"]


def wanted_heads(location: ScriptLocation, target: str = "head") -> tuple[str, ...]:
    """Tell what the version table holds once the target is reached.

    The one question of a startup with nothing pending: answered from `automigrate.lock` when it
    fits the files, else by reading them. Alembic is not imported.

    ``head`` needs a single head in Alembic's sense: two heads are two even when one depends on
    the other (`depends_on`), and ``alembic upgrade head`` refuses them as well. ``heads`` takes
    any number and means the real heads, because the version table does not list a revision that
    another applied one depends on.

    Raises:
        MultipleHeadsError: ``head`` was asked for and there are several.
        BrokenHistoryError: the scripts do not form a history.
        ScriptImportError: a script cannot be read.
        ScriptError: there is no script, or the lock file is damaged.
        ConfigurationError: no revision is called like the target, or it counts from the
            revision of the database (``+1``).
    """
    if target in ("head", "heads"):
        locked = lockfile.trusted(location)
        if locked is not None and (target == "heads" or len(locked.heads) == 1):
            return locked.real_heads
    else:
        from automigrate.scripts.targets import counts_from_database

        if counts_from_database(target):
            raise ConfigurationError(
                f"target {target!r} counts from the revision of the database, so it is never "
                "reached. Name a revision, 'head' or 'heads'."
            )
    return heads_at(read(location), target)


def heads_at(graph: ScriptGraph, target: str) -> tuple[str, ...]:
    """Tell the same from a graph that was read already.

    Raises:
        MultipleHeadsError, ConfigurationError: as `wanted_heads`.
    """
    wanted = graph.effective_heads(graph.resolve(target))
    return tuple(sorted(wanted, key=graph.position.__getitem__))


def read(location: ScriptLocation) -> ScriptGraph:
    """Read the identifiers of all scripts and check the history that they form.

    Raises:
        BrokenHistoryError: the scripts do not form a history.
        ScriptImportError: a script cannot be read.
        ScriptError: there is no script.
    """
    from automigrate.scripts.graph import ScriptGraph  # not needed with a lock

    files = list_scripts(location)
    revisions = None if files.compiled else _read_texts(files.paths)
    if revisions is None:
        from automigrate.scripts import importing  # Alembic: only when it must be

        revisions = importing.load(location)
    if not revisions:
        places = ", ".join(str(path) for path in location.version_locations)
        raise ScriptError(
            f"there is no migration script in {places}. If there should be, they are missing from "
            "the wheel or the image: include them as package data. If this is a new project, "
            "write the first one: `automigrate generate`, or `automigrate new`."
        )
    return ScriptGraph(revisions)


def _read_texts(paths: Sequence[str]) -> list[Revision] | None:
    """Read all scripts; `None` when one of them must be run to tell."""
    from automigrate.scripts.identifiers import identify  # a parser, not needed with a lock

    revisions = []
    for path in paths:
        revision = identify(content(path), path)
        if revision is None:
            return None
        revisions.append(revision)
    return revisions
