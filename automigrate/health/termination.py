"""The termination message of a pod: one line that `kubectl describe pod` shows.

https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from automigrate.errors import names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from automigrate.verdict import UpgradeReport

__all__ = ["default_termination_log", "termination_message", "write_termination_log"]

DEFAULT_PATH = "/dev/termination-log"
LONGEST_BYTES = 4096
"""Kubernetes cuts a longer message off."""


def default_termination_log(
    environ: Mapping[str, str] = os.environ, path: str = DEFAULT_PATH
) -> str | None:
    """Return Kubernetes' default path when this process runs in a pod, else `None`."""
    in_pod = "KUBERNETES_SERVICE_HOST" in environ
    return path if in_pod and os.path.exists(path) else None  # noqa: PTH110 -- no pathlib on the fast path


def termination_message(end: UpgradeReport | BaseException) -> str:
    """Return what to say about the end of a run, in one line of at most 4096 bytes."""
    if isinstance(end, BaseException):
        text = f"automigrate: {type(end).__name__}: {end}"
    else:
        text = (
            f"automigrate: {end.outcome.value}, {len(end.applied)} revisions applied in "
            f"{end.seconds:.1f} s, database at {names(end.heads)}"
        )
    line = " ".join(text.split()).encode()
    return line[:LONGEST_BYTES].decode(errors="ignore")


def write_termination_log(path: str | None, end: UpgradeReport | BaseException) -> bool:
    """Write the termination message to `path`; tell whether it was written.

    Never fails: a run must not fail because of its message.
    """
    if path is None:
        return False
    try:
        with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123 -- no pathlib on the fast path
            file.write(f"{termination_message(end)}\n")
    except OSError:
        return False
    return True
