"""The state of files at one moment, to know later in the same process that nothing has changed.

A process may look many times: readiness, several databases, tests. What it has read from files it
need not read again while their stamps are the same: inode, size, both times. A directory's stamp
changes with every name in it. The status-change time cannot be set by a program, and a change in
the same tick of the clock as the reading, which leaves no trace, is ruled out as git does it: what
had changed less than `SETTLED` seconds before is not remembered.
"""

# `os` throughout: `Path` costs more than the calls.
# ruff: noqa: PTH116

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

__all__ = ["Remembered", "Stamp", "stamp"]

T = TypeVar("T")

SETTLED = 2.0
"""Seconds; the times of some file systems are as coarse as that."""
MOST = 64
"""Answers kept at most; a process that has more questions asks the files."""

State = tuple[int, int, int, int, int] | None
Stamp = tuple[State, ...]


def stamp(paths: Iterable[str]) -> Stamp:
    """Take the state of files and directories; what is not there is so recorded."""
    states: list[State] = []
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            states.append(None)
        else:
            states.append(
                (
                    found.st_ino,
                    found.st_dev,
                    found.st_size,
                    found.st_mtime_ns,
                    found.st_ctime_ns,
                )
            )
    return tuple(states)


class Remembered(Generic[T]):
    """Answers that hold as long as the files do from which they were read; for threads too."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, tuple[tuple[str, ...], Stamp, T]] = {}

    def recall(self, question: Hashable) -> T | None:
        """Return the answer if its files are as they were."""
        known = self._answers.get(question)
        if known is None:
            return None
        paths, before, answer = known
        return answer if stamp(paths) == before else None

    def keep(self, question: Hashable, paths: tuple[str, ...], before: Stamp, answer: T) -> None:
        """Keep an answer.

        Args:
            question: what was asked.
            paths: everything that the answer was read from, or that was looked for.
            before: their stamp before the first of them was read.
            answer: what was found.
        """
        if not _settled(before) or stamp(paths) != before:
            return
        if len(self._answers) >= MOST:
            self._answers.clear()
        self._answers[question] = (paths, before, answer)


def _settled(states: Stamp) -> bool:
    """Whether a later change cannot bear the same times."""
    latest = (time.time() - SETTLED) * 1e9
    return all(state is None or max(state[3:]) < latest for state in states)
