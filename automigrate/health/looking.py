"""One quiet look at the database under a running application.

It goes the way that every start with nothing pending goes: one connection, one query, no lock. It
tells no listener, so that it cannot be taken for a run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from automigrate.errors import (
    AheadError,
    DivergedError,
    IncompatibleError,
    InterruptedRevisionError,
    ModifiedError,
    PendingError,
    SchemaMismatchError,
    UnmanagedError,
)
from automigrate.options import Mode
from automigrate.run import Run
from automigrate.startup import bring_up
from automigrate.verdict import Verdict

if TYPE_CHECKING:
    from automigrate.migrator import Migrator

__all__ = ["Seen", "look_at"]

_CONNECT_TIMEOUT = 5.0
_VERDICTS: dict[type[SchemaMismatchError], Verdict] = {
    AheadError: Verdict.AHEAD,
    DivergedError: Verdict.DIVERGED,
    IncompatibleError: Verdict.INCOMPATIBLE,
    ModifiedError: Verdict.MODIFIED,
    PendingError: Verdict.BEHIND,
    UnmanagedError: Verdict.UNMANAGED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a look found."""

    verdict: Verdict
    serves: bool
    """Whether the application may serve on it under the migrator's policies."""
    current: tuple[str, ...] | None = None
    """Heads in the database, where the look tells them."""
    wanted: tuple[str, ...] | None = None
    """Heads that the code needs, where the look tells them."""


def look_at(migrator: Migrator) -> Seen:
    """Look once; one attempt to connect, of 5 s at most.

    It is a `wait` that has no time: that judges by the migrator's own policies, while a `check`
    compares the scripts of applied revisions each time.

    Raises:
        AutomigrateError: no connection, or unusable scripts.
    """
    options = replace(
        migrator.options,
        mode=Mode.WAIT,
        timeout=0.0,
        connect_timeout=min(migrator.options.connect_timeout, _CONNECT_TIMEOUT),
    )
    run = Run(source=migrator.source, scripts=migrator.scripts, options=options)
    try:
        report = bring_up(run)
    except SchemaMismatchError as error:
        return Seen(
            verdict=_VERDICTS[type(error)],
            serves=False,
            current=error.current,
            wanted=error.wanted,
        )
    except InterruptedRevisionError:
        return Seen(verdict=Verdict.INTERRUPTED, serves=False)
    current = report.verdict is Verdict.CURRENT
    return Seen(
        verdict=report.verdict,
        serves=True,
        current=report.heads,
        wanted=report.heads if current else None,
    )
