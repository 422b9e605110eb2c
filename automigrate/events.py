"""What a run tells while it runs: one frozen value per event, handed to every listener.

Listeners are called in the thread that migrates, between statements; a listener that raises is
dropped for the rest of the run and never fails it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from automigrate.verdict import Blocker, Holder, Status, UpgradeReport

__all__ = [
    "BlockersSeen",
    "ConnectionRetried",
    "Event",
    "Listener",
    "LockTaken",
    "LockWaited",
    "Phase",
    "PhaseEntered",
    "ProgressSeen",
    "RevisionApplied",
    "RevisionRecovered",
    "RevisionRetried",
    "RevisionStarted",
    "RunFailed",
    "RunFinished",
    "SchemaJudged",
]


class Phase(enum.StrEnum):
    """Where a run stands."""

    STARTING = "starting"
    """Options are checked, nothing else has happened."""
    CONNECTING = "connecting"
    """Waiting for a connection, or for the server to be writable."""
    WAITING_FOR_LOCK = "waiting for lock"
    """Another process migrates."""
    MIGRATING = "migrating"
    """This process holds the lock and applies revisions."""
    READY = "ready"
    """The schema is right."""
    FAILED = "failed"
    """The run ended with an error."""
    STOPPING = "stopping"
    """Asked to stop; the current revision is being finished or rolled back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseEntered:
    """The run went into another phase."""

    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaJudged:
    """The database was compared with the scripts."""

    status: Status


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRetried:
    """No usable connection yet, or it was lost; it is tried again."""

    reason: str
    attempt: int
    wait_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LockWaited:
    """Another session holds the lock; told at the first sight of each holder."""

    holder: Holder | None
    waited_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LockTaken:
    """This process holds the lock now."""

    waited_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionStarted:
    """A revision begins."""

    revision: str
    message: str
    position: int
    """From 1."""
    total: int
    attempt: int
    direction: str = "upgrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRetried:
    """A revision was rolled back and will be run again."""

    revision: str
    reason: str
    sqlstate: str
    attempt: int
    wait_seconds: float
    blockers: tuple[Blocker, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockersSeen:
    """The running revision waits for other sessions."""

    revision: str
    blockers: tuple[Blocker, ...]
    waited_seconds: float
    repeated: bool = False
    """The same sessions were told of not long ago; not logged again until the wait has doubled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressSeen:
    """The server reports progress of an index build."""

    revision: str
    phase: str
    percent: float | None
    """0 to 100; `None` where the phase has no measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionApplied:
    """A revision is committed."""

    revision: str
    message: str
    position: int
    total: int
    seconds: float
    attempt: int
    direction: str = "upgrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionRecovered:
    """What an interrupted revision had left was put right."""

    revision: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The schema is right."""

    report: UpgradeReport


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed:
    """The run ends with an error."""

    error: BaseException


Event = (
    PhaseEntered
    | SchemaJudged
    | ConnectionRetried
    | LockWaited
    | LockTaken
    | RevisionStarted
    | RevisionRetried
    | BlockersSeen
    | ProgressSeen
    | RevisionApplied
    | RevisionRecovered
    | RunFinished
    | RunFailed
)
Listener = Callable[[Event], None]
