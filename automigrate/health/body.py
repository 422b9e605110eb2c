"""What an endpoint says about a readiness, as JSON values.

The short form may be shown to anyone: phase and progress. The long form names revisions, the
holder of the lock and blocking sessions, as Kubernetes does for `?verbose`. Neither holds SQL, an
error's text, a client address or a password: only the class of an error leaves the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automigrate.health.readiness import Readiness
    from automigrate.verdict import Blocker

__all__ = ["Json", "described", "summarised"]

Json = dict[str, object]
LONGEST_MESSAGE = 200


def summarised(readiness: Readiness, now: float) -> Json:
    """Return phase and progress."""
    return {
        "phase": readiness.phase.value,
        "progress": {
            "done": readiness.done,
            "total": readiness.total,
            "percent": None if readiness.percent is None else round(readiness.percent, 1),
            "elapsed_seconds": round(readiness.elapsed_seconds(now), 1),
        },
    }


def described(readiness: Readiness, now: float, checks: Mapping[str, bool]) -> Json:
    """Return everything that an engineer wants to know, and each check by its name."""
    return {
        **summarised(readiness, now),
        "checks": [
            {"name": name, "status": "ok" if good else "failed"} for name, good in checks.items()
        ],
        "verdict": None if readiness.verdict is None else readiness.verdict.value,
        "heads": {"current": list(readiness.current), "wanted": list(readiness.wanted)},
        "outcome": None if readiness.outcome is None else readiness.outcome.value,
        "revision": _revision(readiness, now),
        "lock_holder": _holder(readiness),
        "blockers": [_blocker(blocker) for blocker in readiness.blockers],
        "connection_attempts": readiness.connection_attempts,
        "error": _error(readiness),
        "live_check": _live_check(readiness, now),
    }


def _revision(readiness: Readiness, now: float) -> Json | None:
    if not readiness.revision:
        return None
    return {
        "revision": readiness.revision,
        "message": readiness.message[:LONGEST_MESSAGE],
        "attempt": readiness.attempt,
        "elapsed_seconds": round(readiness.revision_seconds(now), 1),
        "step": readiness.step or None,
        "percent": None if readiness.step_percent is None else round(readiness.step_percent, 1),
    }


def _holder(readiness: Readiness) -> Json | None:
    holder = readiness.holder
    if holder is None:
        return None
    return {
        "pid": holder.pid,
        "application_name": holder.application_name,
        "since": holder.since or None,
    }


def _blocker(blocker: Blocker) -> Json:
    return {
        "pid": blocker.pid,
        "application_name": blocker.application_name,
        "user": blocker.user,
        "state": blocker.state,
        "age_seconds": round(blocker.age_seconds, 1),
    }


def _error(readiness: Readiness) -> Json | None:
    if not readiness.error:
        return None
    return {"type": readiness.error, "revision": readiness.failed_revision or None}


def _live_check(readiness: Readiness, now: float) -> Json | None:
    if readiness.looked_at is None:
        return None
    return {
        "age_seconds": round(max(0.0, now - readiness.looked_at), 1),
        "error": readiness.look_error or None,
    }
