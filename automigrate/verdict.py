"""The values that cross module borders: verdicts, status, report, and who is in the way."""

from __future__ import annotations

import enum

from automigrate.values import frozen

__all__ = [
    "AppliedRevision",
    "BackupReport",
    "BaselineReport",
    "Blocker",
    "DowngradeReport",
    "Holder",
    "Loss",
    "Outcome",
    "RollbackPlan",
    "RollbackStep",
    "Status",
    "UpgradeReport",
    "Verdict",
]


class Verdict(enum.StrEnum):
    """How the schema of the database relates to the scripts of the code."""

    CURRENT = "current"
    """The heads in the database are the real heads of the code."""
    BEHIND = "behind"
    """The heads in the database are known ancestors of the wanted heads."""
    EMPTY = "empty"
    """No version table and no table of the application."""
    UNMANAGED = "unmanaged"
    """Tables, but no version table."""
    AHEAD = "ahead"
    """Unknown revisions, recorded in the journal as built on all that this code wants."""
    INCOMPATIBLE = "incompatible"
    """Ahead, and a newer revision declared that older code must not run on its schema."""
    DIVERGED = "diverged"
    """Unknown revisions that are not built on those of this code."""
    INTERRUPTED = "interrupted"
    """A revision committed a part of its work and did not finish."""
    MODIFIED = "modified"
    """The heads match, but the script of an applied revision has changed in substance."""


class Outcome(enum.StrEnum):
    """What one call did about the schema."""

    UNCHANGED = "unchanged"
    """Nothing was pending."""
    MIGRATED = "migrated"
    """This process held the lock and applied what was pending."""
    WAITED = "waited"
    """Another process applied what was pending while this one waited."""
    SKIPPED = "skipped"
    """The mode is `off`: nothing was looked at."""


@frozen
class Holder:
    """The session that holds the migration lock, as far as the server shows it."""

    pid: int
    """Backend process id on the server."""
    application_name: str = ""
    """As the session named itself; names host, process and revision for our own sessions."""
    since: str = ""
    """Start of the session, ISO 8601 with time zone; empty where the server hides it."""
    client: str = ""
    """Client address; empty for a socket or where the server hides it."""

    def __str__(self) -> str:
        parts = [f"backend pid {self.pid}"]
        if self.application_name:
            parts.insert(0, self.application_name)
        if self.client:
            parts.append(f"from {self.client}")
        if self.since:
            parts.append(f"since {self.since}")
        return f"{parts[0]} ({', '.join(parts[1:])})" if len(parts) > 1 else parts[0]


@frozen
class Blocker:
    """A session that a statement of a revision waits for."""

    pid: int
    """Backend process id on the server."""
    application_name: str = ""
    user: str = ""
    state: str = ""
    """`active`, `idle in transaction`, …; empty where the server hides it."""
    age_seconds: float = 0.0
    """Age of its transaction in seconds."""
    query: str = ""
    """Its current or last statement, shortened; empty where the server hides it."""

    def __str__(self) -> str:
        name = self.application_name or "unnamed application"
        parts = [f"pid {self.pid}"]
        if self.user:
            parts.append(f"user {self.user}")
        if self.state:
            parts.append(self.state)
        if self.age_seconds:
            parts.append(f"transaction open for {self.age_seconds:.1f} s")
        if self.query:
            parts.append(f"query: {self.query}")
        return f"{name} ({', '.join(parts)})"


@frozen
class AppliedRevision:
    """One revision that a run applied or undid."""

    revision: str
    message: str = ""
    """First line of the script's docstring."""
    seconds: float = 0.0
    """Duration of the successful attempt."""
    attempts: int = 1


@frozen
class Status:
    """What a look at the database and the scripts found, and what follows from it."""

    verdict: Verdict
    current: tuple[str, ...]
    """Heads in the version table, sorted."""
    wanted: tuple[str, ...]
    """Heads that the version table should hold for this code, sorted."""
    pending: tuple[str, ...] = ()
    """Revisions to apply, in order."""
    unknown: tuple[str, ...] = ()
    """Applied revisions that no script of this code defines."""
    interrupted: tuple[str, ...] = ()
    """Revisions that committed a part of their work and did not finish."""
    modified: tuple[str, ...] = ()
    """Applied revisions whose script has changed in substance."""
    without_way_back: tuple[str, ...] = ()
    """Applied revisions that only code which knows them can undo."""
    holder: Holder | None = None
    """Who holds the migration lock at this moment."""
    detail: str = ""
    """What makes the verdict, in a sentence."""

    @property
    def serves(self) -> bool:
        """Whether the application may serve on this schema under the default policy."""
        return self.verdict in {Verdict.CURRENT, Verdict.AHEAD, Verdict.MODIFIED}


@frozen
class UpgradeReport:
    """What one call found and did."""

    outcome: Outcome
    verdict: Verdict
    """As found at the first look, before anything was changed."""
    heads: tuple[str, ...]
    """Heads in the database at the end, sorted."""
    applied: tuple[AppliedRevision, ...] = ()
    """In the order applied; empty unless `outcome` is `migrated`."""
    waited_for: Holder | None = None
    """The last holder of the lock that this process waited for."""
    waited_seconds: float = 0.0
    """Time spent waiting for the lock."""
    seconds: float = 0.0
    """Time of the whole call."""
    attempts: int = 1
    """Connections it took."""
    backup: str | None = None
    """Where the backup is that was made before."""


@frozen
class Loss:
    """Data that a downgrade destroys."""

    revision: str
    """Whose downgrade it is."""
    what: str
    """`drops table`, `drops column`, …; `may destroy data` for SQL that is not understood."""
    table: str = ""
    """As SQL writes it."""
    column: str = ""
    count: int | None = None
    """Rows, values that are not null in a column, or numbers that a sequence has given out; `None`:
    not known."""
    exact: bool = True
    """Whether they were counted; otherwise the server's estimate, of a large table."""
    statement: str = ""

    def __str__(self) -> str:
        name = f"{self.table}.{self.column}" if self.column else self.table
        unit = "value" if self.column else "number" if "sequence" in self.what else "row"
        if self.count is None:
            size = "how much is not known"
        else:
            about = "" if self.exact else "about "
            size = f"{about}{self.count} {unit if self.count == 1 else f'{unit}s'}"
        statement = " ".join(self.statement.split())[:120]
        said = f" ({statement})" if self.count is None and statement else ""
        return f"{self.revision} {self.what} {name}".rstrip() + f": {size}{said}"


@frozen
class RollbackStep:
    """One revision that is to be undone."""

    revision: str
    message: str = ""
    """First line of the script's docstring; empty for a revision of a newer release."""
    sql: str | None = None
    """What undoes it, as far as it is known beforehand."""
    obstacle: str = ""
    """Why `sql` is not known, or why the revision cannot be undone."""
    irreversible: bool = False
    """Whether it cannot be undone."""
    recorded: bool = False
    """Whether `sql` was kept in the journal by the release that applied the revision."""
    losses: tuple[Loss, ...] = ()
    """Data that it destroys; losses of nothing are left out."""


@frozen
class RollbackPlan:
    """What a rollback would do, in order."""

    current: tuple[str, ...]
    """Heads in the version table, sorted."""
    target: tuple[str, ...]
    """Heads afterwards, sorted."""
    steps: tuple[RollbackStep, ...] = ()
    """Newest revision first."""

    @property
    def losses(self) -> tuple[Loss, ...]:
        """All data that is destroyed, or may be."""
        return tuple(loss for step in self.steps for loss in step.losses)

    @property
    def irreversible(self) -> tuple[RollbackStep, ...]:
        """Steps that make the rollback impossible."""
        return tuple(step for step in self.steps if step.irreversible)


@frozen
class DowngradeReport:
    """What a rollback did."""

    heads: tuple[str, ...]
    """Heads in the database at the end, sorted."""
    reverted: tuple[AppliedRevision, ...] = ()
    """In the order undone."""
    losses: tuple[Loss, ...] = ()
    """Data that was destroyed, as announced."""
    backup: str | None = None
    """Where the backup is that was made before."""
    seconds: float = 0.0
    """Time of the whole call."""


@frozen
class BaselineReport:
    """How an unmanaged database compares with a revision."""

    revision: str
    """As asked for."""
    heads: tuple[str, ...]
    """What the version table holds, or would hold, sorted."""
    differences: tuple[str, ...] = ()
    """Lines of a unified diff, from what the revision makes to what the database has."""
    stamped: bool = False
    """Whether the revision was recorded."""


@frozen
class BackupReport:
    """A backup that was made and verified."""

    path: str
    """Where it is; empty where only a hook made one."""
    heads: tuple[str, ...] = ()
    """Heads that it holds, sorted."""
    size: int = 0
    """Bytes."""
    restore_point: str | None = None
    """Name of the restore point in the write-ahead log; `None`: not permitted, or none was made."""
    lsn: str | None = None
    """Where in the write-ahead log it is."""
    tables: tuple[str, ...] = ()
    """The tables that it is limited to; empty: everything."""
    seconds: float = 0.0
