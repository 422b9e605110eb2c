"""A process that calls `upgrade` once, tells every event on stdout, and stops where it is told to.

Run as ``python -m tests.support.replica SETTINGS`` with a JSON object; see `Replica` for the other
end. Commands come as lines on stdin.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any

import automigrate
from automigrate.events import LockWaited, RevisionApplied, RevisionStarted

if TYPE_CHECKING:
    from automigrate.events import Event


def tell(**values: Any) -> None:
    """Write one line that the test reads."""
    print(json.dumps(values), flush=True)


class Stops:
    """A listener that tells each event, and holds the run up at one of them."""

    def __init__(self, place: str | None) -> None:
        self._place = place

    def __call__(self, event: Event) -> None:
        """Tell the event; when it is the place, wait for a line on stdin."""
        name = type(event).__name__
        more: dict[str, Any] = {}
        if isinstance(event, RevisionStarted | RevisionApplied):
            more = {"revision": event.revision}
        elif isinstance(event, LockWaited):
            more = {"holder": event.holder.pid if event.holder else None}
        tell(event=name, **more)
        if self._place in {name, f"{name} {more.get('revision')}"}:
            self._place = None
            tell(stopped=name)
            sys.stdin.readline()


def main() -> int:
    """Run as the settings say; the exit code is that of the command line."""
    settings = json.loads(sys.argv[1])
    stops = Stops(settings["stop_at"])
    arguments = (settings["url"], settings["scripts"])
    if settings["at_once"]:
        tell(ready=True)
        sys.stdin.readline()
    try:
        if settings["asynchronous"]:
            report = asyncio.run(
                automigrate.upgrade_async(*arguments, on_event=stops, **settings["options"])
            )
        else:
            report = automigrate.upgrade(*arguments, on_event=stops, **settings["options"])
    except automigrate.AutomigrateError as error:
        tell(error=type(error).__name__, text=str(error))
        return error.exit_code
    tell(
        outcome=report.outcome,
        verdict=report.verdict,
        applied=[item.revision for item in report.applied],
        attempts=report.attempts,
        seconds=report.seconds,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
