"""The values that cross module borders: verdicts, status, report, and who is in the way."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = [
    "AppliedRevision",
    "Blocker",
    "Holder",
    "Outcome",
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


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedRevision:
    """One revision that a run applied or undid."""

    revision: str
    message: str = ""
    """First line of the script's docstring."""
    seconds: float = 0.0
    """Duration of the successful attempt."""
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
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
    holder: Holder | None = None
    """Who holds the migration lock at this moment."""
    detail: str = ""
    """What makes the verdict, in a sentence."""

    @property
    def serves(self) -> bool:
        """Whether the application may serve on this schema under the default policy."""
        return self.verdict in {Verdict.CURRENT, Verdict.AHEAD, Verdict.MODIFIED}


@dataclass(frozen=True, slots=True, kw_only=True)
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
