"""Judge a database against the scripts. Pure: values in, a `Status` or an error out.

The order of the questions matters and is the whole of the design:

1. Is there a version table? Without one the database is `empty` or `unmanaged`.
2. Does it hold revisions that no script defines? The journal then tells `ahead` from `diverged`.
3. Did a revision stop half-way? Only the holder of the lock may say so: while another session
   holds it, a journal row in state `running` is simply work in progress.
4. Is anything wanted that is not applied? Then `behind`, with the order to apply it in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, assert_never

from automigrate.errors import (
    AheadError,
    AutomigrateError,
    DivergedError,
    IncompatibleError,
    InterruptedRevisionError,
    ModifiedError,
    PendingError,
    UnmanagedError,
    names,
)
from automigrate.options import AheadPolicy, Mode, ModifiedPolicy, Options
from automigrate.values import frozen
from automigrate.verdict import Holder, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["History", "JournalEntry", "Observed", "decide", "judge"]


class History(Protocol):
    """What the judgement needs to know of the script graph."""

    def __contains__(self, revision: object, /) -> bool:
        """Whether a script defines it."""
        ...

    def ancestors(self, ids: Iterable[str], /) -> frozenset[str]:
        """All that must be applied for these to be applied, themselves included."""
        ...

    def upgrade_order(
        self, current: Collection[str], target: Collection[str], /
    ) -> tuple[str, ...]:
        """What is to be applied to get from one set of heads to another, in order."""
        ...


@frozen
class JournalEntry:
    """One row of the journal: one application of a revision."""

    id: int
    revision: str
    down_revisions: tuple[str, ...] = ()
    """Normalised: `depends_on` included."""
    direction: str = "upgrade"
    """`upgrade`, `downgrade` or `stamp`."""
    state: str = "applied"
    """`running`, `applied`, `failed` or `reverted`."""
    compatible: bool = True
    """Whether code that does not know the revision may run on its schema."""
    checksum: str | None = None
    progress: Mapping[str, Any] | None = None
    """What a revision that committed a part of its work had done, see the journal."""
    error: str | None = None
    obstacle: str | None = None
    """Why the journal has no SQL that undoes it; `None` where it has, or nobody asked."""
    instance: tuple[str, int] = ("", 0)
    """Host and process id of who applied it."""

    @property
    def open(self) -> bool:
        """Whether it began and did not come to an end."""
        return self.state in {"running", "failed"}


@frozen
class Observed:
    """What the database said, in one look."""

    version_table: bool
    """Whether the version table exists."""
    heads: tuple[str, ...] = ()
    tables: bool = False
    """Whether the schema holds tables that are not ours nor an extension's."""
    open_revisions: tuple[str, ...] = ()
    """Revisions with an open journal row, seen with the heads."""
    holder: Holder | None = None
    """Another session that holds the lock, seen after the heads."""
    journal: tuple[JournalEntry, ...] = ()
    """Oldest first, read after the holder: a row that was open before and still is, while nobody
    held the lock in between, is one that was interrupted."""


def judge(
    history: History,
    wanted: Collection[str],
    observed: Observed,
    *,
    checksums: Mapping[str, str] | None = None,
) -> Status:
    """Compare the database with the scripts.

    Args:
        history: the script graph.
        wanted: heads that the version table should hold.
        observed: the look at the database.
        checksums: of the scripts by revision, to find modified ones; `None`: do not ask.
    """
    current = tuple(sorted(observed.heads))
    common: dict[str, Any] = {
        "current": current,
        "wanted": tuple(sorted(wanted)),
        "holder": observed.holder,
        "without_way_back": _without_way_back(observed.journal),
    }
    unfinished = _unfinished(history, observed)
    if not observed.version_table and not unfinished:
        return _without_version_table(history, wanted, observed, common)
    unknown = tuple(head for head in current if head not in history)
    if unknown:
        return _with_unknown_heads(history, wanted, observed, unknown, common)
    pending = history.upgrade_order(current, tuple(wanted))
    if unfinished and observed.holder is None:
        return Status(
            verdict=Verdict.INTERRUPTED,
            interrupted=unfinished,
            pending=pending,
            detail=f"{names(unfinished)} began and did not finish",
            **common,
        )
    modified = _modified(observed.journal, checksums or {})
    if pending:
        count = f"{len(pending)} {'revision' if len(pending) == 1 else 'revisions'}"
        return Status(
            verdict=Verdict.BEHIND,
            pending=pending,
            modified=modified,
            detail=f"{count} pending",
            **common,
        )
    if modified:
        return Status(
            verdict=Verdict.MODIFIED,
            modified=modified,
            detail=f"{names(modified)} changed after being applied",
            **common,
        )
    return Status(verdict=Verdict.CURRENT, detail=_past(current, wanted), **common)


def decide(  # noqa: C901 - a row for each verdict
    status: Status, options: Options
) -> AutomigrateError | bool:
    """Say what follows from a verdict: an error to raise, or whether to apply what is pending.

    Returns:
        `True`: apply (or, in mode `wait`, wait for) what is pending; `False`: serve; an error:
        raise it.
    """
    about: dict[str, Any] = {"current": status.current, "wanted": status.wanted}
    verdict = status.verdict
    match verdict:
        case Verdict.CURRENT:
            return False
        case Verdict.MODIFIED:
            strict = options.on_modified is ModifiedPolicy.REFUSE or options.mode is Mode.CHECK
            return ModifiedError(revisions=status.modified, **about) if strict else False
        case Verdict.BEHIND | Verdict.EMPTY:
            if options.mode is Mode.CHECK:
                return PendingError(revisions=status.pending, **about)
            if status.modified and options.on_modified is ModifiedPolicy.REFUSE:
                return ModifiedError(revisions=status.modified, **about)
            return True
        case Verdict.AHEAD:
            strict = options.on_ahead is AheadPolicy.REFUSE
            return AheadError(revisions=status.unknown, **about) if strict else False
        case Verdict.INCOMPATIBLE:
            return IncompatibleError(revisions=status.unknown, detail=status.detail, **about)
        case Verdict.DIVERGED:
            return DivergedError(revisions=status.unknown, detail=status.detail, **about)
        case Verdict.UNMANAGED:
            return UnmanagedError(**about)
        case Verdict.INTERRUPTED:
            if options.mode is Mode.CHECK:
                return InterruptedRevisionError(
                    revision=status.interrupted[0], left=(status.detail,)
                )
            return True
    assert_never(verdict)


def _unfinished(history: History, observed: Observed) -> tuple[str, ...]:
    """Revisions with an open journal row that the version table does not say otherwise about.

    Plain Alembic, or a person, may have finished or undone the work since. A revision of a newer
    release is left out: this code could not repair it, and does not need it in order to serve.
    """
    latest: dict[str, JournalEntry] = {}
    for entry in observed.journal:
        latest[entry.revision] = entry
    open_entries = [
        entry
        for entry in latest.values()
        if entry.open and entry.revision in observed.open_revisions
    ]
    if not open_entries:
        return ()
    known = [head for head in observed.heads if head in history]
    applied = history.ancestors(known) | frozenset(observed.heads)
    return tuple(
        entry.revision
        for entry in open_entries
        if entry.revision in history
        and (entry.revision in applied) is (entry.direction == "downgrade")
    )


def _without_version_table(
    history: History, wanted: Collection[str], observed: Observed, common: dict[str, Any]
) -> Status:
    if observed.tables:
        return Status(
            verdict=Verdict.UNMANAGED, detail="there are tables but no version table", **common
        )
    return Status(
        verdict=Verdict.EMPTY,
        pending=history.upgrade_order((), tuple(wanted)),
        detail="there is no table yet",
        **common,
    )


def _with_unknown_heads(
    history: History,
    wanted: Collection[str],
    observed: Observed,
    unknown: tuple[str, ...],
    common: dict[str, Any],
) -> Status:
    entries = {
        entry.revision: entry
        for entry in observed.journal
        if entry.direction != "downgrade" and entry.state == "applied"
    }
    newer: dict[str, JournalEntry] = {}
    roots = {head for head in observed.heads if head in history}
    queue = list(unknown)
    while queue:
        revision = queue.pop()
        if revision in history:
            roots.add(revision)
        elif revision not in entries:
            return Status(
                verdict=Verdict.DIVERGED,
                unknown=unknown,
                detail=f"the journal does not know what {revision} is built on",
                **common,
            )
        elif revision not in newer:
            newer[revision] = entries[revision]
            queue.extend(entries[revision].down_revisions)
    lacking = history.ancestors(tuple(wanted)) - history.ancestors(tuple(roots))
    if lacking:
        return Status(
            verdict=Verdict.DIVERGED,
            unknown=unknown,
            detail=f"they are not built on {names(sorted(lacking))} of this code",
            **common,
        )
    excluding = tuple(sorted(name for name, entry in newer.items() if not entry.compatible))
    if excluding:
        return Status(
            verdict=Verdict.INCOMPATIBLE,
            unknown=tuple(sorted(newer)),
            detail=f"{names(excluding)} declared that older code must not run on it",
            **common,
        )
    return Status(
        verdict=Verdict.AHEAD,
        unknown=tuple(sorted(newer)),
        detail=f"{names(sorted(newer))} came with a newer release",
        **common,
    )


def _without_way_back(journal: Iterable[JournalEntry]) -> tuple[str, ...]:
    applied = {entry.revision: entry.obstacle for entry in journal if entry.state == "applied"}
    return tuple(sorted(revision for revision, obstacle in applied.items() if obstacle))


def _modified(journal: Iterable[JournalEntry], checksums: Mapping[str, str]) -> tuple[str, ...]:
    applied: dict[str, str | None] = {}
    for entry in journal:
        if entry.direction == "upgrade" and entry.state == "applied":
            applied[entry.revision] = entry.checksum
    return tuple(
        sorted(
            revision
            for revision, checksum in applied.items()
            if checksum and revision in checksums and checksums[revision] != checksum
        )
    )


def _past(current: Collection[str], wanted: Collection[str]) -> str:
    return "" if set(current) == set(wanted) else "the database is past the target"
