"""What a person at a terminal sees of a run while it goes on, made of the events of the run.

`after` says what there is to see after an event; `Progress` is the listener that shows it. The
drawing, and the import of rich, are in `automigrate.cli.bar`, and wait until somebody migrates.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from automigrate.events import (
    BlockersSeen,
    ConnectionRetried,
    LockTaken,
    LockWaited,
    Phase,
    PhaseEntered,
    ProgressSeen,
    RevisionApplied,
    RevisionRetried,
    RevisionStarted,
    RunFailed,
    RunFinished,
)
from automigrate.values import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.cli.bar import Bar
    from automigrate.events import Event

__all__ = ["Progress", "Scene", "after"]

WAITING = "another process migrates; waiting for it"
FADES_AFTER = 3.0
"""Seconds after which what was seen on the server is over: the observer looks much more often."""


@frozen
class Scene:
    """What is to be seen at one moment.

    Attributes:
        title: what is being done.
        done: revisions that are.
        total: revisions of this run; `None` while it is not known.
        detail: what else there is to know until the next step.
        building: how far the server is with an index.
        blocked: whom the revision waits for.
    """

    title: str
    done: int = 0
    total: int | None = None
    detail: str = ""
    building: str = ""
    blocked: str = ""

    @property
    def details(self) -> tuple[str, ...]:
        """What stands below the title, a line each."""
        return tuple(filter(None, (self.detail, self.building, self.blocked)))


def after(scene: Scene | None, event: Event) -> Scene | None:
    """Return what is to be seen after an event; `None`: nothing, the terminal is left alone."""
    match event:
        case PhaseEntered(phase=Phase.WAITING_FOR_LOCK):
            return Scene(title=WAITING)
        case LockWaited(holder=holder) if holder is not None:
            return Scene(title=WAITING, detail=f"lock held by {holder}")
        case PhaseEntered(phase=Phase.MIGRATING):
            return Scene(title="preparing")
        case RevisionStarted():
            undoing = "undoing " if event.direction == "downgrade" else ""
            title = f"{undoing}{event.revision} {event.message}".rstrip()
            return Scene(title=title, done=event.position - 1, total=event.total)
        case RevisionApplied(position=position, total=total):
            return (
                None
                if scene is None or position == total
                else Scene(title=scene.title, done=position, total=total)
            )
        case PhaseEntered(phase=Phase.READY | Phase.FAILED):
            return None
        case LockTaken() | RunFinished() | RunFailed():
            return None
        case _:
            return None if scene is None else _told(scene, event)


def _told(scene: Scene, event: Event) -> Scene:
    match event:
        case BlockersSeen():
            whom = "; ".join(map(str, event.blockers))
            return replace(scene, blocked=f"has waited {event.waited_seconds:.0f} s for {whom}")
        case ProgressSeen():
            percent = "" if event.percent is None else f", {event.percent:.0f} %"
            return replace(scene, building=f"index build: {event.phase}{percent}")
        case RevisionRetried() | ConnectionRetried():
            again = f"again in {event.wait_seconds:.1f} s: {event.reason}"
            return replace(scene, detail=again, building="", blocked="")
        case _:
            return scene


class Progress:
    """A listener that shows a run on the terminal; events may come from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scene: Scene | None = None
        self._since = 0.0
        self._seen_at: dict[type[Event], float] = {}
        self._bar: Bar | None = None

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Leave the terminal as it was at the end, however the run ends."""
        try:
            yield self
        finally:
            with self._lock:
                self._close()

    def __call__(self, event: Event) -> None:
        """Take an event of the run."""
        with self._lock:
            before, self._scene = self._scene, after(self._scene, event)
            scene, now = self._scene, time.monotonic()
            if scene is None:
                self._close()
                return
            self._seen_at[type(event)] = now
            if before is None or before.title != scene.title:
                self._since = now
            if self._bar is None:
                from automigrate.cli.bar import Bar

                self._bar = Bar(self._current)
                self._bar.open()

    def _current(self) -> tuple[Scene, float]:
        """Return what is to be seen now, and for how many seconds it has been so; for the bar."""
        scene, now = self._scene or Scene(title=""), time.monotonic()
        if now - self._seen_at.get(ProgressSeen, now) > FADES_AFTER:
            scene = replace(scene, building="")
        if now - self._seen_at.get(BlockersSeen, now) > FADES_AFTER:
            scene = replace(scene, blocked="")
        return scene, now - self._since

    def _close(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            with suppress(OSError, ValueError):  # the terminal is gone
                bar.close()
