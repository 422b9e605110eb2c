"""A migrator that is fed by hand: a fake of our own port, for tests of the health layer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from automigrate.events import Phase, PhaseEntered, RevisionApplied, RevisionStarted, RunFinished
from automigrate.health.looking import Seen
from automigrate.migrator import Migrator
from automigrate.verdict import Outcome, Status, UpgradeReport, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from automigrate.events import Event, Listener

CURRENT = Seen(verdict=Verdict.CURRENT, serves=True, current=("b2",), wanted=("b2",))
BEHIND = Seen(verdict=Verdict.BEHIND, serves=False, current=("a1",), wanted=("b2",))
PENDING = Status(verdict=Verdict.BEHIND, current=("a1",), wanted=("b2",), pending=("b2",))
REPORT = UpgradeReport(outcome=Outcome.MIGRATED, verdict=Verdict.BEHIND, heads=("b2",), seconds=2.0)


class Clock:
    """A monotonic clock that only moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Read the clock."""
        return self.now


class FakeMigrator(Migrator):
    """Tells what the test tells it to tell, and counts how often it is asked."""

    def __init__(self, seen: Seen = CURRENT) -> None:
        super().__init__("postgresql://nowhere/none", "migrations")
        self.listeners: list[Listener] = []
        self.found: Seen | Exception = seen
        self.looks = 0
        self.runs = 0
        self.stopped = False
        self.aborted = False
        self.on_upgrade: Callable[[], object] = lambda: None
        self.on_look: Callable[[], object] = lambda: None
        self.released = threading.Event()

    def add_listener(self, listener: Listener) -> None:
        """Take a listener."""
        self.listeners.append(listener)

    def tell(self, *events: Event) -> None:
        """Hand events to every listener."""
        for event in events:
            for listener in self.listeners:
                listener(event)

    def look(self) -> Seen:
        """Return or raise what the test put into `found`."""
        self.looks += 1
        self.on_look()
        if isinstance(self.found, Exception):
            raise self.found
        return self.found

    def upgrade(self) -> UpgradeReport:
        """Begin and end a run, with `on_upgrade` between."""
        self.runs += 1
        self.tell(PhaseEntered(phase=Phase.STARTING))
        self.on_upgrade()
        self.tell(RunFinished(report=REPORT))
        return REPORT

    async def upgrade_async(self) -> UpgradeReport:
        """Do the same as `upgrade`."""
        return self.upgrade()

    def stop(self) -> None:
        """Note that a stop was asked for."""
        self.stopped = True
        self.released.set()

    def abort(self) -> None:
        """Note that an abort was asked for."""
        self.aborted = True
        self.released.set()


def started(revision: str, position: int, total: int, attempt: int = 1) -> RevisionStarted:
    """Return the event of a revision's beginning."""
    return RevisionStarted(
        revision=revision, message="add a table", position=position, total=total, attempt=attempt
    )


def applied(revision: str, position: int, total: int) -> RevisionApplied:
    """Return the event of a revision's end."""
    return RevisionApplied(
        revision=revision, message="", position=position, total=total, seconds=0.5, attempt=1
    )


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Wait until `condition` holds; tell whether it came to hold in time."""
    tick = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return True
        tick.wait(0.01)
    return bool(condition())
