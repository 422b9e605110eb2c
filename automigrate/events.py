"""What a run tells while it runs: one frozen value per event, handed to every listener.

Listeners are called in the thread that migrates, between statements; a listener that raises is
dropped for the rest of the run and never fails it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING

from automigrate.values import frozen

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


@frozen
class PhaseEntered:
    """The run went into another phase."""

    phase: Phase


@frozen
class SchemaJudged:
    """The database was compared with the scripts."""

    status: Status


@frozen
class ConnectionRetried:
    """No usable connection yet, or it was lost; it is tried again."""

    reason: str
    attempt: int
    wait_seconds: float


@frozen
class LockWaited:
    """Another session holds the lock; told at the first sight of each holder."""

    holder: Holder | None
    waited_seconds: float


@frozen
class LockTaken:
    """This process holds the lock now."""

    waited_seconds: float


@frozen
class RevisionStarted:
    """A revision begins."""

    revision: str
    message: str
    position: int
    """From 1."""
    total: int
    attempt: int
    direction: str = "upgrade"


@frozen
class RevisionRetried:
    """A revision was rolled back and will be run again."""

    revision: str
    reason: str
    sqlstate: str
    attempt: int
    wait_seconds: float
    blockers: tuple[Blocker, ...] = ()


@frozen
class BlockersSeen:
    """The running revision waits for other sessions."""

    revision: str
    blockers: tuple[Blocker, ...]
    waited_seconds: float
    repeated: bool = False
    """The same sessions were told of not long ago; not logged again until the wait has doubled."""


@frozen
class ProgressSeen:
    """The server reports progress of an index build."""

    revision: str
    phase: str
    percent: float | None
    """0 to 100; `None` where the phase has no measure."""


@frozen
class RevisionApplied:
    """A revision is committed."""

    revision: str
    message: str
    position: int
    total: int
    seconds: float
    attempt: int
    direction: str = "upgrade"


@frozen
class RevisionRecovered:
    """What an interrupted revision had left was put right."""

    revision: str
    action: str


@frozen
class RunFinished:
    """The schema is right."""

    report: UpgradeReport


@frozen
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
