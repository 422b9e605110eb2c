"""The revisions of a run in their order: which are prepared, and sent, before their turn.

While the server works on one, those behind it are imported, hashed and recorded as far as their SQL
can be known beforehand, and the first few of them are sent, so that the server never waits for us.
While a script runs statement by statement, those behind it are hashed only. Each is told, watched
and tried again in its own turn all the same.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from automigrate.alembic_bridge.conduct import Conduct
    from automigrate.alembic_bridge.step import Step

__all__ = ["Pending"]

AHEAD = 8
"""How many revisions are prepared beforehand, at most."""


class Pending:
    """What a run has to do.

    Args:
        total: how many steps there are.
        step_at: makes the step at an index; called once for each, in order.
        following: stands around what a step's revision does.
    """

    def __init__(
        self,
        total: int,
        step_at: Callable[[int], Step],
        following: Callable[[Conduct], AbstractContextManager[None]],
    ) -> None:
        self._total = total
        self._step_at = step_at
        self._following = following
        self._made: deque[Step] = deque()
        self._next = 0

    def apply(self) -> None:
        """Run all of them.

        Raises:
            Exception: see `Step.apply`; those behind the one that failed are not applied.
        """
        while self._made or self._next < self._total:
            step = self._made.popleft() if self._made else self._make()
            with self._following(step.conduct):
                step.apply(self._ahead(), self._hashed())

    def _make(self) -> Step:
        step = self._step_at(self._next)
        self._next += 1
        return step

    def _ahead(self) -> Iterator[None]:
        """Prepare and send what follows, a step at a time, for as long as the server works."""
        flows = True
        for step in self._following_steps():
            if not step.prepare():
                return
            flows = flows and step.send_ahead()
            yield

    def _hashed(self) -> Iterator[None]:
        """Take the checksums of what follows, one at a time."""
        for step in self._following_steps():
            step.hash()
            yield

    def _following_steps(self) -> Iterator[Step]:
        for beyond in range(AHEAD):
            if beyond == len(self._made):
                if self._next == self._total:
                    return
                self._made.append(self._make())
            yield self._made[beyond]
