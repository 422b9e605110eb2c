"""An upgrade in a thread of the test."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, TypeVar, Unpack

import automigrate

if TYPE_CHECKING:
    from automigrate import UpgradeReport
    from automigrate.events import Event
    from automigrate.options import OptionsInput
    from tests.support.projects import Project

__all__ = ["Background"]

LONG = 90.0
T = TypeVar("T")


class Background(threading.Thread):
    """Calls `upgrade` beside the test.

    Attributes:
        events: what it was told so far.
        report: how it ended.
        error: what it raised.
    """

    def __init__(self, url: str, project: Project, **options: Unpack[OptionsInput]) -> None:
        """Start at once; waits at most a minute for anything, unless told otherwise."""
        super().__init__(daemon=True)
        self.events: list[Event] = []
        self.report: UpgradeReport | None = None
        self.error: BaseException | None = None
        options.setdefault("timeout", 60.0)
        options.setdefault("poll_interval", 1.0)
        self._migrator = automigrate.Migrator(
            url, project.scripts, on_event=self.events.append, **options
        )
        self.start()

    def run(self) -> None:
        """Keep how it ends."""
        try:
            self.report = self._migrator.upgrade()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def told(self, kind: type[T]) -> list[T]:
        """List the events of a kind."""
        return [event for event in list(self.events) if isinstance(event, kind)]

    def finish(self) -> UpgradeReport:
        """Wait for the report, or raise what it raised."""
        self.join(LONG)
        if self.error is not None:
            raise self.error
        assert self.report is not None, "it hangs"
        return self.report
