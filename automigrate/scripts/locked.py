"""What a lock file says, as values; `automigrate.scripts.lockfile` reads and writes them."""

from __future__ import annotations

from typing import NamedTuple

from automigrate.values import frozen

__all__ = ["LockDifferences", "LockFile", "LockedHeads", "LockedScript", "Seal"]


@frozen
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


@frozen
class LockedScript:
    """One script as it was when the lock was written.

    Attributes:
        file: its path, relative to the script directory.
        revision: its id.
        size: its size in bytes.
        checksum: of its substance and its SQL files, see `automigrate.scripts.text`.
        down_revisions: as written in it; these three are `None` in a lock of format 1.
        depends_on: as written in it.
        branch_labels: as written in it.
        digest: SHA-256 of its bytes; `None` in a lock of format 1 or 2.
    """

    file: str
    revision: str
    size: int
    checksum: str
    down_revisions: tuple[str, ...] | None = None
    depends_on: tuple[str, ...] | None = None
    branch_labels: tuple[str, ...] | None = None
    digest: str | None = None


@frozen
class LockFile:
    """The whole lock.

    Attributes:
        summary: the first section.
        scripts: one entry per script, sorted by file.
    """

    summary: LockedHeads
    scripts: tuple[LockedScript, ...]


@frozen
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


class Seal(NamedTuple):
    """What a lock knows of a script as long as its bytes are the same."""

    digest: str
    """SHA-256 of its bytes."""
    checksum: str
    """Of its substance and its SQL files."""
